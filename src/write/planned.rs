//! The records as the machine sees them, and the limits for their batches.

/// The properties of a record that batches depend on.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Length of its document, in bytes.
    pub bytes: u32,
    /// Whether an earlier chunk of this load contained a record with the same `_id`, and with which content.
    pub earlier: Earlier,
    /// The leading bytes of its `_id`: its position in the server's `_id` index.
    pub lead: u32,
}

/// The most recent record with the same `_id` in an earlier chunk of this load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// There is none: the record is new.
    Nothing,
    /// It has the same content. The record becomes a duplicate when all new records of its chunk and all earlier chunks are
    /// settled. The server is asked only if a record of this load was refused or kept out, or if chunks were skipped
    /// because an earlier process had settled them. Changes by other writers during the load are found by the
    /// verification.
    Equal,
    /// It has other content. The record is compared with the stored document when all new records of its chunk and all
    /// earlier chunks are settled. It is inserted only if nothing is stored.
    Other,
}

/// Upper bounds for batches, commands and retries.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most documents in one command. The server allows 100,000.
    pub batch_docs_max: usize,
    /// Most bytes of documents in one command. A larger document is sent alone.
    pub batch_bytes_max: usize,
    /// Most commands that wait for an answer at the same time.
    pub in_flight_max: usize,
    /// How many times one batch is sent again before the load stops.
    pub attempts_max: u32,
}
