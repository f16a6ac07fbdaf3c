//! Integration tests against a real mongod.

mod verify;
