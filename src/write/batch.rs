//! A batch: the records that one command sends to the server. They may belong to several chunks.

use super::outcome::Outcome;
pub use super::step::Step;

/// Identifies one command. The event with the command's answer has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// A record, identified by the number of its chunk and its position in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Number of the chunk, counted from 0. Chunks that a resumed load skips are not counted.
    pub chunk: u64,
    /// Position of the record in the chunk.
    pub at: u32,
}

/// Records that are sent together in one command, and what is known from earlier commands.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) step: Step,
    /// The shard that owns the `_id`s of all records.
    pub(super) shard: u16,
    pub(super) members: Vec<Member>,
    /// The outcome of a record if the same content is already stored under its `_id`.
    pub(super) when_equal: Outcome,
    /// How many times these records were delayed and sent again.
    pub(super) attempts: u32,
    /// True if an earlier command may have stored the records, for example a command whose reply was lost.
    pub(super) in_doubt: bool,
    /// True if this batch reads the stored documents before this process has tried to write the records. Missing
    /// documents are then normal. If a document is missing in a later read, it was rolled back, or is not at a majority
    /// yet.
    pub(super) is_first_look: bool,
    /// The id of the last command that sent these records.
    pub(super) sent_as: Option<BatchId>,
}

impl Batch {
    pub(super) fn new(step: Step, shard: u16, members: Vec<Member>, when_equal: Outcome) -> Self {
        let is_first_look = step == Step::Compare;
        Self { step, shard, members, when_equal, attempts: 0, in_doubt: false, is_first_look, sent_as: None }
    }

    /// Makes the next batch for some of the records of this batch.
    pub(super) fn follow(&self, step: Step, members: Vec<Member>, when_equal: Outcome) -> Self {
        Self {
            step,
            shard: self.shard,
            members,
            when_equal,
            attempts: self.attempts,
            in_doubt: self.in_doubt,
            is_first_look: false,
            sent_as: self.sent_as,
        }
    }

    /// Returns true if an earlier chunk of this load had the `_id`s of the records.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.when_equal, Outcome::Duplicate | Outcome::ReplacedOwn)
    }

    /// Returns the outcome of a record in this case: the server refused the record because its `_id` is taken, and the
    /// stored document then has the same content as the record.
    ///
    /// With [`Step::ReplaceOlder`], the stored document was older than the record when the two were compared. It has
    /// been changed since then. If a reply was lost, an earlier command of this load has probably changed it, and the
    /// record counts as replaced. It also counts as replaced if its `_id` occurred in an earlier chunk. Otherwise
    /// another program has changed the document, and the record counts as already present.
    pub(super) fn when_taken(&self) -> Outcome {
        match self.step {
            Step::ReplaceOlder if self.is_own() => Outcome::ReplacedOwn,
            Step::ReplaceOlder if self.in_doubt => Outcome::Replaced,
            _ => Outcome::Present,
        }
    }

    /// Returns the outcome of a record whose write was acknowledged as durable.
    pub(super) fn when_applied(&self) -> Outcome {
        match self.step {
            Step::Insert => Outcome::Written,
            _ if self.is_own() => Outcome::ReplacedOwn,
            _ => Outcome::Replaced,
        }
    }
}
