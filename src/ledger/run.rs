//! The document of one load.

use bson::{DateTime, Uuid};
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use crate::encode::{Digest, Id};
use crate::spec::Spec;

/// One load, from its start to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadRun {
    /// The load's id. The lineage inside documents refers to it.
    #[serde(rename = "_id")]
    pub id: Uuid,
    /// Equal for loads of the same sources with the same spec and options into the same collection; see
    /// [`LoadRun::key`].
    pub key: String,
    /// The fence of the lease under which this document was last written (see [`Lease`](super::Lease)).
    pub fence: i64,
    /// The collection that the load writes to.
    pub collection: String,
    /// Name of the dataset spec.
    pub spec: String,
    /// BLAKE3 of the spec's text, hex.
    pub spec_hash: String,
    /// The sources, in the order in which they are read.
    pub sources: Vec<SourceIdentity>,
    /// The options that determine the written documents.
    pub options: Options,
    /// Whether the load runs, ended or was replaced.
    pub state: State,
    /// Whether the collection was empty when the load began. Indexes and the validator are then created at the end.
    pub first_load: bool,
    /// The server's UUID of the collection; `None` until the collection exists, or if the user has no permission to see
    /// it.
    pub collection_uuid: Option<Uuid>,
    /// Time at which the load began, by the server's clock.
    pub started: DateTime,
    /// Time at which this document was last changed, by the server's clock.
    pub updated: DateTime,
    /// Time at which the load was complete, by the clock of the machine that ran it; `None` until then.
    pub finished: Option<DateTime>,
    /// The outcomes of the rows up to the checkpoint.
    pub counts: Counts,
    /// The point up to which everything is durable.
    pub checkpoint: Checkpoint,
    /// Order-independent sum of the digests of all records of this load that the collection contains, 32 hex digits.
    /// Empty if a record replaced an earlier one of the same load, because the sum then no longer follows from the
    /// records alone.
    pub digest: String,
    /// Number of ledger documents that list the load's refused and kept-out records (see [`Exceptions`]).
    pub exceptions: u64,
    /// Version of the program.
    pub version: String,
}

impl LoadRun {
    /// A load that is about to begin: it has no fence, no counts and no checkpoint yet.
    pub fn new(collection: &str, spec: &Spec, sources: Vec<SourceIdentity>, options: Options) -> Self {
        Self {
            id: Uuid::new(),
            key: Self::key(collection, &spec.hash, &sources, &options),
            fence: 0,
            collection: collection.to_owned(),
            spec: spec.name.clone(),
            spec_hash: spec.hash.clone(),
            sources,
            options,
            state: State::Running,
            first_load: false,
            collection_uuid: None,
            started: DateTime::MIN,
            updated: DateTime::MIN,
            finished: None,
            counts: Counts::default(),
            checkpoint: Checkpoint::default(),
            digest: Digest::default().to_string(),
            exceptions: 0,
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// The key of loads of these sources with this spec and these options into this collection. If a source can be read
    /// only once, the key is unique: no other load counts as the same.
    pub fn key(collection: &str, spec_hash: &str, sources: &[SourceIdentity], options: &Options) -> String {
        let Some(hashes) = sources.iter().map(|source| source.blake3.as_deref()).collect::<Option<Vec<_>>>() else {
            return format!("once {}", Uuid::new());
        };
        let mut digest = blake3::Hasher::new();
        let options = format!("{options:?}");
        for part in [collection, spec_hash, &options].into_iter().chain(hashes) {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        digest.finalize().to_hex().to_string()
    }
}

/// Records that may be missing or different without failing the load's own verification, by `_id`. No other record may
/// be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Refused by the server: missing, or stored with earlier content.
    pub refused: Vec<Id>,
    /// Kept out by other content that was stored before the load: not missing, but stored with that content.
    pub kept_out: Vec<Id>,
}

impl Exceptions {
    /// Splits the exceptions into lists of at most `ids_max` `_id`s each, because a document of the ledger can have at
    /// most 16 MiB.
    pub fn lists(&self, ids_max: usize) -> impl Iterator<Item = Self> {
        let refused = self.refused.chunks(ids_max).map(|ids| Self { refused: ids.to_vec(), kept_out: Vec::new() });
        let kept_out = self.kept_out.chunks(ids_max).map(|ids| Self { refused: Vec::new(), kept_out: ids.to_vec() });
        refused.chain(kept_out)
    }
}

/// Identifies a source. Two sources with the same identity have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// File name without its directory, or `-`.
    pub name: String,
    /// Size in bytes; `None` for standard input.
    pub size_bytes: Option<u64>,
    /// BLAKE3 of its bytes, in hexadecimal; `None` for standard input.
    pub blake3: Option<String>,
}

/// The options that determine the written documents. Two loads are the same only if these options are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `insert`, `upsert` or `merge`.
    pub mode: String,
    /// Fingerprint of the identity key, or `none`.
    pub identity_key: String,
    /// Whether documents contain their lineage.
    pub lineage: bool,
    /// How the sources are read, as far as the user specified it: encoding, delimiter, date formats.
    pub reading: String,
}

