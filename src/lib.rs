//! Medlift moves a hospital's data into MongoDB: read, cleaned, typed, deduplicated, written, and proven to have arrived.
//!
//! The modules stand in the order in which the data flows. [`pipeline`] is the only place that wires them together;
//! `ARCHITECTURE.md` tells what each room is for and what it must never know.

pub mod spec;

pub mod read;

pub mod parse;

pub mod clean;

pub mod reject;

pub mod outputs;

pub mod encode;

pub mod write;

pub mod ledger;

pub mod spill;

pub mod verify;

pub mod export;

pub mod access;

pub mod report;

pub mod pipeline;

pub mod generate;
