//! The ledger document of a load.

use bson::{DateTime, Uuid};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::counts::Counts;
use crate::encode::{Digest, Id};
use crate::read::Version;
use crate::spec::Spec;

/// The ledger document of one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadDocument {
    /// The load's id. The lineage of a document, if it has one, contains the id of its load.
    #[serde(rename = "_id")]
    pub id: Uuid,
    /// Equal for two loads of the same sources, with the same spec and options, into the same collections (see
    /// [`LoadDocument::key`]).
    pub key: String,
    /// The fence of the lease under which this document was last written (see [`Lease`](super::Lease)).
    pub fence: i64,
    /// The collection of the first kind of documents. The others are in `further`.
    pub collection: String,
    /// Name of the dataset spec.
    pub spec: String,
    /// BLAKE3 hash of the spec's text, in hex.
    pub spec_hash: String,
    /// The sources, in the order in which they are read.
    pub sources: Vec<SourceIdentity>,
    /// The options that influence the content of the documents.
    pub options: Options,
    /// Whether the load is running, has ended or was replaced.
    pub state: State,
    /// Whether this is a *first load*: the collection was empty when the load began. A first load creates the indexes
    /// and the validator at its end.
    pub first_load: bool,
    /// The collection's UUID on the server. `None` until the collection exists, or if the user has no permission to
    /// read it.
    pub collection_uuid: Option<Uuid>,
    /// Time at which the load began, by the server's clock.
    pub started: DateTime,
    /// Time at which this document was last changed, by the server's clock.
    pub updated: DateTime,
    /// Time at which the load completed, by the clock of the machine that executed it. `None` until then.
    pub finished: Option<DateTime>,
    /// The outcomes of the rows before the checkpoint.
    pub counts: Counts,
    /// The position up to which the load is committed.
    pub checkpoint: Checkpoint,
    /// The sum of the digests of all records of this load that are stored, as 32 hex digits. The order of the records
    /// does not matter. Empty if the sum is not known: a record replaced an earlier record of the same load, or the
    /// load has several parts and no verification could determine the sum.
    pub digest: String,
    /// Number of ledger documents that list the load's refused and kept-out records (see [`Exceptions`]).
    pub exceptions: u64,
    /// The states of the second and further collections, if the spec describes several kinds of documents. The fields
    /// above concern the collection of the first kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<TargetState>,
    /// Whether each row gives a document of only one of the kinds, as FHIR resources do. The counts of a kind are then
    /// about the rows of this kind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_divided: bool,
    /// The result of the most recent verification by this load, or by a repetition of its command. `None` if there was
    /// no verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Version of Medlift.
    pub version: String,
    /// The manifest, if the load is divided into parts for several workers. Each part has its own document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<OfManifest>,
    /// The load and the number of the part, if this is the document of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartOf>,
}

/// The manifest of a load. Also contains the numbers with which the counts of the whole load are computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfManifest {
    /// The manifest's id.
    pub id: String,
    /// Index of the load's table in the manifest.
    pub table: u32,
    /// The numbers of the load's parts in the manifest, in ascending order.
    pub parts: Vec<u32>,
    /// Number of documents in each collection when the load began. There is one number for each kind of document.
    pub documents_before: Vec<u64>,
}

/// The beginning of the keys of a manifest's tokens. A token is the right of a worker to have one bulk command under
/// way. In a key, the token's number follows.
fn token_prefix(manifest: &str) -> String {
    format!("writer {manifest} ")
}

/// Returns the key of a token of a manifest.
pub fn token_key(manifest: &str, number: u32) -> String {
    format!("{}{number}", token_prefix(manifest))
}

/// Identifies a part of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// The id of the load.
    pub load: Uuid,
    /// Number of the part in the manifest, from 0.
    pub number: u32,
}

impl PartOf {
    /// Returns the key of the part. The part's document and lease are found by this key.
    pub fn key(&self) -> String {
        format!("{}{}", Self::key_prefix(self.load), self.number)
    }

