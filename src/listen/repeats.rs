//! Recognises a control id that a sender uses again for another message. The latest messages of this listener are in
//! memory. The messages of earlier listeners are not looked at.

use std::collections::HashMap;

use crate::encode::Id;

/// After so many messages, the older half of them is forgotten. Together they need about 8 MB.
const LATEST: usize = 200_000;

/// The control ids of the latest messages, as hashes, each with the beginning of the message's `_id`.
#[derive(Debug, Default)]
pub(super) struct ControlIds {
    new: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl ControlIds {
    /// Notes the control id of a message. Returns true if the last message with it was another one. `sender_and_id` is
    /// the hash of sender and control id.
    pub(super) fn note(&mut self, sender_and_id: u64, message: Id) -> bool {
        if self.new.len() >= LATEST / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        let before = self.new.insert(sender_and_id, message.lead()).or_else(|| self.old.get(&sender_and_id).copied());
        before.is_some_and(|before| before != message.lead())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_message_with_the_same_control_id_is_recognised() {
        let id = |number: u8| Id([number; 16]);
        let mut ids = ControlIds::default();
        let found = [(1, 1), (2, 1), (1, 1), (1, 2), (1, 1), (2, 1)].map(|(hash, message)| ids.note(hash, id(message)));
        assert_eq!(found, [false, false, false, true, true, false]);
        for hash in 10..10 + LATEST as u64 / 2 {
            assert!(!ids.note(hash, id(3)));
        }
        assert!(ids.note(1, id(4)), "it is among the latest");
        for hash in 10..10 + LATEST as u64 {
            ids.note(hash, id(3));
        }
        assert!(!ids.note(2, id(4)), "it is forgotten");
    }
}
