//! From a source to blocks of whole records.

use std::fmt;
use std::io::Read;

use super::decode::Decoded;
use super::split::Splitter;
use super::text::Text;
use super::{Block, Dialect, Encoding, Ending, Format, ReadError, RowSpan, Source};

/// Blocks that have grown this many times beyond their usual size, for one long row, are not kept for reuse.
const REUSED_GROWTH_MAX: usize = 4;

/// How a source is read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The source's encoding; detected if `None`.
    pub encoding: Option<Encoding>,
    /// Longest row, in bytes of UTF-8: what is longer is cut and rejected. The default, 20 MiB, lets every row through that
    /// can become a document of 16 MiB.
    pub row_bytes_max: usize,
    /// Bytes read for one block.
    pub block_bytes: usize,
    /// Bytes looked at before the first row is read: encoding, delimiter and date formats are decided from them.
    pub sample_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self { encoding: None, row_bytes_max: 20 * MIB, block_bytes: MIB, sample_bytes: 8 * MIB }
    }
}

/// Reads one source, once, from its beginning to its end.
///
/// At any time it holds the sample (until that has been handed on), one decompressor, and the piece of a record that the last
/// block left over; a block never exceeds `block_bytes + row_bytes_max`.
pub struct Reader {
    index: usize,
    text: Text,
    block_bytes: usize,
    row_bytes_max: usize,
    splitter: Splitter,
    /// What the last block left over, the beginning of the next one.
    carry: Vec<u8>,
    carry_undecodable: Vec<u32>,
    /// A place in the block under way, and its offset in the source.
    mark: (usize, u64),
    rows: u64,
    sequence: u64,
    /// How the rows are written, if they are delimited text.
    dialect: Option<Dialect>,
    has_header: bool,
    /// Whether the rest of a record that is too long is being passed over.
    is_skipping: bool,
    is_at_end: bool,
}

impl Reader {
    /// Opens the source, number `index` of the load, and reads its sample.
    pub fn open(source: &Source, index: usize, options: &ReadOptions) -> Result<Self, ReadError> {
        Self::from_read(&source.name, source.open()?, index, options)
    }

    /// Reads `from`, to be called `name` in errors, as [`open`](Self::open) reads a source.
    pub fn from_read(
        name: &str,
        from: Box<dyn Read + Send>,
        index: usize,
        options: &ReadOptions,
    ) -> Result<Self, ReadError> {
        let text = Text::open(name, from, options)?;
        Ok(Self {
            index,
            block_bytes: options.block_bytes.max(1),
            row_bytes_max: options.row_bytes_max.max(1),
            splitter: Splitter::new(Format::Ndjson, options.row_bytes_max.max(1)),
            carry: Vec::new(),
            carry_undecodable: Vec::new(),
            mark: (0, text.mark_bytes),
            rows: 0,
            sequence: 0,
            dialect: None,
            has_header: false,
            is_skipping: false,
            is_at_end: false,
            text,
        })
    }

    /// The beginning of the source's text: the whole of a small source, else up to the last line end within
    /// [`ReadOptions::sample_bytes`]. Empty once the reader has gone past it.
    pub fn sample(&self) -> &[u8] {
        self.text.sample()
    }

    /// Whether the sample is the whole source.
    pub fn sample_is_whole(&self) -> bool {
        self.text.sample_is_whole()
    }

    /// The encoding that was given or detected.
    pub fn encoding(&self) -> Encoding {
        self.text.encoding()
    }

    /// Bytes of the source consumed so far, before decompression; to be held against [`Source::size_bytes`].
    pub fn consumed_bytes(&self) -> u64 {
        self.text.consumed_bytes()
    }

    /// Says how the rows are written; to be called before the first [`next_block`](Self::next_block). The first record of
    /// delimited text is its header, and is not handed on.
    pub fn start(&mut self, format: &Format) {
        self.splitter = Splitter::new(*format, self.row_bytes_max);
        self.dialect = dialect_of(*format);
        self.has_header = self.dialect.is_some();
    }

