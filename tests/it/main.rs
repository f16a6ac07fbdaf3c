//! Integration tests. They run the built binary or call the library, most of them with a real mongod.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic, as the test itself may")]

mod access;
mod advice;
mod arrays;
mod bad_days;
mod certificates;
mod commands;
mod concerns;
mod conformity;
mod connection;
mod deployment;
mod docs;
mod doctor;
mod documentdb;
mod export;
mod fold;
mod fold_trouble;
mod hl7;
mod index_builds;
mod interrupts;
mod json;
mod kinds;
mod known;
mod laboratory;
mod ledger;
mod leftovers;
mod limits;
mod load;
mod newcomer;
mod newest;
mod options;
mod outputs;
mod owners;
mod parts;
mod passing;
mod patient;
mod program;
mod prompts;
mod proof;
mod provision;
mod quotes;
mod real_data;
mod reject_files;
mod rejects;
mod runs;
#[cfg(feature = "s3")]
mod s3;
mod schema;
mod secrets;
mod server;
mod sharding;
mod state;
mod verify;
mod waiting;
