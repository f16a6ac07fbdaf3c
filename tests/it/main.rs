//! Everything that needs a real mongod, in one binary.

mod access;
mod certificates;
mod doctor;
mod provision;
mod schema;
