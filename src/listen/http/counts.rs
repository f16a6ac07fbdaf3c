//! What the HTTP listener counts, in memory.

use hyper::StatusCode;

use crate::ledger::Counts;
use crate::listen::metrics::Count;

/// The numbers of the HTTP listener.
#[derive(Debug, Default)]
pub(super) struct HttpCounts {
    /// Requests that were answered, by status. A status that is not in the list is counted in the last place.
    answers: [Count; STATUSES.len() + 1],
    /// Bodies that are being received and loaded.
    pub(super) in_progress: Count,
    /// Bytes of bodies.
    pub(super) bytes: Count,
    /// Rows by outcome, in the order of [`OUTCOMES`].
    rows: [Count; OUTCOMES.len()],
}

const STATUSES: [u16; 12] = [200, 400, 401, 404, 405, 408, 409, 413, 415, 429, 500, 503];

const OUTCOMES: [&str; 5] = ["written", "already_present", "duplicate", "conflict", "rejected"];

impl HttpCounts {
    pub(super) fn note_answer(&self, status: StatusCode) {
        let place = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len());
        self.answers[place].add(1);
    }

    pub(super) fn note_rows(&self, counts: &Counts) {
        let Counts { written, already_present, duplicates, conflicts, rejected, .. } = counts;
        for (count, more) in self.rows.iter().zip([written, already_present, duplicates, conflicts, rejected]) {
            count.add(*more);
        }
    }

    /// Returns the statuses of answers, and how often each occurred.
    pub(super) fn answers(&self) -> impl Iterator<Item = (String, u64)> {
        let names = STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]);
        names.zip(self.answers.iter().map(Count::get))
    }

    /// Returns the outcomes of rows, and how often each occurred.
    pub(super) fn rows(&self) -> impl Iterator<Item = (String, u64)> {
        OUTCOMES.iter().map(|name| (*name).to_owned()).zip(self.rows.iter().map(Count::get))
    }
}
