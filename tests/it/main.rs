//! Integration tests against a real mongod.

mod export;
mod verify;
