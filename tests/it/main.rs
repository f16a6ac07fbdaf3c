//! What a user meets, tried on the built binary and a real mongod.

mod access;
mod bad_days;
mod certificates;
mod export;
mod leftovers;
mod load;
mod program;
mod provision;
mod real_data;
mod rejects;
mod schema;
mod server;
mod verify;
