//! A *manifest* is a JSON file that describes a load for several workers. It lists tables, the sources of each table,
//! and the parts into which the sources are divided.
//!
//! The manifest has the version of each source, and of each piece of a file that was cut. A worker therefore notices if
//! a source was changed after the manifest was made. The manifest also contains the text of the specs. So a worker
//! needs no other files than the manifest and the sources.

mod cut;
mod make;

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Wishes};
use crate::encode::{Id, IdentityKey};
use crate::error::Error;
use crate::ledger::{Reading, SourceIdentity};
use crate::read::{Origin, Version};
use crate::report::work::{ManifestOverview, TableOverview};
use crate::server::Target;
use crate::spec::Dataset;

pub use make::Cuts;

/// Maximum size of a manifest, in bytes. More bytes are not read.
const MANIFEST_BYTES_MAX: usize = 1 << 30;

/// Version of the format of a manifest. Increase this number if the fields of a manifest change their meaning.
const FORM: u32 = 1;

/// The tables of a load, and the parts that workers load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest's format.
    form: u32,
    /// A hash of the other fields, written as a UUID. Two manifests with the same content have the same id.
    pub id: String,
    /// The tables.
    pub tables: Vec<Table>,
    /// The parts of all tables. The number of a part is its index in this list.
    pub parts: Vec<Part>,
}

/// Sources that are loaded with the same spec and into the same collections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of the spec in messages: a path, or `built-in:admissions`.
    pub spec: String,
    /// The TOML text of the spec.
    pub spec_text: String,
    /// The collection, if the spec has one kind of document. Otherwise `None`, because the spec names the collections.
    pub collection: Option<String>,
    /// The options for reading the sources.
    pub reading: Reading,
    /// The sources, in the order in which one process would read them.
    pub sources: Vec<SourceIdentity>,
}

/// A piece of a table that one worker loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Index of the table in the manifest.
    pub table: u32,
    /// Indexes of the sources in the table. If `bytes` is given, there is only one source.
    pub sources: Vec<u32>,
    /// The bytes of the source that belong to the part. `None` if the part consists of whole sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Range<u64>>,
    /// The version of `bytes`: for a file the hash of these bytes, and for an object in S3 the version of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The version of the first 8 MiB of the source. They contain the header, and the layout is determined from them.
    /// `None` if `bytes` is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Version>,
}

/// Number of bytes at the beginning of a source. The field `head` of a part has the version of these bytes.
const HEAD_BYTES: u64 = 8 << 20;

/// Returns the hash of the first [`HEAD_BYTES`] bytes of a file, or the version of an object in S3. Returns `None` if the
/// source can be read only once.
fn head_of(origin: &Origin) -> Result<Option<Version>, Error> {
    let end = origin.size_bytes().unwrap_or(0).min(HEAD_BYTES);
    Ok(origin.part(0..end).map(|head| head.version()).transpose()?)
}

/// Returns the error for a source that was changed after the manifest was made.
pub(super) fn changed(name: &str) -> Error {
    Error::Stopped(format!(
        "{name} was changed after the manifest was made; nothing of this part was written; make the manifest again with \
         `medlift plan`"
    ))
}

