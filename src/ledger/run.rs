//! The document of one load.

use bson::{DateTime, Uuid};
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use crate::encode::Id;

/// One load, from its start to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadRun {
    /// The load's id; lineage inside documents refers to it.
    #[serde(rename = "_id")]
    pub id: Uuid,
    /// Tells loads of the same sources, with the same spec and options, into the same collection: see [`LoadRun::key`].
    pub key: String,
    /// The fence of the lease under which this document was last written (see [`Lease`](super::Lease)).
    pub fence: i64,
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
    /// The server's UUID of the collection; `None` until the collection exists, or if the user may not see it.
    pub collection_uuid: Option<Uuid>,
    /// When it began, by the server's clock.
    pub started: DateTime,
    /// When this document was last changed, by the server's clock.
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
    /// Documents of the ledger that list the load's refused and kept-out records (see [`Exceptions`]).
    pub exceptions: u64,
    /// Version of the program.
    pub version: String,
}

impl LoadRun {
    /// The key of loads of these sources with this spec and these options into this collection. A source that cannot be read
    /// twice makes every load another one.
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

/// Records that may be missing or different without failing the load's own proof, by `_id`. No other record may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// The server refused them: they may be missing, or stored with earlier content.
    pub refused: Vec<Id>,
    /// They were kept out by other content that was stored before the load: stored with other content, but not missing.
    pub kept_out: Vec<Id>,
}

impl Exceptions {
    /// The same in lists of at most `ids_max` `_id`s each: a document of the ledger has at most 16 MiB.
    pub fn lists(&self, ids_max: usize) -> impl Iterator<Item = Self> {
        let refused = self.refused.chunks(ids_max).map(|ids| Self { refused: ids.to_vec(), kept_out: Vec::new() });
        let kept_out = self.kept_out.chunks(ids_max).map(|ids| Self { refused: Vec::new(), kept_out: ids.to_vec() });
        refused.chain(kept_out)
    }
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
    /// Its documents were dropped since by a load with `--drop`.
    Dropped,
    /// Unfinished, and replaced by a later load of the same sources that started from the beginning.
    Superseded,
}

/// Up to where everything is durable at a majority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Blocks of the source that are settled: all before this one.
    pub blocks: u64,
    /// The reject files that were begun, as they are up to there.
    pub rejects: Vec<RejectsState>,
}

/// A reject file up to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsState {
    /// The first source whose rejects it holds, in the order in which sources are read.
    pub source: u32,
    /// Name of the file, without its directory.
    pub name: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// BLAKE3 of that many bytes, hex.
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
