//! Reads resources into cells and BSON.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::bundle::BundleIds;
use super::convert::{Converter, Key};
use super::found::{Found, Seen};
use super::head::Head;
use super::links::Links;
use super::problem::Problem;
use super::reference::id_of;
use super::tree::{Node, To};
use crate::parse::Cells;
use crate::spec::json_path::{Path, Reading, Step};
use crate::spec::{Column, Node as Element, Spec};

/// The memory for a resource is freed if the resource was larger than this number of bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Reads resources into cells: one cell per column of the spec.
#[derive(Debug, Clone)]
pub(in crate::parse) struct Fhir {
    kinds: Vec<Kind>,
    by_type: HashMap<Box<str>, usize>,
    /// The name of the source system.
    system: String,
    /// Number of cells of a row: those of all kinds.
    cells: usize,
    /// The cells of the last row's kind. Only these can be set.
    set: Range<usize>,
    /// The URL of the server that the resources are from. Empty if it is not known.
    base: String,
    /// The resources of the source's Bundles by their full URLs.
    ids: Option<Arc<BundleIds>>,
    /// The number of the Bundle that contains the row.
    bundle: u32,
    found: Found,
    keys: Vec<Key>,
    /// The BSON of the last row. It can contain more than the resource.
    bson: Vec<u8>,
    /// The resource in `bson`.
    resource: Range<usize>,
    /// The kind of the last row, if the spec has its type.
    kind: Option<usize>,
}

/// How the resources of one type are read.
#[derive(Debug, Clone, Default)]
struct Kind {
    /// The kind's first cell.
    first_cell: usize,
    /// Number of cells.
    cells: usize,
    /// The number of cells of an item of each array.
    widths: Vec<usize>,
    root: Node,
    /// The cells for the name of the source system and for the type and the id of the resource.
    sources: Vec<usize>,
    types: Vec<usize>,
    ids: Vec<usize>,
}

impl Fhir {
    /// Creates the reader for resources of a spec. The spec's paths are valid, because they were checked when the spec
    /// was read.
    pub(in crate::parse) fn new(spec: &Spec) -> Self {
        let columns = spec.columns();
        let mut kinds = vec![Kind::default(); spec.resources.len()];
        for (cell, column) in columns.iter().enumerate() {
            let kind = &mut kinds[spec.shape.document_of(column.field)];
            if kind.cells == 0 {
                kind.first_cell = cell;
            }
            kind.add(spec, column);
        }
        for kind in &mut kinds {
            kind.root.add(&path("id"), To::Cell(kind.cells), 0);
            kind.root.finish();
        }
        Self {
            kinds,
            by_type: (0..).zip(&spec.resources).map(|(kind, name)| (name.as_str().into(), kind)).collect(),
            system: spec.system().to_owned(),
            cells: columns.len(),
            set: 0..0,
            base: spec.base.as_deref().unwrap_or_default().trim_end_matches('/').to_owned(),
            ids: None,
            bundle: 0,
            found: Found::default(),
            keys: Vec::new(),
            bson: Vec::new(),
            resource: 0..0,
            kind: None,
        }
    }

    /// Sets the resources of the source's Bundles.
    pub(in crate::parse) fn set_ids(&mut self, ids: Option<Arc<BundleIds>>) {
        self.ids = ids;
    }

    /// Forgets the last row. Call it for a row that is not parsed.
    pub(in crate::parse) fn forget(&mut self) {
        (self.kind, self.resource) = (None, 0..0);
        self.found.forget_references(Seen::default());
    }

    /// Reads a row into cells, and converts its resource. `bundle` is the number of the Bundle that contains the row.
    ///
    /// # Errors
    /// The row is not a resource of a type that the spec describes, nor an entry of a Bundle with such a resource.
    pub(in crate::parse) fn parse(&mut self, row: &[u8], bundle: u32, cells: &mut Cells) -> Result<(), Problem> {
        self.forget();
        self.bundle = bundle;
        cells.clear_few(self.cells, std::mem::take(&mut self.set));
        std::str::from_utf8(row).map_err(|error| Problem::NotUtf8(error.valid_up_to() + 1))?;
        let head = Head::of(row);
        let name = match head {
            Head::Resource(name) | Head::Entry(name) => name,
            Head::EmptyEntry | Head::Other => return Err(self.why_not(row, head)),
        };
        let name = std::str::from_utf8(name).unwrap_or_default();
        let Some(&number) = self.by_type.get(name) else {
            self.convert(row, head, &Kind::default())?;
            return Err(Problem::OtherType);
        };
        self.kind = Some(number);
        let Kind { first_cell, cells: count, .. } = self.kinds[number];
        self.set = first_cell..first_cell + count;
        let kinds = std::mem::take(&mut self.kinds);
        let read = self.read(row, head, name, &kinds[number], cells);
        self.kinds = kinds;
        read
    }

    fn read(&mut self, row: &[u8], head: Head<'_>, name: &str, kind: &Kind, cells: &mut Cells) -> Result<(), Problem> {
        let full_url = self.convert(row, head, kind)?;
        let id = id_of(self.found.text(kind.cells), full_url.as_deref()).ok_or(Problem::NoId)?.to_owned();
        for (places, text) in [(&kind.sources, self.system.as_str()), (&kind.types, name), (&kind.ids, &id)] {
            for &cell in places {
                self.found.set_text(cell, text);
            }
        }
        self.found.fill(cells, kind.first_cell, kind.cells, kind.widths.len());
        Ok(())
    }