impl Manifest {
    /// Reads a manifest from a file or an object in S3. `name` is the path of the file or the address of the object.
    ///
    /// # Errors
    /// The file cannot be read, is not a manifest of this format, or was changed after Medlift wrote it.
    pub fn read(name: &str) -> Result<Self, Error> {
        let wrong = |problem: String| {
            Error::Stopped(format!("cannot use the manifest {name}: {problem}; make it again with `medlift plan`"))
        };
        if Path::new(name).is_dir() {
            return Err(Error::Usage(format!(
                "the manifest {name} is a directory; give the file that `medlift plan --out FILE` wrote"
            )));
        }
        let text = Origin::named(name, None)?.first_bytes(MANIFEST_BYTES_MAX)?;
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| {
            wrong(format!("it is not a manifest (line {}, column {})", error.line(), error.column()))
        })?;
        if manifest.form != FORM {
            return Err(wrong(format!("it has form {}, and this version of Medlift reads form {FORM}", manifest.form)));
        }
        if manifest.id != manifest.computed_id() || !manifest.is_well_formed() {
            return Err(wrong("its content does not match its id, so it was changed or damaged".into()));
        }
        Ok(manifest)
    }

    /// Returns true if the file at `path` has all fields of a manifest. Its version and its id are not checked. Stops
    /// reading at the first byte that does not belong to a manifest.
    pub(super) fn is_at(path: &Path) -> bool {
        let read = File::open(path).map(BufReader::new).map(serde_json::from_reader::<_, Self>);
        read.is_ok_and(|manifest| manifest.is_ok())
    }

    /// Returns an overview of the manifest for the user.
    pub fn overview(&self) -> ManifestOverview {
        let table = |(index, table): (usize, &Table)| TableOverview {
            collection: table.name().to_owned(),
            sources: table.sources.len(),
            bytes: table.sources.iter().filter_map(|source| source.size_bytes).sum(),
            parts: self.parts_of(index).len(),
        };
        ManifestOverview { id: self.id.clone(), tables: self.tables.iter().enumerate().map(table).collect() }
    }

    /// Returns the manifest as JSON text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest must serialize to JSON");
        text.push('\n');
        text
    }

    fn of(tables: Vec<Table>, parts: Vec<Part>) -> Self {
        let mut manifest = Self { form: FORM, id: String::new(), tables, parts };
        manifest.id = manifest.computed_id();
        manifest
    }

    fn computed_id(&self) -> String {
        let content = serde_json::to_vec(&(self.form, &self.tables, &self.parts)).expect("a manifest must serialize");
        Id::from_hash(&blake3::hash(&content)).to_string()
    }

    /// Returns true if the tables and sources to which the parts refer exist, every part has a source, and every part
    /// with `bytes` has only one.
    fn is_well_formed(&self) -> bool {
        let is_well_formed = |part: &Part| {
            let Some(table) = self.tables.get(part.table as usize) else { return false };
            let has_sources = part.sources.iter().all(|&source| (source as usize) < table.sources.len());
            has_sources && !part.sources.is_empty() && (part.bytes.is_none() || part.sources.len() == 1)
        };
        self.parts.iter().all(is_well_formed)
    }

    /// Returns the numbers of the parts of a table.
    pub(super) fn parts_of(&self, table: usize) -> Vec<u32> {
        (0..).zip(&self.parts).filter(|(_, part)| part.table as usize == table).map(|(number, _)| number).collect()
    }

    /// Returns the sources of a part, as the ledger stores them. If the part has only some bytes of a source, the
    /// result has the size and the version of these bytes.
    pub(super) fn sources_of(&self, part: &Part) -> Vec<SourceIdentity> {
        let table = &self.tables[part.table as usize];
        let identity = |&source: &u32| {
            let mut identity = table.sources[source as usize].clone();
            if let (Some(bytes), Some(version)) = (&part.bytes, &part.version) {
                identity.size_bytes = Some(bytes.end - bytes.start);
                identity.version = version.clone();
            }
            identity
        };
        part.sources.iter().map(identity).collect()
    }

    /// Opens the sources of a part.
    ///
    /// # Errors
    /// A source cannot be read, does not match the spec, or was changed. The content of the part itself is not compared
    /// here.
    pub(super) fn plan_of(&self, part: &Part, key: IdentityKey, workers: usize) -> Result<Plan, Error> {
        let table = &self.tables[part.table as usize];
        let mut plan = table.plan(part.sources.iter().map(|&source| source as usize), key, workers)?;
        if let Some(bytes) = &part.bytes {
            if head_of(&plan.sources[0].origin)? != part.head {
                return Err(changed(plan.sources[0].origin.name()));
            }
            plan.cut_to(bytes.clone())?;
        }
        Ok(plan)
    }
}

impl Table {
    /// Reads the spec of the table.
    ///
    /// # Errors
    /// The spec is not valid for this version of Medlift.
    pub fn dataset(&self) -> Result<Dataset, Error> {
        Ok(Dataset::from_toml(&self.spec_text, &self.spec)?)
    }

    /// Opens some sources of the table. `sources` are their indexes.
    ///
    /// # Errors
    /// A source cannot be read, does not match the spec, or was changed. A changed file is noticed here only if its
    /// size is different.
    pub(super) fn plan(
        &self,
        sources: impl IntoIterator<Item = usize>,
        key: IdentityKey,
        workers: usize,
    ) -> Result<Plan, Error> {
        let sources: Vec<&SourceIdentity> = sources.into_iter().map(|source| &self.sources[source]).collect();
        let names = sources.iter().map(|source| source.name.clone()).collect();
        let plan = Plan::new(self.dataset()?, key, &Wishes::from_reading(names, &self.reading, workers))?;
        for (found, pinned) in plan.sources.iter().zip(sources) {
            let is_other = match &pinned.version {
                Version::Object { .. } => found.origin.version()? != pinned.version,
                _ => found.origin.size_bytes() != pinned.size_bytes,
            };
            if is_other {
                return Err(changed(found.origin.name()));
            }
        }
        Ok(plan)
    }

    /// Returns the collection of the table, in the database of `target`. If the spec has several kinds of documents,
    /// returns `target` unchanged, because the spec names their collections.
    pub(super) fn target(&self, target: &Target) -> Target {
        self.collection.as_deref().map_or_else(|| target.clone(), |collection| target.in_collection(collection))
    }

    /// Returns the name of the table for messages: its collection, or the name of its spec.
    pub fn name(&self) -> &str {
        self.collection.as_deref().unwrap_or(&self.spec)
    }
}