    /// Returns the beginning of the keys of a load's parts. The number of the part follows.
    pub(super) fn key_prefix(load: Uuid) -> String {
        format!("part {load} ")
    }

    /// Returns the `_id` of the part's document, computed from the part's key. If the part begins again, its new
    /// document has the same `_id` and replaces the old one.
    pub fn document_id(&self) -> Uuid {
        id_of_part(&self.key())
    }
}

/// Returns the `_id` of the document of the part with this key.
pub(super) fn id_of_part(key: &str) -> Uuid {
    Uuid::from_bytes(Id::from_hash(&blake3::hash(key.as_bytes())).0)
}

/// The state of one collection to which a load writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    /// Name of the collection.
    pub collection: String,
    /// Whether the collection was empty when the load began; see [`LoadDocument::first_load`].
    pub first_load: bool,
    /// The collection's UUID on the server; see [`LoadDocument::collection_uuid`].
    pub collection_uuid: Option<Uuid>,
    /// The outcomes of the rows before the checkpoint, counted for the documents of this collection.
    pub counts: Counts,
    /// The sum of the digests of the stored records; see [`LoadDocument::digest`].
    pub digest: String,
    /// Number of ledger documents with exceptions of this collection; see [`LoadDocument::exceptions`].
    pub exceptions: u64,
}

impl TargetState {
    /// Makes the state of a collection into which the load has not written anything yet.
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
    /// Makes the document of a load that is about to begin. Fence, counts and checkpoint are zero. `targets` has one
    /// collection for each kind of document.
    pub fn new(targets: Vec<TargetState>, spec: &Spec, sources: Vec<SourceIdentity>, options: Options) -> Self {
        let collections: Vec<&str> = targets.iter().map(|target| target.collection.as_str()).collect();
        let key = Self::key(&collections, &spec.hash, &sources, &options);
        let mut targets = targets.into_iter();
        let TargetState { collection, first_load, collection_uuid, counts, digest, exceptions } =
            targets.next().expect("a spec must describe at least one kind of document");
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
            is_divided: spec.is_divided(),
            proof: None,
            version: env!("CARGO_PKG_VERSION").into(),
            manifest: None,
            part: None,
        }
    }

    /// Returns the states of all collections, in the order of the kinds of documents.
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

    /// Returns the number of documents written so far, of all kinds.
    pub fn documents_written(&self) -> u64 {
        self.counts.written + self.further.iter().map(|state| state.counts.written).sum::<u64>()
    }

    /// Returns the number of rows read so far.
    pub fn rows_read(&self) -> u64 {
        let further = self.further.iter().filter(|_| self.is_divided).map(|state| state.counts.read);
        self.counts.read + further.sum::<u64>()
    }

    /// Replaces the states of all collections. `targets` is in the order of the kinds of documents.
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

    /// Returns true if the lease with this key belongs to the load: its own lease, or a lease of its workers for a part
    /// or for the right to write.
    pub fn has_lease(&self, key: &str) -> bool {
        let of_worker = |manifest: &OfManifest| {
            key.starts_with(&PartOf::key_prefix(self.id)) || key.starts_with(&token_prefix(&manifest.id))
        };
        key == self.key || self.manifest.as_ref().is_some_and(of_worker)
    }

    /// Computes the key again, from the present `sources`. Reason: a load into an empty collection makes its ledger
    /// document before it hashes its sources.
    #[must_use]
    pub fn present_key(&self) -> String {
        let targets = self.targets();
        let collections: Vec<&str> = targets.iter().map(|target| target.collection.as_str()).collect();
        Self::key(&collections, &self.spec_hash, &self.sources, &self.options)
    }

    /// Returns the key of a load: a hash of everything that determines its documents. Two loads with equal keys write
    /// the same documents. If a source can be read only once, for example standard input, the key is random, so that no
    /// other load has it.
    pub fn key(collections: &[&str], spec_hash: &str, sources: &[SourceIdentity], options: &Options) -> String {
        let sources: Vec<&Version> = sources.iter().map(|source| &source.version).collect();
        if sources.contains(&&Version::ReadOnce) {
            return format!("once {}", Uuid::new());
        }
        let key = LoadKey { form: KEY_FORM, collections, spec_hash, options, sources };
        let bytes = bson::serialize_to_vec(&key).expect("a load key must serialize to BSON");
        blake3::hash(&bytes).to_hex().to_string()
    }
}

