//! Reads a source and divides it into blocks of complete rows.

use std::fmt;
use std::io::Read;

use super::decode::Decoded;
use super::frame::{Framer, Framing};
use super::origin::Origin;
use super::text::Text;
use super::{Block, Dialect, Encoding, Ending, ReadError, RowSpan};

/// A buffer is not reused if it is more than this many times as large as a block. Reason: a single long row can make a
/// buffer very large.
const REUSED_GROWTH_MAX: usize = 4;

/// Options for reading a source.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The encoding of the source. If it is `None`, it is detected.
    pub encoding: Option<Encoding>,
    /// Length of the longest row that is read, in bytes of UTF-8. A longer row is rejected: its beginning is written to
    /// the reject file, and the rest is skipped.
    ///
    /// The default is 36 MiB. This is enough for nearly every row whose document fits MongoDB's limit of 16 MiB. For
    /// example, a text of 16 MiB of quotes needs 32 MiB in a CSV, because each quote is doubled there.
    pub row_bytes_max: usize,
    /// Number of bytes of text that are read at a time. They usually become one block.
    pub block_bytes: usize,
    /// Number of bytes that are read before the first block. From this sample the encoding, the delimiter and the date
    /// formats are determined.
    pub sample_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self { encoding: None, row_bytes_max: 36 * MIB, block_bytes: MIB, sample_bytes: 8 * MIB }
    }
}

/// Reads one source, once, from its beginning to its end.
///
/// The reader has in memory one decompressor, the incomplete row at the end of the last block, and the sample. The
/// sample's memory is freed when blocks contain the whole sample. A block has at most about
/// `block_bytes + row_bytes_max` bytes.
pub struct Reader {
    index: usize,
    text: Text,
    block_bytes: usize,
    row_bytes_max: usize,
    framer: Framer,
    /// The incomplete row at the end of the last block. The next block begins with it.
    carry: Vec<u8>,
    carry_undecodable: Vec<u32>,
    /// A place whose byte offset in the source is known. The numbers are its index in the bytes of the current block,
    /// and its offset in the source. The place is the start of the block, or of the last row that was found in it.
    mark: (usize, u64),
    rows: u64,
    sequence: u64,
    /// The dialect if the source is delimited text, otherwise `None`.
    dialect: Option<Dialect>,
    has_header: bool,
    /// True while the rest of a row that is too long is being skipped.
    is_skipping: bool,
    is_at_end: bool,
    /// The part of the source that is read. `None` if the source is read from its beginning to its end.
    part: Option<PartOfSource>,
}

/// The position of a part in its source.
#[derive(Debug, Clone, Copy)]
struct PartOfSource {
    /// Position of the part's first byte in the source.
    start: u64,
    /// Whether more bytes of the source follow the part. The last row of the part must then be complete.
    ends_inside: bool,
}

impl Reader {
    /// Opens the source and reads its sample. `index` is the position of the source in the list of sources, from 0.
    pub fn open(origin: &Origin, index: usize, options: &ReadOptions) -> Result<Self, ReadError> {
        let part =
            origin.part_bytes().map(|bytes| PartOfSource { start: bytes.start, ends_inside: origin.ends_inside() });
        Self::new(origin.name(), origin.open_at(0, None)?, index, options, part)
    }

    /// Does the same as [`open`](Self::open) for a source whose bytes `from` returns. Errors contain `name`.
    pub fn from_read(
        name: &str,
        from: Box<dyn Read + Send>,
        index: usize,
        options: &ReadOptions,
    ) -> Result<Self, ReadError> {
        Self::new(name, from, index, options, None)
    }

