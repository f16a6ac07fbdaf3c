//! Writes documents. A document consists of `_id`, the spec's fields in their order, and the lineage (load and row) if
//! the user wants it. A name with dots becomes a nested document: `a.b` becomes `{a: {b: …}}`. A field or group that
//! repeats becomes an array.

use std::ops::Range;

use blake3::Hash;

use super::hash_many::Hasher;
use super::identity::{Digest, Id, IdentityKey};
use super::steps::{self, ElementWriter, Step};
use super::stored::{ID_ELEMENT_BYTES, LINEAGE_FIELD};
use crate::clean::Record;
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// MongoDB's limit for the size of a document, in bytes.
/// <https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-BSON-Document-Size>
pub(crate) const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The origin of a document: its load and its row. It is stored in the document only if the user wants it.
#[derive(Debug, Clone, Copy)]
pub struct Lineage {
    /// The id of the load in the ledger.
    pub run: [u8; 16],
    /// Row number in the source, from 1.
    pub row: u64,
}

/// The `_id`, the digest and the length of a document that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// The document's `_id`.
    pub id: Id,
    /// Digest of the document's body.
    pub digest: Digest,
    /// Length of the document in bytes.
    pub len: usize,
}

/// Turns records of one spec into documents.
#[derive(Debug)]
pub struct Encoder {
    steps: Vec<Step>,
    /// The steps that write the identity elements. The `_id` is made from the hash of these elements. `None` if the
    /// document's body has exactly these elements.
    identity: Option<Vec<Step>>,
    hasher: Hasher,
    elements: ElementWriter,
    unnamed: Unnamed,
    names: Vec<(Id, Digest)>,
    hashes: Vec<Hash>,
}

/// Documents that have been written but have no `_id` yet.
#[derive(Debug, Default)]
struct Unnamed {
    /// Positions of the bodies in the caller's buffer.
    bodies: Vec<Range<usize>>,
    /// The identity elements of the documents, one after another. Empty if they are the same as the bodies.
    elements: Vec<u8>,
    identities: Vec<Range<usize>>,
}

impl Encoder {
    /// Creates an encoder for `spec`. `key` is the key of the hashes from which `_id`s and digests are made.
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

    /// Appends the document of `record` to `out`. If that fails, `out` is unchanged.
    ///
    /// For many documents, use [`write`](Self::write) and [`name_all`](Self::name_all). They create the same documents
    /// in less than half the time.
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

    /// Appends the document of `record` to `out`, and returns its length. Its `_id` is zero until
    /// [`name_all`](Self::name_all) is called. If writing fails, `out` is unchanged.
    pub fn write(&mut self, record: &Record, lineage: Option<Lineage>, out: &mut Vec<u8>) -> Result<usize, Reject> {
        let start = out.len();
        let body = self.write_unnamed(record, lineage, out)?;
        let unnamed = &mut self.unnamed;
        unnamed.bodies.push(body);
        // The `_id` is made from the hash of the identity elements. If these are the same as the body, the body's hash
        // gives both `_id` and digest, and the elements are not written.
        if let Some(steps) = &self.identity {
            let start = unnamed.elements.len();
            self.elements.write(steps, record, &record.values, &mut unnamed.elements);
            unnamed.identities.push(start..unnamed.elements.len());
        }
        Ok(out.len() - start)
    }

    /// Forgets the last document that [`write`](Self::write) has appended. The caller must remove its bytes from `out`.
    pub fn forget_last(&mut self) {
        self.unnamed.bodies.pop();
        if let Some(identity) = self.unnamed.identities.pop() {
            self.unnamed.elements.truncate(identity.start);
        }
    }

    /// Sets the `_id` of each document that [`write`](Self::write) has appended to `out` since the last call of
    /// `name_all`. Returns the `_id` and the digest of each of these documents, in the same order.
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

    /// Appends a document whose `_id` is zero. Returns the range of its body in `out`.
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

/// The beginning of every document: its length in four bytes, and the element `_id`. The length and the UUID are zero
/// until they are known.
const HEAD: &[u8; 4 + ID_ELEMENT_BYTES] = b"\0\0\0\0\x05_id\0\x10\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Writes the `_id` of a document directly before the document's body, which begins at position `body`.
fn write_id(id: Id, body: usize, out: &mut [u8]) {
    out[body - id.0.len()..body].copy_from_slice(&id.0);
}

fn too_large(len: usize) -> Reject {
    let message = format!("the document would have {len} bytes; MongoDB allows at most {DOCUMENT_BYTES_MAX}");
    Reject { field: None, reason: Reason::DocumentTooLarge, message }
}

/// Appends the lineage, `_medlift: {run: UUID, row: int64}`. It is always the last element, and its length is always
/// the same.
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
    use super::super::stored::{Digester, load_of};
    use super::*;

    fn record(spec: &Spec, text_bytes: usize) -> Record {
        let mut record = Record::default();
        record.push_text(&"x".repeat(text_bytes));
        for _ in &spec.fields[1..] {
            record.push_text(&"x".repeat(text_bytes.min(200)));
        }
        record
    }

    /// Encodes records of many lengths, first together and then one by one. One of them is too large.
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
        assert_eq!(expected.len(), 16, "all records except the one that is too large must be encoded");
        assert_eq!(together, alone);
        assert!(encoder.name_all(&mut together).is_empty());
        check_read_back(&together["before".len()..], &expected);
    }

    /// Checks that `digest_all` computes the `_id`s and digests of written documents from their bytes. An empty
    /// document is put after each of them. Its result must be `None`.
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
    fn a_forgotten_document_does_not_change_later_ones() {
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
    fn documents_written_together_equal_documents_written_alone() {
        let laboratory = include_str!("../../tests/data/spec/laboratory.toml");
        let nested = Spec::from_toml(laboratory, "laboratory.toml").expect("a valid spec");
        let lineage = Lineage { run: [7; 16], row: 5 };
        for spec in [&Spec::built_in(), &nested] {
            check(spec, None);
            check(spec, Some(lineage));
        }
    }

    #[test]
    fn the_load_of_a_document_is_read_from_its_lineage() {
        let spec = Spec::from_toml("name = 'x'\n[[field]]\nname = 'a'\ntype = 'string'\nprivacy = 'none'\n", "a test");
        let mut encoder = Encoder::new(&spec.unwrap(), IdentityKey::default());
        let mut load = |lineage| {
            let mut document = Vec::new();
            let mut record = Record::default();
            record.push_text(&"x".repeat(100));
            encoder.encode(&record, lineage, &mut document).unwrap();
            load_of(&document)
        };
        assert_eq!(load(Some(Lineage { run: [7; 16], row: 5 })), Some([7; 16]));
        assert_eq!(load(None), None);
        assert_eq!(load_of(b"\x05\0\0\0\0"), None);
    }
}