/// Version number of [`LoadKey`]. Increase this number if the fields of `LoadKey` change, so that all keys change.
const KEY_FORM: i32 = 2;

/// Everything that determines the documents of a load.
#[derive(Serialize)]
struct LoadKey<'a> {
    form: i32,
    collections: &'a [&'a str],
    spec_hash: &'a str,
    options: &'a Options,
    sources: Vec<&'a Version>,
}

/// The `_id`s of records that the verification of their load *excuses*: it does not count them as differences, although
/// their documents are missing or different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// The server refused the record. Its document may be missing, or have the content that was stored before.
    pub refused: Vec<Id>,
    /// Other content, not from this load, was stored under the `_id` and was kept. The document may be different, but
    /// must not be missing.
    pub kept_out: Vec<Id>,
}

impl Exceptions {
    /// Splits the exceptions into lists of at most `ids_max` `_id`s, because a ledger document can have at most 16 MiB.
    pub fn lists(&self, ids_max: usize) -> impl Iterator<Item = Self> {
        let refused = self.refused.chunks(ids_max).map(|ids| Self { refused: ids.to_vec(), kept_out: Vec::new() });
        let kept_out = self.kept_out.chunks(ids_max).map(|ids| Self { refused: Vec::new(), kept_out: ids.to_vec() });
        refused.chain(kept_out)
    }
}

/// Identifies a source. Two sources with the same hash have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Path of the file, address of the object in S3, or `standard input`.
    pub name: String,
    /// Size on disk in bytes; `None` for standard input, a pipe or a device.
    pub size_bytes: Option<u64>,
    /// The version of the source's content, for example its hash.
    #[serde(default)]
    pub version: Version,
}

/// The options that determine the written documents. They are part of the load's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `insert`, `upsert` or `merge`.
    pub mode: String,
    /// Fingerprint of the identity key, or `none`.
    pub identity_key: String,
    /// Whether documents contain their lineage: the id of the load and the row number.
    pub lineage: bool,
    /// The options that say how to read the sources.
    #[serde(default, deserialize_with = "reading_or_default")]
    pub reading: Reading,
}

/// The options that say how to read the sources of a load. Contains only options that the user gave. Detected settings
/// are left out, because the content of the sources determines them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Name of the encoding.
    pub encoding: Option<String>,
    /// Name of the format.
    pub format: Option<String>,
    /// The character between cells.
    pub delimiter: Option<String>,
    /// The quote character, or `none`.
    pub quote: Option<String>,
    /// The escape character, or `none`.
    pub escape: Option<String>,
    /// Whether a quoted cell may contain lines that look like rows.
    pub multiline_cells: bool,
    /// The name of the system that FHIR resources are from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Date formats, each with the name of its column. An empty name means all columns.
    pub dates: Vec<(String, String)>,
}

/// Reads `reading`, or returns the default if the field contains a text. Development versions of Medlift stored a text
/// there. No new load can have the key of such a load, so the text does not matter.
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
    /// The load is running, or was killed.
    Running,
    /// The user or a limit stopped the load.
    Stopped,
    /// The load ended with an error.
    Failed,
    /// The load is complete.
    Complete,
    /// A later load with `--drop` dropped the documents of this load.
    Dropped,
    /// The load did not complete, and a later load of the same sources started from the beginning.
    Superseded,
}

impl State {
    /// Returns the name of the state, as the ledger stores it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Complete => "complete",
            Self::Dropped => "dropped",
            Self::Superseded => "superseded",
        }
    }
}

