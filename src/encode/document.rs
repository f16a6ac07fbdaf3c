//! Writes documents. The layout is: `_id`, then the spec's fields in order (nested if a name has dots, arrays if they
//! repeat), then the lineage.

use std::ops::Range;

use blake3::Hash;

use super::hash_many::Hasher;
use super::identity::{Digest, Id, IdentityKey};
use super::steps::{self, ElementWriter, Step};
use super::stored::{ID_ELEMENT_BYTES, LINEAGE_FIELD};
use crate::clean::Record;
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// MongoDB's limit for one document, bytes.
/// <https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-BSON-Document-Size>
pub(crate) const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The origin of a document, stored inside it only on request.
#[derive(Debug, Clone, Copy)]
pub struct Lineage {
    /// The load's id in the ledger.
    pub run: [u8; 16],
    /// Row number in the source, from 1.
    pub row: u64,
}

/// Properties of an encoded document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// The document's `_id`.
    pub id: Id,
    /// Digest of its body.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: usize,
}

/// Turns records of one spec into documents.
#[derive(Debug)]
pub struct Encoder {
    steps: Vec<Step>,
    /// The steps for the identity's elements; `None` if the whole body is the identity.
    identity: Option<Vec<Step>>,
    hasher: Hasher,
    elements: ElementWriter,
    unnamed: Unnamed,
    names: Vec<(Id, Digest)>,
    hashes: Vec<Hash>,
}

/// Documents that have no `_id` yet.
#[derive(Debug, Default)]
struct Unnamed {
    /// Positions of their bodies in the caller's buffer.
    bodies: Vec<Range<usize>>,
    /// Their identity elements, one after another, unless the body is the identity.
    elements: Vec<u8>,
    identities: Vec<Range<usize>>,
}

impl Encoder {
    /// An encoder for `spec`. `key` makes its `_id`s impossible to guess.
    pub fn new(spec: &Spec, key: IdentityKey) -> Self {
        Self {
            steps: steps::of_body(spec),
            identity: steps::of_identity(spec),
            hasher: Hasher::new(key),
            elements: ElementWriter::new(),
            unnamed: Unnamed::default(),
            names: Vec::new(),
            hashes: Vec::new(),
        }
    }

    /// Appends the document of `record` to `out`. On error returns the reason and leaves `out` unchanged.
    ///
    /// For many documents, [`write`](Self::write) and [`name_all`](Self::name_all) give the same result at less than
    /// half the cost.
    pub fn encode(&mut self, record: &Record, lineage: Option<Lineage>, out: &mut Vec<u8>) -> Result<Encoded, Reject> {
        let start = out.len();
        let body = self.write_unnamed(record, lineage, out)?;
        let content = self.hasher.hash(&out[body.clone()]);
        let mut id = Id::from_hash(&content);
        if let Some(steps) = &self.identity {
            let mut elements = Vec::new();
            self.elements.write(steps, record, &record.values, &mut elements);
            id = Id::from_hash(&self.hasher.hash(&elements));
        }
        write_id(id, body.start, out);
        Ok(Encoded { id, digest: Digest::from_hash(&content), len: out.len() - start })
    }

    /// Appends the document of `record` to `out` and returns its length. The `_id` is zero until
    /// [`name_all`](Self::name_all). On error returns the reason and leaves `out` unchanged.
    pub fn write(&mut self, record: &Record, lineage: Option<Lineage>, out: &mut Vec<u8>) -> Result<usize, Reject> {
        let start = out.len();
        let body = self.write_unnamed(record, lineage, out)?;
        let unnamed = &mut self.unnamed;
        unnamed.bodies.push(body);
        // The hash of the identity's elements is the `_id`. If the body is the identity, one hash serves for both.
        if let Some(steps) = &self.identity {
            let start = unnamed.elements.len();
            self.elements.write(steps, record, &record.values, &mut unnamed.elements);
            unnamed.identities.push(start..unnamed.elements.len());
        }
        Ok(out.len() - start)
    }

    /// Forgets the last document that [`write`](Self::write) appended. The caller removes its bytes.
    pub fn forget_last(&mut self) {
        self.unnamed.bodies.pop();
        if let Some(identity) = self.unnamed.identities.pop() {
            self.unnamed.elements.truncate(identity.start);
        }
    }

    /// Sets the `_id`s of all documents that [`write`](Self::write) appended to `out` since the last call. Returns
    /// their `_id`s and digests in the documents' order.
    pub fn name_all(&mut self, out: &mut [u8]) -> &[(Id, Digest)] {
        let Self { hasher, unnamed, names, hashes, .. } = self;
        hasher.hash_all(unnamed.bodies.len(), |index| &out[unnamed.bodies[index].clone()], hashes);
        names.clear();
        names.extend(hashes.iter().map(|hash| (Id::from_hash(hash), Digest::from_hash(hash))));
        if self.identity.is_some() {
            let Unnamed { elements, identities, .. } = &*unnamed;
            hasher.hash_all(identities.len(), |index| &elements[identities[index].clone()], hashes);
            names.iter_mut().zip(&*hashes).for_each(|((id, _), hash)| *id = Id::from_hash(hash));
            unnamed.elements.clear();
            unnamed.identities.clear();
        }
        for (body, (id, _)) in unnamed.bodies.drain(..).zip(&*names) {
            write_id(*id, body.start, out);
        }
        names
    }

