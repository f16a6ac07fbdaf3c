//! Medlift moves a hospital's data into MongoDB. It reads, cleans, types, deduplicates and writes the records, and then
//! verifies that all of them arrived.
//!
//! The modules are declared roughly in the order in which the data flows. [`pipeline`] connects the stages of a load.
//! `ARCHITECTURE.md` says for each module what it does and what it must not depend on.

pub mod spec;

pub mod s3;

pub mod read;

pub mod parse;

pub mod clean;

pub mod reject;

pub mod outputs;

pub mod wording;

pub mod namespace;

pub mod encode;

pub mod write;

pub mod ledger;

pub mod spill;

pub mod verify;

pub mod export;

pub mod fold;

pub mod server;

pub mod deployment;

pub mod patient;

pub mod report;

pub mod error;

pub mod pipeline;

pub mod watch;

pub mod listen;

pub mod generate;
