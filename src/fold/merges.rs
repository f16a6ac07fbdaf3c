//! Follows merges: the patient who survives.

use std::collections::BTreeMap;

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocumentBuf};

use super::Order;
use super::elements::{get, put_id};
use crate::encode::Id;

/// A patient's record was merged into another one (A40).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The patient key into which it was merged.
    pub into: Id,
    /// The message that says so.
    pub order: Order,
}

impl Merge {
    /// Returns the merge as a document.
    pub(super) fn document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        put_id(&mut document, cstr!("patient"), self.into);
        self.order.write(&mut document);
        document
    }

    /// Reads a document that [`Merge::document`] made.
    pub(super) fn read(value: RawBsonRef<'_>) -> Option<Self> {
        let document = value.as_document()?;
        Some(Self { into: Id::from_binary(get(document, "patient")?)?, order: Order::read(document)? })
    }
}

/// The merges of some patient keys.
#[derive(Debug, Clone, Default)]
pub struct Merges(BTreeMap<Id, Merge>);

impl Merges {
    /// Adds the merge of a key, or replaces it.
    pub fn add(&mut self, key: Id, merge: Merge) {
        self.0.insert(key, merge);
    }

    /// Adds the merge of a key, unless a later merge of it is known.
    pub(super) fn add_later(&mut self, key: Id, merge: Merge) {
        if self.of(key).is_none_or(|known| known.order <= merge.order) {
            self.add(key, merge);
        }
    }

    /// Adds all merges of `other`. Of two merges of a key, the later one stays.
    pub(super) fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, merge)| self.add_later(key, merge));
    }

    /// Returns the merge of a key.
    pub fn of(&self, key: Id) -> Option<&Merge> {
        self.0.get(&key)
    }

    /// Returns the key that survives: follows the merges from `key` until a key that was not merged.
    ///
    /// If the merges form a circle, the key into which the latest of them merged survives.
    pub fn survivor(&self, key: Id) -> Id {
        let mut path = vec![key];
        let mut last = key;
        while let Some(merge) = self.0.get(&last) {
            last = merge.into;
            if let Some(start) = path.iter().position(|&passed| passed == last) {
                let circle = path[start..].iter().filter_map(|passed| self.0.get(passed));
                return circle.max_by_key(|merge| &merge.order).map_or(last, |latest| latest.into);
            }
            path.push(last);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_followed_and_the_latest_merge_of_a_circle_wins() {
        // From, into, time.
        let check = |merges: &[(u8, u8, i64)], key: u8, survivor: u8| {
            let id = |number| Id([number; 16]);
            let mut all = Merges::default();
            for &(from, into, at_ms) in merges {
                let order = Order { at_ms: Some(at_ms), control_id: "".into(), message: id(0) };
                all.add(id(from), Merge { into: id(into), order });
            }
            assert_eq!(all.survivor(id(key)), id(survivor), "{merges:?} {key}");
        };
        check(&[], 1, 1);
        check(&[(1, 2, 1)], 1, 2);
        check(&[(1, 2, 1)], 2, 2);
        check(&[(1, 2, 5), (2, 3, 1)], 1, 3);
        for key in [1, 2] {
            check(&[(1, 2, 1), (2, 1, 2)], key, 1);
            check(&[(1, 2, 2), (2, 1, 1)], key, 2);
        }
        // 4 leads into the circle of 1, 2 and 3.
        for key in [1, 2, 3, 4] {
            check(&[(1, 2, 1), (2, 3, 3), (3, 1, 2), (4, 1, 9)], key, 3);
        }
    }
}
