//! A *manifest* is a JSON file that says what is to be loaded: tables, their sources, and the parts into which several
//! workers divide the load.
//!
//! The manifest has the version of each source and each part. A worker therefore notices if a source was changed after
//! the manifest was made. The manifest also contains the text of the specs, so that a worker needs no other file.

mod cut;
mod make;

use std::ops::Range;

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

/// Size of the largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: usize = 1 << 30;

/// Version of the form of a manifest. Increase this number if the meaning of its fields changes.
const FORM: u32 = 1;

/// What is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest's form.
    form: u32,
    /// A hash of tables and parts, in the form of a UUID. Two manifests with the same content have the same id.
    pub id: String,
    /// The tables.
    pub tables: Vec<Table>,
    /// The parts of all tables. Each part is loaded by one worker.
    pub parts: Vec<Part>,
}

/// Sources with the same spec and the same collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of the spec in messages: a path, or `built-in:admissions`.
    pub spec: String,
    /// The TOML text of the spec.
    pub spec_text: String,
    /// The collection, if the spec has one kind of document. Otherwise the spec names the collections.
    pub collection: Option<String>,
    /// The options for reading the sources.
    pub reading: Reading,
    /// The sources, in the order in which they would be read by one process.
    pub sources: Vec<SourceIdentity>,
}

/// A piece of a table that one worker loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Index of the table.
    pub table: u32,
    /// Indexes of the sources in the table. If `bytes` is given, there is only one.
    pub sources: Vec<u32>,
    /// The bytes of the source that belong to the part. The whole sources if it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Range<u64>>,
    /// The version of these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The version of the beginning of the source. The header is there, and the layout is determined from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Version>,
}

/// Number of bytes at the beginning of a source whose version is in each part.
const HEAD_BYTES: u64 = 8 << 20;

/// Returns the version of the beginning of a source.
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
    /// Reads a manifest from a file or an object in S3. `name` is its path or its address.
    ///
    /// # Errors
    /// It cannot be read, is not a manifest, or was changed by hand.
    pub fn read(name: &str) -> Result<Self, Error> {
        let wrong = |problem: String| {
            Error::Stopped(format!("cannot use the manifest {name}: {problem}; make it again with `medlift plan`"))
        };
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

    /// Returns what the manifest contains, for the user.
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

    /// Returns true if all indexes exist, and every part with a range has one source.
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

    /// Returns the sources of a part, as the ledger stores them.
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
    /// A source cannot be read, or does not match the spec.
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

    /// Opens these sources of the table.
    ///
    /// # Errors
    /// A source cannot be read, or does not match the spec.
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

    /// Returns the collection of the table in the database of `target`. If the spec has several kinds of documents, it
    /// names their collections itself.
    pub(super) fn target(&self, target: &Target) -> Target {
        self.collection.as_deref().map_or_else(|| target.clone(), |collection| target.in_collection(collection))
    }

    /// Returns the name of the table for messages: its collection, or the name of its spec.
    pub fn name(&self) -> &str {
        self.collection.as_deref().unwrap_or(&self.spec)
    }
}
