//! Copies of the source tree.

use std::fs;
use std::path::Path;
use std::process::Command;
use testkit::{Doing, Error, Result, root};

/// Copies the files that git would clone, including uncommitted changes and new files, to `dir`.
pub(crate) fn copy_to(dir: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let output = git.output().doing(|| "running git".to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::failed(format!("git cannot list the tree: {}", said.trim_end())));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    listed
        .lines()
        .filter(|file| root().join(file).is_file())
        .try_for_each(|file| copy(&root().join(file), &dir.join(file)))
}

/// Copies one file and creates the directories that it needs.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copying {}", from.display());
    to.parent().map_or(Ok(()), fs::create_dir_all).doing(doing)?;
    fs::copy(from, to).doing(doing).map(drop)
}
