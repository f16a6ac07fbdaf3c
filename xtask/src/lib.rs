//! Developer commands: checks, containers, a demonstration. `cargo xtask` without arguments lists them.

pub mod aws_test;
pub mod bench;
pub mod ci;
pub mod compose_test;
pub mod demo;
pub mod deny;
pub mod fuzz;
pub mod kubernetes;
mod left_out;
pub mod model;
pub mod mutants;
pub mod picture;
pub mod release;
pub mod slurm_test;
pub mod tidy;
mod tree;

pub use testkit::{Error, Result};
