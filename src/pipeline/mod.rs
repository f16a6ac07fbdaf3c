//! Connects the stages: reading, parsing, cleaning, encoding and writing. No other module does this.
//!
//! One thread reads the sources and splits them into blocks. Workers parse, clean, encode and hash each block in one
//! pass. The encoded blocks are then put back into the order of the source. Three modules use the encoded blocks:
//! [`load`] sorts and writes them, [`dry_run`] counts them, and [`verify`] compares them with the collection.
//!
//! Several workers can share a load: [`manifest`] divides the sources into parts, and [`parts`] loads and verifies
//! them.

mod advice;
mod density;
pub mod dry_run;
#[cfg(test)]
mod fuzz;
pub mod load;
pub mod manifest;
mod originals;
pub mod parts;
mod plan;
mod rejects;
mod settle;
mod spares;
mod stages;
pub mod verify;

pub use originals::refuse_originals;
pub(crate) use plan::SourcePlan;
pub use plan::{Plan, Wishes};
pub use stages::{Bench, Interrupt};
