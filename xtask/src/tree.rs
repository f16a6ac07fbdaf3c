//! The files of the repository, and copies of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::{Doing, Error, Result, root};

/// Lists the files that git tracks, and new files that git does not ignore, by their paths from the root.
pub(crate) fn files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let output = git.output().doing(|| "listing the repository's files with git".to_owned())?;
    if !output.status.success() {
        return Err(Error::failed(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim_end())));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(ToOwned::to_owned).collect())
}

/// Copies the files that git would clone, including uncommitted changes and new files, to `dir`.
pub(crate) fn copy_to(dir: &Path) -> Result<()> {
    let files = files()?;
    // A file that was deleted in the work tree is still in the index.
    let mut present = files.iter().filter(|file| root().join(file).is_file());
    present.try_for_each(|file| copy(&root().join(file), &dir.join(file)))
}

/// Copies one file and creates the directories that it needs.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copying {}", from.display());
    to.parent().map_or(Ok(()), fs::create_dir_all).doing(doing)?;
    fs::copy(from, to).doing(doing).map(drop)
}
