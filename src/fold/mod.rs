//! The fold: what the stored HL7 v2 messages of a patient, a visit or a result add up to.
//!
//! Messages are stored once and never changed. The state of a key is a function of its messages in their own order: by
//! the time of the event, then by control id, then by `_id`. It does not depend on the order in which the messages
//! arrived, on how they were divided into loads, or on how often they were loaded.
//!
//! Everything here except `shell` is pure: no I/O, no clock, no randomness. [`Reader`] makes an [`Event`] from a
//! message. [`fold`] makes a [`State`] from the events of a key, and [`advance`] adds later events. [`Merges`] follows
//! merges. `shell` finds the messages that are not folded yet, folds their keys, and replaces the documents.

mod adt;
mod document;
mod elements;
mod event;
mod fields;
mod folding;
mod identifier;
mod keys;
mod merges;
mod order;
mod oru;
mod packed;
mod patient;
mod result;
pub mod shell;
mod slot;
mod step;
mod visit;

#[cfg(test)]
mod tests;

/// The actions that a user must be permitted in the collections that a fold writes.
pub(crate) const ACTIONS: [&str; 4] = ["find", "insert", "remove", "update"];

pub use document::State;
pub use event::{BadMessage, Event, Reader};
pub use folding::{Advanced, advance, fold};
pub use keys::{Key, Kind, collections, notes_of};
pub use merges::{Merge, Merges};
pub use order::Order;
