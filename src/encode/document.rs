//! Writes documents. Layout: `_id`, then the spec's fields in its order (nested where a name is dotted), then lineage.

use super::identity::{Digest, Id, IdentityKey};
use super::stored::{ID_ELEMENT_BYTES, LINEAGE_FIELD};
use crate::clean::{Record, Value};
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// MongoDB's limit for one document, bytes.
/// <https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-BSON-Document-Size>
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where a document came from, kept inside it only when asked for.
#[derive(Debug, Clone, Copy)]
pub struct Lineage {
    /// The load's id in the ledger.
    pub run: [u8; 16],
    /// Row number in the source, from 1.
    pub row: u64,
}

/// What the encoder tells of a document beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// The document's `_id`.
    pub id: Id,
    /// Digest of its body.
    pub digest: Digest,
    /// Its length, bytes.
    pub len: usize,
}

/// Turns records of one spec into documents.
#[derive(Debug)]
pub struct Encoder {
    steps: Vec<Step>,
    identity: Option<Vec<(usize, Vec<u8>)>>,
    key: IdentityKey,
    scratch: Vec<u8>,
    open: Vec<usize>,
}

/// One move while a body is written. Names end in NUL, as in BSON.
#[derive(Debug)]
enum Step {
    Open(Vec<u8>),
    Close,
    Leaf(usize, Vec<u8>),
}

impl Encoder {
    /// An encoder for `spec`; `key` makes its `_id`s unguessable.
    pub fn new(spec: &Spec, key: IdentityKey) -> Self {
        let whole_body =
            spec.identity.fields.len() == spec.fields.len() && spec.fields.iter().all(|f| !f.name.contains('.'));
        let named = |&field: &usize| (field, c_string(&spec.fields[field].name));
        let identity = (!whole_body).then(|| spec.identity.fields.iter().map(named).collect());
        Self { steps: steps(spec), identity, key, scratch: Vec::new(), open: Vec::new() }
    }

    /// Appends the document of `record` to `out`, or leaves `out` as it was and says why not.
    pub fn encode(&mut self, record: &Record, lineage: Option<Lineage>, out: &mut Vec<u8>) -> Result<Encoded, Reject> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(b"\x05_id\0\x10\0\0\0\x04");
        out.extend_from_slice(&[0; 16]);
        let body = out.len();
        debug_assert_eq!(body, start + 4 + ID_ELEMENT_BYTES);
        self.write_body(record, out);
        let (id, digest) = self.identify(record, &out[body..]);
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
        out[body - 16..body].copy_from_slice(&id.0);
        Ok(Encoded { id, digest, len })
    }

    fn write_body(&mut self, record: &Record, out: &mut Vec<u8>) {
        for step in &self.steps {
            match step {
                Step::Leaf(field, name) => write_element(record, &record.values[*field], name, out),
                Step::Open(name) => {
                    out.push(0x03);
                    out.extend_from_slice(name);
                    self.open.push(out.len());
                    out.extend_from_slice(&[0; 4]);
                }
                Step::Close => {
                    out.push(0);
                    let start = self.open.pop().expect("steps open before they close");
                    let len = (out.len() - start) as u32;
                    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
                }
            }
        }
    }

    /// The identity is the hash of the identity fields' elements under their dotted names; where that is the body
    /// itself, one hash serves both.
    fn identify(&mut self, record: &Record, body: &[u8]) -> (Id, Digest) {
        let content = self.key.hash(body);
        let Some(fields) = &self.identity else {
            return (Id::from_hash(&content), Digest::from_hash(&content));
        };
        self.scratch.clear();
        for (field, name) in fields {
            write_element(record, &record.values[*field], name, &mut self.scratch);
        }
        (Id::from_hash(&self.key.hash(&self.scratch)), Digest::from_hash(&content))
    }
}

fn too_large(len: usize) -> Reject {
    let message = format!("the document would take {len} bytes; MongoDB allows {DOCUMENT_BYTES_MAX}");
    Reject { field: None, reason: Reason::DocumentTooLarge, message }
}

fn c_string(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Fields that share a prefix stand together, so a nested document opens where the first begins and closes after the last.
fn steps(spec: &Spec) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for (index, field) in spec.fields.iter().enumerate() {
        let mut path: Vec<&str> = field.name.split('.').collect();
        let leaf = path.pop().expect("split gives at least one part");
        let shared = open.iter().zip(&path).take_while(|(a, b)| a == b).count();
        steps.extend((shared..open.len()).map(|_| Step::Close));
        open.truncate(shared);
        for part in &path[shared..] {
            steps.push(Step::Open(c_string(part)));
            open.push(part);
        }
        steps.push(Step::Leaf(index, c_string(leaf)));
    }
    steps.extend(open.iter().map(|_| Step::Close));
    steps
}

/// Element types after <https://bsonspec.org/spec.html>.
fn write_element(record: &Record, value: &Value, name: &[u8], out: &mut Vec<u8>) {
    let mut fixed = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(name);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Double(number) => fixed(0x01, &number.to_le_bytes()),
        Value::Text(range) => {
            let text = record.text(range).as_bytes();
            fixed(0x02, &(text.len() as u32 + 1).to_le_bytes());
            out.extend_from_slice(text);
            out.push(0);
        }
        Value::Bool(flag) => fixed(0x08, &[u8::from(*flag)]),
        Value::Datetime(ms) => fixed(0x09, &ms.to_le_bytes()),
        Value::Null => fixed(0x0a, &[]),
        Value::Int32(number) => fixed(0x10, &number.to_le_bytes()),
        Value::Int64(number) => fixed(0x12, &number.to_le_bytes()),
        Value::Decimal128(bytes) => fixed(0x13, bytes),
    }
}

/// `_medlift: {run: UUID, row: int64}`, always the last element and always of the same length.
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