    /// Appends a document whose `_id` is zero. Returns the position of its body.
    fn write_unnamed(
        &mut self,
        record: &Record,
        lineage: Option<Lineage>,
        out: &mut Vec<u8>,
    ) -> Result<Range<usize>, Reject> {
        let start = out.len();
        out.extend_from_slice(HEAD);
        let body = out.len();
        self.elements.write(&self.steps, record, &record.values, out);
        let body = body..out.len();
        if let Some(lineage) = lineage {
            write_lineage(lineage, out);
        }
        out.push(0);
        let len = out.len() - start;
        if len > DOCUMENT_BYTES_MAX {
            out.truncate(start);
            return Err(too_large(len));
        }
        out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
        Ok(body)
    }
}

/// The beginning of a document: four bytes for its length and the element `_id`, a UUID. Both are zero.
const HEAD: &[u8; 4 + ID_ELEMENT_BYTES] = b"\0\0\0\0\x05_id\0\x10\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Writes the `_id` of the document whose body begins at `body`.
fn write_id(id: Id, body: usize, out: &mut [u8]) {
    out[body - id.0.len()..body].copy_from_slice(&id.0);
}

fn too_large(len: usize) -> Reject {
    let message = format!("the document would take {len} bytes; MongoDB allows {DOCUMENT_BYTES_MAX}");
    Reject { field: None, reason: Reason::DocumentTooLarge, message }
}

/// Appends `_medlift: {run: UUID, row: int64}`. The lineage is always the last element and always has the same length.
fn write_lineage(lineage: Lineage, out: &mut Vec<u8>) {
    out.push(0x03);
    out.extend_from_slice(LINEAGE_FIELD.as_bytes());
    out.push(0);
    let start = out.len();
    out.extend_from_slice(b"\0\0\0\0\x05run\0\x10\0\0\0\x04");
    out.extend_from_slice(&lineage.run);
    out.extend_from_slice(b"\x12row\0");
    out.extend_from_slice(&lineage.row.to_le_bytes());
    out.push(0);
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::stored::Digester;
    use super::*;

    fn record(spec: &Spec, text_bytes: usize) -> Record {
        let mut record = Record::default();
        record.push_text(&"x".repeat(text_bytes));
        for _ in &spec.fields[1..] {
            record.push_text(&"x".repeat(text_bytes.min(200)));
        }
        record
    }

    /// Encodes records of many lengths, one of which is too large, together and one by one.
    fn check(spec: &Spec, lineage: Option<Lineage>) {
        let mut encoder = Encoder::new(spec, IdentityKey::from_secret("a deployment's secret"));
        let (mut together, mut alone) = (b"before".to_vec(), b"before".to_vec());
        let (mut lens, mut expected) = (Vec::new(), Vec::new());
        for text_bytes in (0..150).step_by(10).chain([DOCUMENT_BYTES_MAX, 3]) {
            let record = record(spec, text_bytes);
            lens.extend(encoder.write(&record, lineage, &mut together));
            expected.extend(encoder.encode(&record, lineage, &mut alone));
        }
        let names = encoder.name_all(&mut together).to_vec();
        let whole = |(&len, (id, digest))| Encoded { id, digest, len };
        assert_eq!(lens.iter().zip(names).map(whole).collect::<Vec<_>>(), expected);
        assert_eq!(expected.len(), 16, "one record is too large");
        assert_eq!(together, alone);
        assert!(encoder.name_all(&mut together).is_empty());
        check_read_back(&together["before".len()..], &expected);
    }

    /// Checks that written documents are read back with their digests, also between foreign documents.
    fn check_read_back(mut bytes: &[u8], expected: &[Encoded]) {
        let mut documents = Vec::new();
        for encoded in expected {
            let (document, rest) = bytes.split_at(encoded.len);
            documents.extend([document, b"\x05\0\0\0\0"]);
            bytes = rest;
        }
        let mut digester = Digester::new(IdentityKey::from_secret("a deployment's secret"));
        let read = digester.digest_all(&documents);
        let named = read.map(|found| found.map(|(stored, digest)| (stored.id, digest))).collect::<Vec<_>>();
        let wanted = expected.iter().flat_map(|encoded| [Some((encoded.id, encoded.digest)), None]);
        assert_eq!(named, wanted.collect::<Vec<_>>());
    }

    #[test]
    fn a_document_that_is_forgotten_leaves_nothing_behind() {
        let laboratory = include_str!("../../tests/data/spec/laboratory.toml");
        let nested = Spec::from_toml(laboratory, "laboratory.toml").expect("a valid spec");
        for spec in [&Spec::built_in(), &nested] {
            let mut encoder = Encoder::new(spec, IdentityKey::default());
            let mut documents = Vec::new();
            let first = encoder.write(&record(spec, 3), None, &mut documents).expect("it fits");
            encoder.write(&record(spec, 5), None, &mut documents).expect("it fits");
            documents.truncate(first);
            encoder.forget_last();
            encoder.write(&record(spec, 7), None, &mut documents).expect("it fits");
            let names = encoder.name_all(&mut documents).to_vec();
            let alone = |bytes| {
                let mut document = Vec::new();
                let mut encoder = Encoder::new(spec, IdentityKey::default());
                let Encoded { id, digest, .. } =
                    encoder.encode(&record(spec, bytes), None, &mut document).expect("it fits");
                ((id, digest), document)
            };
            let (expected, texts): (Vec<_>, Vec<_>) = [3, 7].map(alone).into_iter().unzip();
            assert_eq!((names, documents), (expected, texts.concat()));
        }
    }

    #[test]
    fn documents_come_out_together_as_they_do_alone() {
        let laboratory = include_str!("../../tests/data/spec/laboratory.toml");
        let nested = Spec::from_toml(laboratory, "laboratory.toml").expect("a valid spec");
        let lineage = Lineage { run: [7; 16], row: 5 };
        for spec in [&Spec::built_in(), &nested] {
            check(spec, None);
            check(spec, Some(lineage));
        }
    }
}
