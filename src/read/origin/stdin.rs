//! Standard input.

use std::fs;

use super::file::identity_of;

/// The operating system's path for standard input, whatever it is connected to.
const STDIN_PATH: &str = "/dev/stdin";

/// Standard input, as it was when the load began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinOrigin {
    /// Device and inode numbers of the file that standard input is connected to.
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