    /// The next rows, in source order; `None` at the end. `reuse` is a block that is no longer needed; its memory is used again.
    /// The last block has no row if only blank rows were left.
    pub fn next_block(&mut self, reuse: Block) -> Result<Option<Block>, ReadError> {
        let mut block = self.begin(reuse);
        while block.rows.is_empty() && !self.is_at_end {
            let mut out = Decoded { text: &mut block.bytes, undecodable: &mut block.undecodable };
            self.is_at_end = !self.text.append(self.block_bytes, &mut out)?;
            self.split(&mut block);
            if block.rows.is_empty() && !self.is_skipping {
                // Nothing but a header or blank lines: they need not be held.
                self.drop_front(&mut block, self.splitter.start);
            }
        }
        if block.rows.is_empty() && block.blank_rows == 0 {
            return Ok(None);
        }
        self.finish(&mut block);
        Ok(Some(block))
    }

    /// An empty block, but for what the last one left over.
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

    /// Finds the records that have become whole.
    fn split(&mut self, block: &mut Block) {
        if self.is_skipping {
            self.is_skipping = !self.splitter.skip(&block.bytes);
            if self.is_skipping {
                return self.drop_front(block, self.splitter.scanned());
            }
        }
        while let Some(span) = self.splitter.next(&block.bytes, self.is_at_end) {
            self.add(block, span);
        }
        if let Some(span) = self.splitter.overflow(&block.bytes) {
            self.add(block, span);
            self.is_skipping = true;
        }
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
        self.splitter.drop_front(&block.bytes, length);
        block.bytes.drain(..length);
        block.undecodable.retain(|&place| place as usize >= length);
        block.undecodable.iter_mut().for_each(|place| *place -= length as u32);
    }

    /// Takes what is no whole record out of the block, for the next one.
    fn finish(&mut self, block: &mut Block) {
        let left = if self.is_skipping { self.splitter.scanned() } else { self.splitter.start };
        self.advance_mark(block, left);
        self.mark.0 = 0;
        self.splitter.drop_front(&block.bytes, left);
        self.carry.extend_from_slice(&block.bytes[left..]);
        let kept = block.undecodable.partition_point(|&place| (place as usize) < left);
        self.carry_undecodable.extend(block.undecodable.drain(kept..).map(|place| place - left as u32));
        let rows_end = block.rows.last().map_or(0, |span| span.end as usize);
        block.bytes.truncate(left.max(rows_end));
        self.sequence += 1;
    }
}

/// Says what is being read and how far, and nothing of what the source holds.
impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reader = formatter.debug_struct("Reader");
        reader.field("index", &self.index).field("encoding", &self.encoding()).field("rows", &self.rows);
        reader.finish_non_exhaustive()
    }
}

fn dialect_of(format: Format) -> Option<Dialect> {
    match format {
        Format::Csv(dialect) => Some(dialect),
        Format::Ndjson => None,
    }
}

/// Whether the row is passed over because all its cells are blank.
fn is_blank(dialect: Option<Dialect>, bytes: &[u8], span: RowSpan) -> bool {
    let row = &bytes[span.start as usize..span.end as usize];
    span.ending == Ending::Whole && dialect.is_some_and(|dialect| dialect.is_blank(row))
}

/// The records of a complete text, beginning with the header of delimited text; blank rows below it are left out. Offsets are
/// those in `text`.
pub fn records<'a>(text: &'a [u8], format: &Format) -> impl Iterator<Item = RowSpan> + use<'a> {
    let mut splitter = Splitter::new(*format, usize::MAX);
    let dialect = dialect_of(*format);
    let mut is_header = true;
    std::iter::from_fn(move || {
        loop {
            let span = splitter.next(text, true)?;
            if std::mem::take(&mut is_header) || !is_blank(dialect, text, span) {
                return Some(RowSpan { offset: u64::from(span.start), ..span });
            }
        }
    })
}
