//! The document of one load.

use bson::{DateTime, Uuid};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::counts::Counts;
use crate::encode::{Digest, Id};
use crate::read::Version;
use crate::spec::Spec;

/// One load, from its start to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadDocument {
    /// The load's id. The lineage inside documents refers to it.
    #[serde(rename = "_id")]
    pub id: Uuid,
    /// Equal for loads of the same sources with the same spec and options into the same collection; see
    /// [`LoadDocument::key`].
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
    /// The further collections, if the spec describes several kinds of documents. The fields above are those of the
    /// first kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<TargetState>,
    /// Version of the program.
    pub version: String,
}

/// The state of one collection that a load writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    /// The collection.
    pub collection: String,
    /// See [`LoadDocument::first_load`].
    pub first_load: bool,
    /// See [`LoadDocument::collection_uuid`].
    pub collection_uuid: Option<Uuid>,
    /// The outcomes of the documents, and of the rows, up to the checkpoint.
    pub counts: Counts,
    /// See [`LoadDocument::digest`].
    pub digest: String,
    /// See [`LoadDocument::exceptions`].
    pub exceptions: u64,
}

impl TargetState {
    /// A collection into which nothing was written yet.
    pub fn new(collection: &str) -> Self {
        Self {
            collection: collection.to_owned(),
            first_load: false,
            collection_uuid: None,
            counts: Counts::default(),
            digest: Digest::default().to_string(),
            exceptions: 0,
        }
    }
}

impl LoadDocument {
    /// A load that is about to begin: it has no fence, no counts and no checkpoint yet. `targets` has a collection for
    /// each kind of document.
    pub fn new(targets: Vec<TargetState>, spec: &Spec, sources: Vec<SourceIdentity>, options: Options) -> Self {
        let collections: Vec<&str> = targets.iter().map(|target| target.collection.as_str()).collect();
        let key = Self::key(&collections, &spec.hash, &sources, &options);
        let mut targets = targets.into_iter();
        let TargetState { collection, first_load, collection_uuid, counts, digest, exceptions } =
            targets.next().expect("a spec describes a document");
        Self {
            id: Uuid::new(),
            key,
            fence: 0,
            collection,
            spec: spec.name.clone(),
            spec_hash: spec.hash.clone(),
            sources,
            options,
            state: State::Running,
            first_load,
            collection_uuid,
            started: DateTime::MIN,
            updated: DateTime::MIN,
            finished: None,
            counts,
            checkpoint: Checkpoint::default(),
            digest,
            exceptions,
            further: targets.collect(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// Returns the state of the collection for each kind of document, in the order of the kinds.
    pub fn targets(&self) -> Vec<TargetState> {
        let first = TargetState {
            collection: self.collection.clone(),
            first_load: self.first_load,
            collection_uuid: self.collection_uuid,
            counts: self.counts,
            digest: self.digest.clone(),
            exceptions: self.exceptions,
        };
        std::iter::once(first).chain(self.further.iter().cloned()).collect()
    }

    /// Replaces the states of all collections. `targets` is in the order of the kinds.
    pub fn set_targets(&mut self, targets: Vec<TargetState>) {
        let mut targets = targets.into_iter();
        if let Some(first) = targets.next() {
            self.collection = first.collection;
            self.first_load = first.first_load;
            self.collection_uuid = first.collection_uuid;
            self.counts = first.counts;
            self.digest = first.digest;
            self.exceptions = first.exceptions;
        }
        self.further = targets.collect();
    }

    /// Returns the key of this load with its present sources.
    #[must_use]
    pub fn present_key(&self) -> String {
        let targets = self.targets();
        let collections: Vec<&str> = targets.iter().map(|target| target.collection.as_str()).collect();
        Self::key(&collections, &self.spec_hash, &self.sources, &self.options)
    }

    /// The key of loads of these sources with this spec and these options into these collections: a hash of all that
    /// determines the written documents. If a source can be read only once, the key is unique: no other load counts as
    /// the same.
    pub fn key(collections: &[&str], spec_hash: &str, sources: &[SourceIdentity], options: &Options) -> String {
        let sources: Vec<&Version> = sources.iter().map(|source| &source.version).collect();
        if sources.contains(&&Version::ReadOnce) {
            return format!("once {}", Uuid::new());
        }
        let key = LoadKey { form: KEY_FORM, collections, spec_hash, options, sources };
        let bytes = bson::serialize_to_vec(&key).expect("texts and numbers are BSON");
        blake3::hash(&bytes).to_hex().to_string()
    }
}

/// Form of [`LoadKey`]. A change of its fields needs another number, because the same load then has another key.
const KEY_FORM: i32 = 2;

/// All that determines the documents of a load.
#[derive(Serialize)]
struct LoadKey<'a> {
    form: i32,
    collections: &'a [&'a str],
    spec_hash: &'a str,
    options: &'a Options,
    sources: Vec<&'a Version>,
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
    /// The version of its content.
    #[serde(default)]
    pub version: Version,
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
    /// How the sources are read, as far as the user specified it.
    #[serde(default, deserialize_with = "reading_or_default")]
    pub reading: Reading,
}

/// How the sources of a load are read, as far as the user specified it. Settings that were detected are not part of it,
/// because they follow from the content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// The name of the encoding.
    pub encoding: Option<String>,
    /// The name of the format.
    pub format: Option<String>,
    /// The delimiter.
    pub delimiter: Option<String>,
    /// The quote character, or `none`.
    pub quote: Option<String>,
    /// The escape character, or `none`.
    pub escape: Option<String>,
    /// Whether cells may contain lines that look like rows.
    pub multiline_cells: bool,
    /// Date formats, each with its column, or with the empty text for all columns.
    pub dates: Vec<(String, String)>,
}

