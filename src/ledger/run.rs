//! The document of one load.

use bson::{DateTime, Uuid};
use serde::{Deserialize, Serialize};

use super::counts::Counts;

/// One load, from its start to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadRun {
    /// The load's id; lineage inside documents refers to it.
    #[serde(rename = "_id")]
    pub id: Uuid,
    /// The collection it writes to.
    pub collection: String,
    /// Name of the dataset spec.
    pub spec: String,
    /// BLAKE3 of the spec's text, hex.
    pub spec_hash: String,
    /// What is read, in order.
    pub sources: Vec<SourceIdentity>,
    /// The options that decide what is written.
    pub options: Options,
    /// How far it came.
    pub state: State,
    /// Whether the collection held nothing when it began: then indexes and validator follow at the end.
    pub first_load: bool,
    /// When it began.
    pub started: DateTime,
    /// When this document was last changed.
    pub updated: DateTime,
    /// When it ended.
    pub finished: Option<DateTime>,
    /// What became of the rows up to the checkpoint.
    pub counts: Counts,
    /// Up to where everything is durable.
    pub checkpoint: Checkpoint,
    /// Order-independent sum of the digests of all records the collection holds of this load, 32 hex digits; empty where a
    /// record replaced an earlier one of the same load, because the sum then cannot be told from the records alone.
    pub digest: String,
    /// Version of the program.
    pub version: String,
}

/// What makes a source the same source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// File name without its directory, or `-`.
    pub name: String,
    /// Size, bytes; `None` for standard input.
    pub size_bytes: Option<u64>,
    /// BLAKE3 of its bytes, hex; `None` for standard input.
    pub blake3: Option<String>,
}

/// The options that decide what a load writes. Two loads are the same only if these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `insert`, `upsert` or `merge`.
    pub mode: String,
    /// Fingerprint of the identity key, or `none`.
    pub identity_key: String,
    /// Whether documents carry their lineage.
    pub lineage: bool,
    /// How the sources are read, as far as the user said so: encoding, delimiter, date formats.
    pub reading: String,
}

/// How far a load came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Under way, or killed: the checkpoint tells how far it is durable.
    Running,
    /// Stopped by the user or by a limit.
    Stopped,
    /// Ended by an error.
    Failed,
    /// Loaded whole.
    Complete,
    /// Loaded whole, and its documents dropped since by a load with `--drop`.
    Dropped,
}

/// Up to where everything is durable at a majority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Blocks of the source that are settled: all before this one.
    pub blocks: u64,
    /// Length of each reject file up to there, bytes.
    pub rejects_bytes: Vec<u64>,
}