    fn new(
        name: &str,
        from: Box<dyn Read + Send>,
        index: usize,
        options: &ReadOptions,
        part: Option<PartOfSource>,
    ) -> Result<Self, ReadError> {
        let start = part.map_or(0, |part| part.start);
        let text = Text::open(name, from, options, start > 0)?;
        Ok(Self {
            index,
            block_bytes: options.block_bytes.max(1),
            row_bytes_max: options.row_bytes_max.max(1),
            framer: Framer::new(Framing::Lines, options.row_bytes_max.max(1)),
            carry: Vec::new(),
            carry_undecodable: Vec::new(),
            mark: (0, start + text.mark_bytes),
            rows: 0,
            sequence: 0,
            dialect: None,
            has_header: false,
            is_skipping: false,
            is_at_end: false,
            part,
            text,
        })
    }

    /// Returns the beginning of the source's text. For a small source, this is the whole text. Otherwise it is the
    /// sample up to its last line end, or the whole sample if it has no line end. The result is empty after the reader
    /// has moved past the sample.
    pub fn sample(&self) -> &[u8] {
        self.text.sample()
    }

    /// Returns true if the sample is known to be the whole text. Call it before the first
    /// [`next_block`](Self::next_block).
    ///
    /// The result is also false if the source ends exactly where the sample ends, because the reader has not seen the
    /// end yet.
    pub fn sample_is_whole(&self) -> bool {
        self.text.sample_is_whole()
    }

    /// Returns the encoding with which the source is read.
    pub fn encoding(&self) -> Encoding {
        self.text.encoding()
    }

    /// Returns the number of bytes read from the source so far, before decompression. The progress is this number
    /// divided by `Origin::size_bytes`.
    pub fn consumed_bytes(&self) -> u64 {
        self.text.consumed_bytes()
    }

    /// Sets how the text is divided into rows. Call it before the first [`next_block`](Self::next_block). For delimited
    /// text, the first row of the source is the header and is not returned. A part that does not begin at the first
    /// byte of the source has no header.
    pub fn start(&mut self, framing: Framing) {
        self.framer = Framer::new(framing, self.row_bytes_max);
        self.dialect = framing.dialect();
        self.has_header = self.dialect.is_some() && self.part.is_none_or(|part| part.start == 0);
    }

    /// Returns the next block, or `None` at the end of the source. Pass a block that is no longer needed as `reuse`, so
    /// that its memory is used again. The last block has no rows if only blank rows were left.
    pub fn next_block(&mut self, reuse: Block) -> Result<Option<Block>, ReadError> {
        let mut block = self.begin(reuse);
        while block.rows.is_empty() && !self.is_at_end {
            let mut out = Decoded { text: &mut block.bytes, undecodable: &mut block.undecodable };
            self.is_at_end = !self.text.append(self.block_bytes, &mut out)?;
            self.split(&mut block);
            self.check_seam(&block)?;
            if block.rows.is_empty() && !self.is_skipping {
                // The complete rows in the buffer are the header, blank lines or blank rows, so they can be dropped.
                self.drop_front(&mut block, self.framer.start());
            }
        }
        if block.rows.is_empty() && block.blank_rows == 0 {
            return Ok(None);
        }
        self.finish(&mut block);
        Ok(Some(block))
    }

    /// Creates a block that contains the incomplete row at the end of the last block.
    fn begin(&mut self, reuse: Block) -> Block {
        let Block { mut bytes, mut rows, mut undecodable, .. } = reuse;
        if bytes.capacity() / REUSED_GROWTH_MAX > self.block_bytes {
            bytes = Vec::new();
        }
        bytes.clear();
        rows.clear();
        undecodable.clear();
        bytes.reserve(self.carry.len() + self.block_bytes);
        bytes.append(&mut self.carry);
        undecodable.append(&mut self.carry_undecodable);
        if self.carry.capacity() / REUSED_GROWTH_MAX > self.block_bytes {
            self.carry = Vec::new();
        }
        let (first_row, encoding) = (self.rows + 1, self.encoding());
        let (source, sequence) = (self.index, self.sequence);
        Block { source, sequence, bytes, rows, first_row, blank_rows: 0, undecodable, encoding }
    }