/// Ledger documents of earlier builds have a text in this place. Their loads have keys of another form, so the content
/// does not matter.
fn reading_or_default<'de, D: Deserializer<'de>>(from: D) -> Result<Reading, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Reading(Reading),
        Text(IgnoredAny),
    }
    Ok(match Stored::deserialize(from)? {
        Stored::Reading(reading) => reading,
        Stored::Text(IgnoredAny) => Reading::default(),
    })
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
        let version = hash.map_or(Version::ReadOnce, |hash| Version::Blake3(hash.to_owned()));
        SourceIdentity { name: "a.csv".into(), size_bytes: Some(1), version }
    }

    fn options() -> Options {
        Options { mode: "insert".into(), identity_key: "none".into(), lineage: false, reading: Reading::default() }
    }

    #[test]
    fn loads_have_one_key_only_if_all_that_decides_is_the_same() {
        let sources = [source(Some("12")), source(Some("3"))];
        let key = LoadDocument::key(&["rows"], "spec", &sources, &options());
        assert_eq!(key, KEY, "a load that an earlier process interrupted is found by its key");
        let renamed = sources.clone().map(|source| SourceIdentity { name: "b.csv".into(), size_bytes: None, ..source });
        assert_eq!(key, LoadDocument::key(&["rows"], "spec", &renamed, &options()), "names do not matter");
        let mut keys = vec![
            key,
            LoadDocument::key(&["rowss"], "pec", &sources, &options()),
            LoadDocument::key(&["other"], "spec", &sources, &options()),
            LoadDocument::key(&["rows", "other"], "spec", &sources, &options()),
            LoadDocument::key(&["rows"], "other", &sources, &options()),
            LoadDocument::key(&["rows"], "spec", &[source(Some("3")), source(Some("12"))], &options()),
            LoadDocument::key(&["rows"], "spec", &[source(Some("1")), source(Some("23"))], &options()),
            LoadDocument::key(&["rows"], "spec", &sources[..1], &options()),
            LoadDocument::key(&["rows"], "spec", &sources, &Options { mode: "upsert".into(), ..options() }),
            LoadDocument::key(&["rows"], "spec", &sources, &Options { identity_key: "0123".into(), ..options() }),
            LoadDocument::key(&["rows"], "spec", &sources, &Options { lineage: true, ..options() }),
        ];
        let some = |text: &str| Some(text.to_owned());
        let readings = [
            Reading { encoding: some("utf-8"), ..Reading::default() },
            Reading { format: some("csv"), ..Reading::default() },
            Reading { delimiter: some(","), ..Reading::default() },
            Reading { quote: some("none"), ..Reading::default() },
            Reading { escape: some("none"), ..Reading::default() },
            Reading { multiline_cells: true, ..Reading::default() },
            Reading { dates: vec![(String::new(), "DD/MM/YYYY".to_owned())], ..Reading::default() },
            Reading { dates: vec![("born".to_owned(), "DD/MM/YYYY".to_owned())], ..Reading::default() },
        ];
        keys.extend(
            readings.map(|reading| LoadDocument::key(&["rows"], "spec", &sources, &Options { reading, ..options() })),
        );
        let once = || LoadDocument::key(&["rows"], "spec", &[source(Some("12")), source(None)], &options());
        keys.extend([once(), once()]);
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "each is another load");
    }

    /// The key of the first load of the test above.
    const KEY: &str = "b0dfec2c556e5ed4ab28c1b4b9b4f8500bb7c9623f2eb6c8dbb6eec840565bc7";

    #[test]
    fn the_ledger_documents_of_earlier_builds_are_read() {
        let run =
            LoadDocument::new(vec![TargetState::new("rows")], &Spec::built_in(), vec![source(Some("12"))], options());
        let mut document = bson::serialize_to_document(&run).unwrap();
        let read: LoadDocument = bson::deserialize_from_document(document.clone()).unwrap();
        assert_eq!((&read.sources, &read.options), (&run.sources, &run.options));
        document.get_document_mut("options").unwrap().insert("reading", "None LayoutOptions {}");
        document.insert("sources", vec![bson::doc! { "name": "a.csv", "size_bytes": 1_i64, "blake3": "12" }]);
        let read: LoadDocument = bson::deserialize_from_document(document).unwrap();
        assert_eq!((read.sources, read.options), (vec![source(None)], options()));
    }
}