/// The state of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Under way, or killed. The checkpoint shows how far the load is durable.
    Running,
    /// Stopped by the user or by a limit.
    Stopped,
    /// Ended by an error.
    Failed,
    /// Completely loaded.
    Complete,
    /// Its documents were dropped by a later load with `--drop`.
    Dropped,
    /// Unfinished, and replaced by a later load of the same sources that started from the beginning.
    Superseded,
}

/// The point up to which everything is durable at a majority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of settled blocks: all blocks before this number.
    pub blocks: u64,
    /// The reject files that the load has begun, with their content at this point.
    pub rejects: Vec<RejectsState>,
}

/// The state of a reject file at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsState {
    /// Index of the first source whose rejects the file contains, in the order in which sources are read.
    pub source: u32,
    /// Name of the file, without its directory.
    pub name: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// BLAKE3 of the first `bytes` bytes, hex.
    pub blake3: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_listed_in_documents_of_bounded_length() {
        let ids = |bytes: std::ops::Range<u8>| bytes.map(|byte| Id([byte; 16])).collect::<Vec<_>>();
        let all = Exceptions { refused: ids(0..7), kept_out: ids(7..10) };
        let lists: Vec<Exceptions> = all.lists(3).collect();
        assert!(lists.iter().all(|list| (1..=3).contains(&(list.refused.len() + list.kept_out.len()))));
        assert_eq!(lists.iter().flat_map(|list| list.refused.clone()).collect::<Vec<_>>(), all.refused);
        assert_eq!(lists.iter().flat_map(|list| list.kept_out.clone()).collect::<Vec<_>>(), all.kept_out);
        assert_eq!(Exceptions::default().lists(3).count(), 0);
    }

    fn source(hash: Option<&str>) -> SourceIdentity {
        SourceIdentity { name: "a.csv".into(), size_bytes: Some(1), blake3: hash.map(str::to_owned) }
    }

    fn options() -> Options {
        Options { mode: "insert".into(), identity_key: "none".into(), lineage: false, reading: "as it is".into() }
    }

    #[test]
    fn loads_have_one_key_only_if_all_that_decides_is_the_same() {
        let sources = [source(Some("12")), source(Some("3"))];
        let key = LoadRun::key("rows", "spec", &sources, &options());
        assert_eq!(key, KEY, "a load that an earlier version interrupted is found by its key");
        let renamed = sources.clone().map(|source| SourceIdentity { name: "b.csv".into(), size_bytes: None, ..source });
        assert_eq!(key, LoadRun::key("rows", "spec", &renamed, &options()), "names do not matter");
        let mut keys = vec![
            key,
            LoadRun::key("rowss", "pec", &sources, &options()),
            LoadRun::key("other", "spec", &sources, &options()),
            LoadRun::key("rows", "other", &sources, &options()),
            LoadRun::key("rows", "spec", &[source(Some("3")), source(Some("12"))], &options()),
            LoadRun::key("rows", "spec", &[source(Some("1")), source(Some("23"))], &options()),
            LoadRun::key("rows", "spec", &sources[..1], &options()),
            LoadRun::key("rows", "spec", &sources, &Options { mode: "upsert".into(), ..options() }),
            LoadRun::key("rows", "spec", &sources, &Options { identity_key: "0123".into(), ..options() }),
            LoadRun::key("rows", "spec", &sources, &Options { lineage: true, ..options() }),
            LoadRun::key("rows", "spec", &sources, &Options { reading: "otherwise".into(), ..options() }),
        ];
        let once = || LoadRun::key("rows", "spec", &[source(Some("12")), source(None)], &options());
        keys.extend([once(), once()]);
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "each is another load");
    }

    /// The key of the first load of the test above.
    const KEY: &str = "301806e676cbd818f8fddba88128f4fa4a722258403e9f99cc20ae0c99d3e373";
}
