//! The properties of a record that the state machine knows, and the limits for its batches.

/// A record as the state machine sees it: without its content.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Length of the record's document, in bytes.
    pub bytes: u32,
    /// Whether an earlier chunk of this load contained a record with the same `_id`.
    pub earlier: Earlier,
    /// The first four bytes of the record's `_id`. They determine its position in the server's `_id` index.
    pub lead: u32,
    /// The shard that owns the record's `_id`. 0 if the collection is not sharded.
    pub shard: u16,
}

/// The result of comparing a record with the previous one: the most recent record with the same `_id` in an earlier
/// chunk of this load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// No earlier chunk contained the `_id`: the record is new.
    Nothing,
    /// The most recent earlier record with this `_id` has the same content. The new record must wait until all records
    /// of earlier chunks, and all new records of its own chunk, have their final outcomes. If the load knows that this
    /// content is stored, the new record is then a duplicate, and the server is not queried. If another program changes
    /// the document meanwhile, the verification of the load finds the change.
    ///
    /// In these cases, the load does not know whether the content is stored: the server refused a record of this load,
    /// a record was not stored because of a conflict, or an earlier process of this load committed some chunks. The new
    /// record is then compared with the stored document.
    Equal,
    /// The most recent earlier record with this `_id` has other content. The new record must wait until all records of
    /// earlier chunks, and all new records of its own chunk, have their final outcomes. Then it is compared with the
    /// stored document. If nothing is stored, it is inserted.
    Other,
}

/// Upper bounds for batches, commands and retries.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of documents in one command. The server permits 100,000.
    pub batch_docs_max: usize,
    /// Maximum size of the documents in one command, in bytes. A larger document is sent alone.
    pub batch_bytes_max: usize,
    /// Maximum number of commands that wait for an answer at the same time.
    pub in_flight_max: usize,
    /// How often the records of one batch are sent again before the load stops.
    pub attempts_max: u32,
}
