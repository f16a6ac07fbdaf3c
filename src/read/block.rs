//! What the reader hands on: whole records in one buffer, with their positions.

use super::Encoding;

/// A run of whole records out of one source, in source order.
#[derive(Debug, Default, Clone)]
pub struct Block {
    /// Index of the source in the order in which sources are read.
    pub source: usize,
    /// Position of this block among all blocks of the load, from 0.
    pub sequence: u64,
    /// The records' text. UTF-8 where the source keeps what its encoding promises; a row may hold other bytes.
    pub bytes: Vec<u8>,
    /// The records within `bytes`, without blank lines and blank rows.
    pub rows: Vec<RowSpan>,
    /// Number of the first row in its source, from 1, header, blank lines and blank rows not counted.
    pub first_row: u64,
    /// Rows of nothing but delimiters that were passed over.
    pub blank_rows: u64,
    /// Places in `bytes` where the decoder met bytes it could not decode and put U+FFFD; ascending. Only for sources
    /// that are not UTF-8: UTF-8 is passed on as it is.
    pub undecodable: Vec<u32>,
    /// Encoding of the source, for the places of what is inside a row.
    pub encoding: Encoding,
}

/// One record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSpan {
    /// First byte within the block.
    pub start: u32,
    /// One past the last byte, line end not included.
    pub end: u32,
    /// Physical line of the source on which the record starts, from 1 (the header is usually line 1).
    pub line: u64,
    /// Byte offset of the record in the source, after decompression, in the source's own encoding.
    pub offset: u64,
    /// How the record ended.
    pub ending: Ending,
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// At a line end or at the end of the source.
    Whole,
    /// The source ended inside a quoted cell.
    OpenQuote,
    /// It was longer than a row may be; the span holds only its beginning.
    TooLong,
}

impl Block {
    /// The bytes of one of this block's rows.
    pub fn row(&self, span: RowSpan) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Byte offset in the source, after decompression, of the first thing in a row that its encoding does not allow, among
    /// those that the decoder met: a source in UTF-8 has none, its rows are to be checked by whoever reads them as text.
    pub fn undecodable_offset(&self, span: RowSpan) -> Option<u64> {
        let first = self.undecodable.partition_point(|&place| place < span.start);
        let place = *self.undecodable.get(first).filter(|&&place| place < span.end)?;
        Some(span.offset + self.encoding.source_bytes(&self.bytes[span.start as usize..place as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undecodable_place_belongs_to_the_row_that_holds_it() {
        let text = "ab\u{fffd}\ncd\u{fffd}".as_bytes().to_vec();
        let row = |start, end, offset| RowSpan { start, end, line: 1, offset, ending: Ending::Whole };
        let block = |places: &[u32]| Block {
            bytes: text.clone(),
            undecodable: places.to_vec(),
            encoding: Encoding::Windows1252,
            ..Block::default()
        };
        let both = block(&[2, 8]);
        assert_eq!(both.undecodable_offset(row(0, 5, 100)), Some(102));
        assert_eq!(both.undecodable_offset(row(6, 11, 104)), Some(106));
        assert_eq!(both.undecodable_offset(row(0, 2, 100)), None, "it begins where the row has ended");
        assert_eq!(both.undecodable_offset(row(2, 5, 102)), Some(102), "it begins the row");
        assert_eq!(both.undecodable_offset(row(5, 8, 103)), None);
        assert_eq!(block(&[]).undecodable_offset(row(0, 11, 100)), None);
    }
}
