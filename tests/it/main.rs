//! What a user meets, tried on the built binary and a real mongod.

#![expect(clippy::unwrap_used, reason = "a helper of a test panics like the test itself")]

mod access;
mod bad_days;
mod certificates;
mod deployment;
mod doctor;
mod export;
mod laboratory;
mod leftovers;
mod load;
mod program;
mod provision;
mod quotes;
mod real_data;
mod rejects;
mod schema;
mod server;
mod verify;
