//! The floor: sends documents that are already encoded. It does nearly no work itself, so its time is the server's.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bson::doc;

use crate::stand::{COLLECTION, DATABASE};
use testkit::wire::{Sequence, Wire};
use testkit::{Doing, Error, Result};

const TIMEOUT: Duration = Duration::from_mins(2);
/// A batch is complete at this size. The server's limit for a message is 48 MB; the difference is enough for the
/// command and one more document.
const BATCH_BYTES_MAX: usize = 30_000_000;
/// Offset of the 16 bytes of a UUID `_id` in a document. Before them are the document's length (4 bytes), the element's
/// type (1) and name (4), and the value's length (4) and subtype (1).
const ID_OFFSET: usize = 4 + 1 + 4 + 4 + 1;

/// How the documents are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Number of documents in one insert.
    pub(crate) batch_docs: usize,
    /// Number of connections that insert at the same time.
    pub(crate) connections: usize,
    /// Whether each `_id` is replaced by an increasing number, so that the server always inserts at the end of the
    /// index.
    pub(crate) growing_id: bool,
    /// Maximum number of documents to send.
    pub(crate) docs_max: u64,
}

impl Pace {
    /// Returns the arguments for a separate process of this program that sends the documents of a file.
    pub(crate) fn arguments(self, address: SocketAddr, documents: &Path) -> Vec<String> {
        let Self { batch_docs, connections, growing_id, docs_max } = self;
        vec![
            "replay".to_owned(),
            address.to_string(),
            documents.display().to_string(),
            format!("{batch_docs},{connections},{growing_id},{docs_max}"),
        ]
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let pace = Self {
            batch_docs: parts.next()?.parse().ok()?,
            connections: parts.next()?.parse().ok()?,
            growing_id: parts.next()?.parse().ok()?,
            docs_max: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(pace)
    }
}

/// Sends the documents of a file. The arguments are those that [`Pace::arguments`] returns, without the first one.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let wrong = || Error::failed("replay is for internal use: the benchmark starts itself with it");
    let &[address, path, pace] = arguments else { return Err(wrong()) };
    let (address, pace) = address.parse().ok().zip(Pace::parse(pace)).ok_or_else(wrong)?;
    let file = File::open(path).doing(|| format!("opening {path}"))?;
    let documents = Mutex::new(Documents::new(BufReader::with_capacity(1 << 20, file), pace));
    thread::scope(|scope| {
        let senders: Vec<_> = (0..pace.connections).map(|_| scope.spawn(|| send_all(address, &documents))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| Error::failed("a sender panicked"))?)
    })
}

fn send_all(address: SocketAddr, documents: &Mutex<Documents<BufReader<File>>>) -> Result<()> {
    let mut wire = Wire::connect(address, TIMEOUT)?;
    let insert = doc! {
        "insert": COLLECTION, "$db": DATABASE, "ordered": false, "writeConcern": { "w": "majority", "j": true },
    };
    let mut batch = Vec::new();
    loop {
        let count = documents.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut batch)?;
        if count == 0 {
            return Ok(());
        }
        let reply = wire.command_with(&insert, Some(Sequence { argument: "documents", documents: &batch }))?;
        let is_whole = reply.get_i32("n").is_ok_and(|taken| usize::try_from(taken) == Ok(count));
        if !is_whole || reply.contains_key("writeConcernError") {
            return Err(Error::failed(format!("the server did not insert all documents of a batch of {count}")));
        }
    }
}

/// Reads BSON documents that follow one another without separators, in batches.
struct Documents<R> {
    reader: R,
    pace: Pace,
    taken: u64,
}

impl<R: Read> Documents<R> {
    fn new(reader: R, pace: Pace) -> Self {
        Self { reader, pace, taken: 0 }
    }

    /// Replaces the content of `batch` by the next documents. Returns their number, or 0 at the end.
    fn fill(&mut self, batch: &mut Vec<u8>) -> Result<usize> {
        batch.clear();
        let mut count = 0;
        while count < self.pace.batch_docs && batch.len() < BATCH_BYTES_MAX && self.taken < self.pace.docs_max {
            let start = batch.len();
            if !self.read_document(batch)? {
                break;
            }
            if self.pace.growing_id {
                let id = &mut batch[start + ID_OFFSET..start + ID_OFFSET + 16];
                id.copy_from_slice(&u128::from(self.taken).to_be_bytes());
            }
            self.taken += 1;
            count += 1;
        }
        Ok(count)
    }

    fn read_document(&mut self, batch: &mut Vec<u8>) -> Result<bool> {
        let doing = || "reading the documents to replay".to_owned();
        let mut length = [0; 4];
        match self.reader.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            read => read.doing(doing)?,
        }
        let start = batch.len();
        let bytes = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0).max(length.len());
        batch.extend_from_slice(&length);
        batch.resize(start + bytes, 0);
        self.reader.read_exact(&mut batch[start + length.len()..]).doing(doing)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Binary, Bson, Document};

    use super::*;

    fn documents(count: usize) -> Vec<u8> {
        let id = Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] };
        doc! { "_id": id, "a": "b" }.to_vec().expect("encodes").repeat(count)
    }

    #[test]
    fn batches_have_at_most_the_number_of_documents_that_the_pace_sets() {
        let check = |docs_max: u64, expected: &[usize]| {
            let bytes = documents(5);
            let pace = Pace { batch_docs: 2, connections: 1, growing_id: false, docs_max };
            let mut source = Documents::new(bytes.as_slice(), pace);
            let mut batch = Vec::new();
            let counts: Vec<usize> = (0..4).map(|_| source.fill(&mut batch).expect("reads")).collect();
            assert_eq!(counts, expected, "{docs_max}");
        };
        check(u64::MAX, &[2, 2, 1, 0]);
        check(3, &[2, 1, 0, 0]);
    }

    #[test]
    fn increasing_numbers_replace_ids() {
        let bytes = documents(2);
        let pace = Pace { batch_docs: 2, connections: 1, growing_id: true, docs_max: 9 };
        let mut batch = Vec::new();
        Documents::new(bytes.as_slice(), pace).fill(&mut batch).expect("reads");
        let second = Document::from_reader(&batch[batch.len() / 2..]).expect("a document");
        let Some(Bson::Binary(id)) = second.get("_id") else { panic!("an _id") };
        assert_eq!(id.bytes, 1_u128.to_be_bytes());
        assert_eq!(second.get_str("a").ok(), Some("b"));
    }

    #[test]
    fn a_file_that_ends_inside_a_document_is_refused() {
        let bytes = documents(1);
        let pace = Pace { batch_docs: 2, connections: 1, growing_id: false, docs_max: 9 };
        assert!(Documents::new(&bytes[..20], pace).fill(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_pace_is_parsed_from_its_own_arguments() {
        let pace = Pace { batch_docs: 5, connections: 2, growing_id: true, docs_max: 9 };
        let line = pace.arguments(([127, 0, 0, 1], 1).into(), Path::new("x"));
        let parsed = Pace::parse(&line[3]).expect("parses");
        assert_eq!(format!("{parsed:?}"), format!("{pace:?}"));
        assert!(Pace::parse("1,2,true").is_none());
    }
}
