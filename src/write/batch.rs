//! A batch: the records that one command sends to the server. They may belong to several chunks.

use super::outcome::Outcome;
pub use super::step::Step;

/// Identifies a batch: the answer to an action carries the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// A record, identified by its chunk and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Number of its chunk, from 0.
    pub chunk: u64,
    /// Its position in the chunk.
    pub at: u32,
}

/// Records that are sent together, and the state of that attempt.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) step: Step,
    pub(super) members: Vec<Member>,
    /// The outcome of a member if the stored content is equal to its own.
    pub(super) when_equal: Outcome,
    /// How many times the records were delayed to be sent again.
    pub(super) attempts: u32,
    /// True if an earlier attempt may have stored the records, for example because its reply was lost.
    pub(super) in_doubt: bool,
    /// True for a read before the first insert. A document that is absent then was never written, so it was not rolled
    /// back.
    pub(super) is_first_look: bool,
    /// The id with which it was last sent.
    pub(super) sent_as: Option<BatchId>,
}

impl Batch {
    pub(super) fn new(step: Step, members: Vec<Member>, when_equal: Outcome) -> Self {
        let is_first_look = step == Step::Compare;
        Self { step, members, when_equal, attempts: 0, in_doubt: false, is_first_look, sent_as: None }
    }

    /// The batch that takes some of these members a step further.
    pub(super) fn follow(&self, step: Step, members: Vec<Member>, when_equal: Outcome) -> Self {
        Self {
            step,
            members,
            when_equal,
            attempts: self.attempts,
            in_doubt: self.in_doubt,
            is_first_look: false,
            sent_as: self.sent_as,
        }
    }

    /// What an acknowledged, durable answer means for a member.
    pub(super) fn when_applied(&self) -> Outcome {
        match (self.step, self.when_equal) {
            (Step::Insert, _) => Outcome::Written,
            (_, Outcome::ReplacedOwn) => Outcome::ReplacedOwn,
            _ => Outcome::Replaced,
        }
    }
}