    /// Returns the reason why a row without a type is not a resource.
    fn why_not(&mut self, row: &[u8], head: Head<'_>) -> Problem {
        let text = row.trim_ascii_start();
        if text.first().is_none_or(|first| !matches!(first, b'{')) {
            return Problem::NotAResource;
        }
        let problem = if head == Head::EmptyEntry { Problem::NoResource } else { Problem::NoType };
        self.convert(row, Head::Resource(b""), &Kind::default()).err().unwrap_or(problem)
    }

    /// Converts a row. Returns the full URL of an entry, if it has one.
    fn convert(&mut self, row: &[u8], head: Head<'_>, kind: &Kind) -> Result<Option<String>, Problem> {
        if self.bson.capacity() > KEPT_BYTES_MAX {
            self.bson = Vec::new();
        }
        self.bson.clear();
        self.keys.clear();
        // One more cell is for the id.
        self.found.clear(kind.cells + 1, &kind.widths);
        let mut converter = Converter {
            text: row,
            at: 0,
            out: &mut self.bson,
            keys: &mut self.keys,
            found: &mut self.found,
            links: Links { ids: self.ids.as_deref(), bundle: self.bundle, base: &self.base },
            depth: 0,
        };
        converter.blanks();
        let (resource, full_url) = if matches!(head, Head::Entry(_)) {
            entry(&mut converter, &kind.root)?
        } else {
            converter.object(Some(&kind.root))?;
            (0..converter.out.len(), None)
        };
        converter.blanks();
        if converter.at < row.len() {
            return Err(Problem::NotJson(converter.at + 1));
        }
        self.resource = resource;
        Ok(full_url)
    }

    /// Returns the resource of the last row as a BSON document.
    pub(in crate::parse) fn resource(&self) -> &[u8] {
        &self.bson[self.resource.clone()]
    }

    /// Returns the kind of document to which the last row belongs. `None` if the spec has no kind for it.
    pub(in crate::parse) fn kind(&self) -> Option<usize> {
        self.kind
    }

    /// Returns the number of references of the last row's resource by UUID for which no entry of a Bundle is known.
    pub(in crate::parse) fn lost_references(&self) -> u64 {
        self.found.lost_references()
    }

    /// Returns the resources to which the resource of the last row refers: for each, its kind, if the spec has its
    /// type, and its id.
    pub(in crate::parse) fn references(&self) -> impl Iterator<Item = (Option<usize>, &str)> {
        self.found.references().map(|(kind, id)| (self.by_type.get(kind).copied(), id))
    }
}

impl Kind {
    /// Adds the next column of the kind.
    fn add(&mut self, spec: &Spec, column: &Column<'_>) {
        let cell = self.cells;
        self.cells += 1;
        if spec.is_derived(column) {
            return;
        }
        let paths = std::iter::once(column.column).chain(column.aliases.iter().map(String::as_str)).map(path);
        match column.node {
            Element::Leaf { .. } => {
                for (rank, path) in paths.enumerate() {
                    match path.reading {
                        Reading::Source => self.sources.push(cell),
                        Reading::Type => self.types.push(cell),
                        Reading::Id => self.ids.push(cell),
                        _ => self.root.add(&path, To::Cell(cell), rank),
                    }
                }
            }
            Element::List { .. } => {
                paths.for_each(|path| self.root.add(&path, To::List(self.widths.len()), 0));
                self.widths.push(1);
            }
            Element::Group { children, .. } => {
                let inner = spec.columns_of(children);
                for over in paths {
                    let mut steps = over.steps;
                    steps.push(Step::All);
                    let item = self.root.at(&steps);
                    item.item_of = Some(self.widths.len());
                    for (place, inner) in inner.iter().enumerate() {
                        item.add(&path(inner.column), To::Column { group: self.widths.len(), column: place }, 0);
                    }
                }
                self.widths.push(inner.len());
            }
        }
    }
}

/// Converts an entry of a Bundle. Returns the range of its resource in the BSON, and its full URL.
fn entry(converter: &mut Converter<'_>, root: &Node) -> Result<(Range<usize>, Option<String>), Problem> {
    let (mut resource, mut full_url) = (0..0, None);
    converter.expect(b'{')?;
    converter.blanks();
    loop {
        let (_, key) = converter.key(0)?;
        let start = converter.out.len();
        match key.text(converter.out) {
            b"resource" => {
                converter.object(Some(root))?;
                resource = start..converter.out.len();
            }
            b"fullUrl" if converter.is_at_string() => {
                converter.string()?;
                full_url = String::from_utf8(converter.out[start..].to_vec()).ok();
            }
            _ => {
                // References outside of the resource do not count.
                let known = converter.found.seen();
                converter.value(None, false)?;
                converter.found.forget_references(known);
            }
        }
        if !converter.goes_on(b'}')? {
            return Ok((resource, full_url));
        }
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("the paths of a spec were checked when it was read")
}

/// Returns the type of the first resource in a text, or `None` if the text does not begin with a resource.
pub(crate) fn type_of(text: &[u8]) -> Option<&[u8]> {
    match Head::of(text) {
        Head::Resource(kind) | Head::Entry(kind) => Some(kind),
        Head::EmptyEntry | Head::Other => None,
    }
}

/// Returns true if a text begins with a Bundle. An entry with a Bundle as its resource is not one.
pub(crate) fn is_bundle(text: &[u8]) -> bool {
    matches!(Head::of(text), Head::Resource(b"Bundle"))
}
