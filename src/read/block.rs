//! The output of the reader: buffers of complete rows, with the position of each row.

use super::Encoding;

/// A piece of one source: complete rows in source order. Each worker processes one block at a time.
#[derive(Debug, Default, Clone)]
pub struct Block {
    /// Index of the source. Sources are numbered in the order in which they are read.
    pub source: usize,
    /// Number of the block, from 0. The reader counts the blocks of its source. `pipeline` then replaces this number by
    /// the number of the block among all blocks of the load.
    pub sequence: u64,
    /// The text that contains the rows. It can also contain the header, blank lines and blank rows. The text is UTF-8.
    /// Exception: a damaged row of a UTF-8 source may contain bytes that are not valid UTF-8.
    pub bytes: Vec<u8>,
    /// The positions of the rows in `bytes`. The header, blank lines and blank rows are not included.
    pub rows: Vec<RowSpan>,
    /// Number of this block's first row in the source, from 1. The header, blank lines and blank rows are not counted.
    pub first_row: u64,
    /// Number of rows that were skipped because all their cells are blank.
    pub blank_rows: u64,
    /// The decoder writes U+FFFD in place of bytes that it cannot decode. These are the positions in `bytes` of all
    /// such U+FFFD, in ascending order. For a UTF-8 source there are none, because the reader does not check UTF-8.
    pub undecodable: Vec<u32>,
    /// Encoding of the source. It is needed to convert a position in `bytes` to a byte offset in the source.
    pub encoding: Encoding,
}

/// The position of one row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSpan {
    /// Position of the row's first byte in the block.
    pub start: u32,
    /// Position after the row's last byte. The line end is not part of the row.
    pub end: u32,
    /// Line of the source on which the row starts, from 1. Line ends inside quotes are counted too. The header is
    /// usually line 1.
    pub line: u64,
    /// Byte offset of the row in the decompressed source, in the encoding of the source.
    pub offset: u64,
    /// How the row ended.
    pub ending: Ending,
    /// If the rows are items of arrays in JSON objects, as in FHIR Bundles: the number of the object that contains the
    /// row, from 1. Otherwise 0.
    pub object: u32,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The row ended at a line end, at the end of its JSON value or message, or at the end of the source.
    Whole,
    /// The source ended inside a quoted cell.
    OpenQuote,
    /// The source ended inside a JSON value.
    Truncated,
    /// The source ended between two JSON values, but before the `]` of the array that contains them. The row has no
    /// bytes.
    OpenArray,
    /// The row is the trailer of an HL7 batch or file, and its count is wrong. The number is the right count: the
    /// messages of the batch, or the batches of the file.
    WrongCount(u32),
    /// The row is longer than `row_bytes_max`. The span contains only the beginning of the row.
    TooLong,
}

impl Block {
    /// Returns the bytes of one row of this block.
    pub fn row(&self, span: RowSpan) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Finds the first bytes in the row that could not be decoded. Returns their byte offset in the decompressed
    /// source, or `None` if there are none.
    ///
    /// Returns `None` for every row of a UTF-8 source, because the decoder does not check UTF-8. The caller must check
    /// the UTF-8 of such a row when it reads the row as text.
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
    fn an_undecodable_position_belongs_to_the_row_around_it() {
        let text = "ab\u{fffd}\ncd\u{fffd}".as_bytes().to_vec();
        let row = |start, end, offset| RowSpan { start, end, line: 1, offset, ending: Ending::Whole, object: 0 };
        let block = |places: &[u32]| Block {
            bytes: text.clone(),
            undecodable: places.to_vec(),
            encoding: Encoding::Windows1252,
            ..Block::default()
        };
        let both = block(&[2, 8]);
        assert_eq!(both.undecodable_offset(row(0, 5, 100)), Some(102));
        assert_eq!(both.undecodable_offset(row(6, 11, 104)), Some(106));
        assert_eq!(both.undecodable_offset(row(0, 2, 100)), None, "a character after the row must not be found");
        assert_eq!(
            both.undecodable_offset(row(2, 5, 102)),
            Some(102),
            "a character at the start of the row must be found"
        );
        assert_eq!(both.undecodable_offset(row(5, 8, 103)), None);
        assert_eq!(block(&[]).undecodable_offset(row(0, 11, 100)), None);
    }
}
