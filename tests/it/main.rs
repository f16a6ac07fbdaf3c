//! What a user meets, tried on the built binary and a real mongod.

mod leftovers;
mod program;
mod server;
