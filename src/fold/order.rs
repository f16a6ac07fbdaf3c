//! The order of the messages of a key.

use std::cmp::Ordering;

use bson::raw::cstr;
use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf};

use super::elements::{get, put_id};
use crate::encode::Id;

/// The place of a message in the order of all messages: by the time of the event, then by control id, then by the
/// message's `_id`. No two messages have the same place.
///
/// A message without a readable time comes first. Of two control ids, the shorter one comes first, so that counters
/// without leading zeros are in order: 9 comes before 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// EVN-2, or MSH-7 if EVN-2 is missing, in milliseconds since 1970.
    pub at_ms: Option<i64>,
    /// MSH-10.
    pub control_id: Box<str>,
    /// The message's `_id`.
    pub message: Id,
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |order: &Self| (order.at_ms, order.control_id.len());
        let by_rank = rank(self).cmp(&rank(other));
        by_rank.then_with(|| self.control_id.cmp(&other.control_id)).then(self.message.cmp(&other.message))
    }
}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Order {
    /// Appends the fields of this order to a document.
    pub(super) fn write(&self, document: &mut RawDocumentBuf) {
        if let Some(at_ms) = self.at_ms {
            document.append(cstr!("at"), DateTime::from_millis(at_ms));
        }
        if !self.control_id.is_empty() {
            document.append(cstr!("controlId"), &*self.control_id);
        }
        put_id(document, cstr!("message"), self.message);
    }

    /// Returns a document with the fields of this order.
    pub(super) fn document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        self.write(&mut document);
        document
    }

    /// Reads the fields that [`Order::write`] wrote.
    pub(super) fn read(document: &RawDocument) -> Option<Self> {
        let field = |name| get(document, name);
        let at_ms = field("at").and_then(RawBsonRef::as_datetime).map(DateTime::timestamp_millis);
        let control_id = field("controlId").and_then(RawBsonRef::as_str).unwrap_or_default().into();
        Some(Self { at_ms, control_id, message: Id::from_binary(field("message")?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_ordered_by_time_then_control_id_then_id() {
        let order = |at_ms, control_id: &str, id| Order { at_ms, control_id: control_id.into(), message: Id([id; 16]) };
        let sorted = [
            order(None, "7", 0),
            order(Some(-1), "", 0),
            order(Some(5), "", 9),
            order(Some(5), "9", 9),
            order(Some(5), "10", 1),
            order(Some(5), "10", 2),
            order(Some(5), "11", 0),
            order(Some(6), "1", 0),
        ];
        assert!(sorted.is_sorted_by(|one, other| one < other), "{sorted:?}");
        for order in &sorted {
            assert_eq!(Order::read(&order.document()).as_ref(), Some(order));
        }
    }
}
