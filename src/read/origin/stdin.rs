//! Standard input as a source.

use std::fs;

use super::file::identity_of;

const STDIN_PATH: &str = "/dev/stdin";

/// Standard input, with the identity of the file that it is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinOrigin {
    /// Numbers of the device and the inode of the file that standard input is connected to. They show whether the same
    /// file is also given as an argument. `None` if the operating system does not return them.
    identity: Option<(u64, u64)>,
}

impl StdinOrigin {
    pub(super) const NAME: &str = "standard input";
    pub(super) const REJECTS_BASE: &str = "stdin";

    pub(super) fn new() -> Self {
        Self { identity: fs::metadata(STDIN_PATH).ok().as_ref().map(identity_of) }
    }

    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }
}