    /// Finds the rows that are complete now and adds them to the block.
    fn split(&mut self, block: &mut Block) {
        if self.is_skipping {
            self.is_skipping = !self.framer.skip(&block.bytes);
            if self.is_skipping {
                return self.drop_front(block, self.framer.scanned());
            }
        }
        while let Some(span) = self.framer.next(&block.bytes, self.is_at_end) {
            self.add(block, span);
        }
        if let Some(span) = self.framer.overflow(&block.bytes) {
            self.add(block, span);
            self.is_skipping = true;
        }
    }

    /// Returns an error if a part ends in the middle of a row and more bytes of the source follow the part. The source
    /// was then cut at a wrong place: inside quotes.
    fn check_seam(&self, block: &Block) -> Result<(), ReadError> {
        let is_seam = self.is_at_end && self.part.is_some_and(|part| part.ends_inside);
        let is_whole = block.rows.last().is_none_or(|last| last.ending == Ending::Whole);
        if is_seam && (self.is_skipping || !is_whole) {
            return Err(ReadError::WrongSeam { name: self.text.name().to_owned() });
        }
        Ok(())
    }

    fn add(&mut self, block: &mut Block, mut span: RowSpan) {
        self.advance_mark(block, span.start as usize);
        span.offset = self.mark.1;
        if std::mem::take(&mut self.has_header) {
            return;
        }
        if is_blank(self.dialect, &block.bytes, span) {
            block.blank_rows += 1;
            return;
        }
        block.rows.push(span);
        self.rows += 1;
    }

    fn advance_mark(&mut self, block: &Block, place: usize) {
        let passed = &block.bytes[self.mark.0..place];
        self.mark = (place, self.mark.1 + block.encoding.source_bytes(passed));
    }

    fn drop_front(&mut self, block: &mut Block, length: usize) {
        self.advance_mark(block, length);
        self.mark.0 = 0;
        self.framer.drop_front(&block.bytes, length);
        block.bytes.drain(..length);
        block.undecodable.retain(|&place| place as usize >= length);
        block.undecodable.iter_mut().for_each(|place| *place -= length as u32);
    }

    /// Moves the incomplete row at the end of the block to the buffer for the next block.
    fn finish(&mut self, block: &mut Block) {
        let left = if self.is_skipping { self.framer.scanned() } else { self.framer.start() };
        self.advance_mark(block, left);
        self.mark.0 = 0;
        self.framer.drop_front(&block.bytes, left);
        self.carry.extend_from_slice(&block.bytes[left..]);
        let kept = block.undecodable.partition_point(|&place| (place as usize) < left);
        self.carry_undecodable.extend(block.undecodable.drain(kept..).map(|place| place - left as u32));
        let rows_end = block.rows.last().map_or(0, |span| span.end as usize);
        block.bytes.truncate(left.max(rows_end));
        self.sequence += 1;
    }
}

/// Formats the index, the encoding and the number of rows, and nothing of the source's content.
impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reader = formatter.debug_struct("Reader");
        reader.field("index", &self.index).field("encoding", &self.encoding()).field("rows", &self.rows);
        reader.finish_non_exhaustive()
    }
}

/// Returns true if the row is a blank row of delimited text (see [`Dialect::is_blank`]). The reader skips such rows.
fn is_blank(dialect: Option<Dialect>, bytes: &[u8], span: RowSpan) -> bool {
    let row = &bytes[span.start as usize..span.end as usize];
    span.ending == Ending::Whole && dialect.is_some_and(|dialect| dialect.is_blank(row))
}

/// Divides a complete text into rows. The offset of a row is its position in `text`. For delimited text, the first row
/// is the header, and blank rows after the header are left out.
pub fn records(text: &[u8], framing: Framing) -> impl Iterator<Item = RowSpan> + use<'_> {
    let mut framer = Framer::new(framing, usize::MAX);
    let dialect = framing.dialect();
    let mut is_header = true;
    std::iter::from_fn(move || {
        loop {
            let span = framer.next(text, true)?;
            if std::mem::take(&mut is_header) || !is_blank(dialect, text, span) {
                return Some(RowSpan { offset: u64::from(span.start), ..span });
            }
        }
    })
}
