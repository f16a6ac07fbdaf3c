//! Connects the stages with bounded channels. No other module does this.
//!
//! One thread reads the sources and splits them into blocks. Workers parse, clean, encode and hash each block in one
//! pass. The encoded blocks are put into the order of the source, whatever the number of workers. Three users process
//! them differently: [`load`] sorts and writes them, [`dry_run`] only counts, and [`verify`] compares them with the
//! collection.

pub mod dry_run;
pub mod load;
mod plan;
mod rejects;
mod settle;
mod spares;
mod stages;
pub mod verify;

pub(crate) use plan::SourcePlan;
pub use plan::{Plan, Wishes};
pub use stages::{Bench, Interrupt};
