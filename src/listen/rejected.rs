//! Stores refused messages, because their sender will not keep them.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, doc};

use super::answer::{header_of, sending_application};
use super::decode::{Rejected, id_of_rejected};
use crate::encode::IdentityKey;
use crate::server::codes::DUPLICATE_KEY;
use crate::server::{Failure, Target, patiently, rejected_of};

/// Maximum size of the messages in one command, unless it is a single message.
const COMMAND_BYTES_MAX: usize = 8 << 20;

/// The collection of the refused messages.
#[derive(Debug, Clone)]
pub(super) struct RejectedStore {
    target: Target,
    collection: String,
    key: IdentityKey,
}

impl RejectedStore {
    /// Makes the store for the refused messages of this collection.
    pub(super) fn new(target: &Target, key: &IdentityKey) -> Self {
        Self { target: target.clone(), collection: rejected_of(&target.collection), key: key.clone() }
    }

    /// Returns the name of the collection.
    pub(super) fn collection(&self) -> &str {
        &self.collection
    }

    /// Stores refused messages, until a journaled majority has them. A message that is stored already stays as it is.
    ///
    /// # Errors
    /// The server refuses them, or all attempts failed.
    pub(super) async fn put(&self, messages: &[(&[u8], &Rejected)]) -> Result<(), Failure> {
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for (message, rejected) in messages {
            if bytes + message.len() > COMMAND_BYTES_MAX && !documents.is_empty() {
                self.insert(std::mem::take(&mut documents)).await?;
                bytes = 0;
            }
            bytes += message.len();
            documents.push(self.document(message, rejected));
        }
        if documents.is_empty() { Ok(()) } else { self.insert(documents).await }
    }

    fn document(&self, message: &[u8], rejected: &Rejected) -> Document {
        let application = sending_application(header_of(message));
        doc! {
            "_id": id_of_rejected(message, &self.key).to_binary(),
            "reason": rejected.reason.code(),
            "place": Some(&rejected.place).filter(|place| !place.is_empty()),
            "explanation": &rejected.text,
            "sendingApplication": Some(String::from_utf8_lossy(&application)).filter(|text| !text.is_empty()).as_deref(),
            "receivedAt": DateTime::now(),
            "message": Binary { subtype: BinarySubtype::Generic, bytes: message.to_vec() },
        }
    }

    async fn insert(&self, documents: Vec<Document>) -> Result<(), Failure> {
        let database = self.target.db();
        let command = doc! {
            "insert": &self.collection, "ordered": false, "documents": documents,
            "writeConcern": { "w": "majority", "j": true },
        };
        patiently(|| async {
            let answer = database.run_command(command.clone()).await.map_err(|error| Failure::of(&error))?;
            Failure::in_answer(&answer).or_else(|| refusal(&answer)).map_or(Ok(()), Err)
        })
        .await
    }
}

/// Returns the first error of an insert. A message that is stored already is not an error.
fn refusal(answer: &Document) -> Option<Failure> {
    let errors = answer.get_array("writeErrors").ok()?.iter().filter_map(Bson::as_document);
    let mut codes = errors.filter_map(|error| error.get_i32("code").ok());
    codes.find(|code| *code != DUPLICATE_KEY).map(|code| Failure::of_code(code, "", None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_stored_already_is_no_error() {
        let answer = |codes: &[i32]| {
            let errors: Vec<Document> = codes.iter().map(|code| doc! { "index": 0, "code": *code }).collect();
            doc! { "ok": 1, "writeErrors": errors }
        };
        assert!(refusal(&answer(&[DUPLICATE_KEY])).is_none() && refusal(&doc! { "ok": 1 }).is_none());
        assert!(refusal(&answer(&[DUPLICATE_KEY, 121])).is_some());
    }
}
