//! A real mongod: where to find one, and servers of one's own that leave nothing behind.

mod find;
mod server;

pub use find::find;
pub use server::{Builder, ROOT_USER, Server};
