//! Finds a mongod, and starts private servers that leave no files behind.

mod find;
mod server;

pub use find::find;
pub(crate) use server::free_port;
pub use server::{Builder, ROOT_USER, Server};