/// The result of the verification of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The collections contain exactly the documents that the load must have stored.
    Verified,
    /// A document is missing, is different or should not be there.
    Difference,
}

/// The position up to which a load is committed. Committed means: the documents are durable at a majority, their
/// rejects are on disk, and the ledger says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of committed blocks. Blocks are numbered from 0, so this is also the number of the first block that is
    /// not committed.
    pub blocks: u64,
    /// The reject files that the load has begun, with their state at this checkpoint.
    pub rejects: Vec<RejectsState>,
}

/// The state of a reject file at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsState {
    /// Index of the source whose rejects are in the file, in the order in which the sources are read. 0 if one file is
    /// for all sources.
    pub source: u32,
    /// Name of the file, without its directory.
    pub name: String,
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the first `bytes` bytes, in hex.
    pub blake3: String,
    /// True if the file contains only the positions and reasons of rejected messages or resources. The rejected
    /// messages or resources are then in another file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_positions: bool,
    /// If the file is in S3 and the load is not complete: the objects that together contain the file. `name` is then
    /// the beginning of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentsOf>,
}

impl RejectsState {
    /// Describes a reject file on disk.
    pub const fn of_file(source: u32, name: String, bytes: u64, blake3: String) -> Self {
        Self { source, name, bytes, blake3, has_positions: false, segments: Vec::new() }
    }
}

/// The segments of a reject file in S3 that one owner of the load wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentsOf {
    /// The fence of the owner's lease.
    pub fence: i64,
    /// The number of the owner's last segment. The owner's first segment has the number after the last segment of the
    /// previous owner.
    pub last: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_exceptions_have_a_maximum_length() {
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
    fn the_leases_of_its_workers_belong_to_a_load() {
        let spec = Spec::built_in();
        let mut load = LoadDocument::new(vec![TargetState::new("a")], &spec, vec![source(Some("12"))], options());
        let part = |load: Uuid| PartOf { load, number: 10 }.key();
        let own = [load.key.clone(), part(load.id), token_key("m", 3)];
        assert_eq!(own.clone().map(|key| load.has_lease(&key)), [true, false, false]);
        load.manifest = Some(OfManifest { id: "m".into(), table: 0, parts: vec![0], documents_before: Vec::new() });
        assert_eq!(own.map(|key| load.has_lease(&key)), [true; 3]);
        let others = ["another".to_owned(), part(Uuid::new()), token_key("m2", 3)];
        assert_eq!(others.map(|key| load.has_lease(&key)), [false; 3]);
    }

    #[test]
    fn loads_have_the_same_key_only_if_they_write_the_same_documents() {
        let sources = [source(Some("12")), source(Some("3"))];
        let key = LoadDocument::key(&["rows"], "spec", &sources, &options());
        assert_eq!(key, KEY, "the key must not change, or interrupted loads are not found");
        let renamed = sources.clone().map(|source| SourceIdentity { name: "b.csv".into(), size_bytes: None, ..source });
        assert_eq!(
            key,
            LoadDocument::key(&["rows"], "spec", &renamed, &options()),
            "the name of a source must not change the key"
        );
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
        let objects =
            [("s3://b/a", "1", None), ("s3://b/c", "1", None), ("s3://b/a", "2", None), ("s3://b/a", "1", some("v"))];
        keys.extend(objects.map(|(address, etag, version_id)| {
            let version = Version::Object { address: address.into(), etag: etag.into(), version_id };
            LoadDocument::key(&["rows"], "spec", &[SourceIdentity { version, ..source(None) }], &options())
        }));
        let once = || LoadDocument::key(&["rows"], "spec", &[source(Some("12")), source(None)], &options());
        keys.extend([once(), once()]);
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "each of these loads must have its own key");
    }

    /// The key of the first load in the test above.
    const KEY: &str = "b0dfec2c556e5ed4ab28c1b4b9b4f8500bb7c9623f2eb6c8dbb6eec840565bc7";

    #[test]
    fn ledger_documents_of_earlier_versions_can_be_read() {
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
