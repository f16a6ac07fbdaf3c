//! Makes a manifest: divides the sources of a table into parts.

use std::path::Path;

use super::cut::cut;
use super::{Manifest, Part, Table, head_of};
use crate::error::Error;
use crate::ledger::SourceIdentity;
use crate::pipeline::plan::Plan;
use crate::spec::Spec;

/// Says how sources are divided into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// The wanted size of a part, in bytes. Small files are combined if their total size is at most this size.
    pub part_bytes: u64,
    /// Whether large files are cut. Otherwise, each file belongs to one part.
    pub are_made: bool,
}

impl Manifest {
    /// Makes a manifest with one table, or adds the table to `earlier`. If the spec has one kind of document,
    /// `collection` is its collection. `None` means the collection that the spec names.
    ///
    /// # Errors
    /// A source cannot be read, or can be read only once. Or `earlier` already has a table for the same collection.
    pub fn with_table(
        earlier: Option<Self>,
        plan: &Plan,
        collection: Option<String>,
        cuts: Cuts,
    ) -> Result<Self, Error> {
        let (mut tables, mut parts) = earlier.map_or_else(Default::default, |earlier| (earlier.tables, earlier.parts));
        let collection =
            (plan.kinds.len() == 1).then(|| collection.unwrap_or_else(|| plan.kinds[0].collection.clone()));
        let table = Table {
            spec: plan.spec.origin.clone(),
            spec_text: plan.spec.text.clone(),
            collection,
            reading: plan.reading.clone(),
            sources: sources(plan)?,
        };
        if let Some(other) =
            tables.iter().find(|other| other.collections().iter().any(|of| table.collections().contains(of)))
        {
            return Err(Error::Usage(format!(
                "the manifest already has a table for the collection {}; give all sources of a collection together",
                other.name()
            )));
        }
        parts.extend(parts_of(plan, tables.len() as u32, cuts)?);
        tables.push(table);
        Ok(Self::of(tables, parts))
    }
}

impl Table {
    /// Returns the collections into which the table is loaded.
    fn collections(&self) -> Vec<String> {
        match &self.collection {
            Some(collection) => vec![collection.clone()],
            None => self
                .dataset()
                .map_or_else(|_| Vec::new(), |dataset| dataset.kinds.into_iter().map(|kind| kind.collection).collect()),
        }
    }
}

/// Returns the names, sizes and versions of the sources. The paths are absolute, because the workers may run in other
/// directories.
fn sources(plan: &Plan) -> Result<Vec<SourceIdentity>, Error> {
    if let Some(once) = plan.sources.iter().find(|source| source.origin.is_read_once()) {
        return Err(Error::Usage(format!(
            "{} can be read only once, so it cannot be in a manifest; save it in a file",
            once.origin.name()
        )));
    }
    let mut sources = plan.identities()?;
    for (identity, source) in sources.iter_mut().zip(&plan.sources) {
        let path = source.origin.path().and_then(|path| std::path::absolute(path).ok());
        if let Some(path) = path.as_deref().and_then(Path::to_str) {
            path.clone_into(&mut identity.name);
        }
    }
    Ok(sources)
}

fn parts_of(plan: &Plan, table: u32, cuts: Cuts) -> Result<Vec<Part>, Error> {
    let all = 0..plan.sources.len() as u32;
    // If two records with one `_id` can differ, their order decides which of them is stored. Only a process that reads
    // all sources knows this order. So all sources are one part.
    if !plan.kinds.iter().all(is_order_free) {
        return Ok(vec![Part { table, sources: all.collect(), bytes: None, version: None, head: None }]);
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut open_bytes = 0;
    for (index, source) in all.zip(&plan.sources) {
        let ranges = if cuts.are_made { cut(source, &plan.spec, cuts.part_bytes)? } else { Vec::new() };
        if !ranges.is_empty() {
            let head = head_of(&source.origin)?;
            for bytes in ranges {
                let piece = source.origin.part(bytes.clone());
                let version = piece.map(|piece| piece.version()).transpose()?;
                parts.push(Part { table, sources: vec![index], bytes: Some(bytes), version, head: head.clone() });
            }
            source.origin.check_unchanged()?;
            open_bytes = 0;
            continue;
        }
        let size = source.origin.size_bytes().unwrap_or(0);
        match parts.last_mut() {
            Some(last) if open_bytes > 0 && open_bytes + size <= cuts.part_bytes => {
                last.sources.push(index);
                open_bytes += size;
            }
            _ => {
                parts.push(Part { table, sources: vec![index], bytes: None, version: None, head: None });
                open_bytes = size;
            }
        }
    }
    Ok(parts)
}

/// Returns true if all fields together are the identity, or if the whole record as it is in the source belongs to it.
/// Records with the same `_id` are then equal, and their order does not matter.
fn is_order_free(spec: &Spec) -> bool {
    let identity = &spec.identity.fields;
    let is_whole_record = |field: &usize| spec.fields[*field].is_whole() && !spec.is_divided();
    identity.len() == spec.fields.len() || identity.iter().any(is_whole_record)
}
