//! A batch: the records, of one run or several, that go to the server in one command.

use super::outcome::Outcome;

/// Names a batch between an action and its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// What a command does with its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Insert them, unordered.
    Insert,
    /// Read what is stored under their `_id`s, at majority.
    Compare,
    /// Put them in place of what is stored.
    Replace,
    /// Set their fields in what is stored, and leave its other fields alone.
    Merge,
}

/// A record on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Number of its run, from 0.
    pub run: u64,
    /// Its position in the run.
    pub at: u32,
}

/// Some records on their way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) step: Step,
    pub(super) members: Vec<Member>,
    /// What it means if the stored content turns out to be equal.
    pub(super) when_equal: Outcome,
    /// How often it failed.
    pub(super) attempts: u32,
    /// Whether the reply to an earlier attempt was lost, which may have stored its records.
    pub(super) in_doubt: bool,
    /// Whether it only looks: nothing was written yet, so what is absent was not rolled back.
    pub(super) is_first_look: bool,
    /// The name under which it was last sent.
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
