//! The archive for all Linux distributions with glibc.

use std::env::consts::ARCH;
use std::path::Path;
use std::process::Command;

use super::stage::Stage;
use super::{VERSION, check_program, output, trial};
use testkit::{Doing, Result};

/// Makes `medlift-VERSION-ARCHITECTURE-linux.tar.gz`, and runs the program from it. The archive has one folder.
pub(super) fn make(stage: &Stage, dist: &Path) -> Result<()> {
    println!("==> archive");
    let folder = format!("medlift-{VERSION}-{ARCH}-linux");
    let archive = dist.join(format!("{folder}.tar.gz"));
    // Order, owners and times are fixed, so that the same files always give the same archive.
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    tar.arg("--transform").arg(format!("s,^\\.,{folder},")).arg("--file").arg(&archive);
    tar.arg("--directory").arg(&stage.dir).arg(".");
    output(&mut tar, "making the archive")?;

    let scratch = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--file"]).arg(&archive).arg("--directory").arg(scratch.path());
    output(&mut unpack, "unpacking the archive")?;
    check_program(&mut trial(&scratch.path().join(folder).join("bin/medlift")), "the archive")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::release::{files, stage::tests::example};

    #[test]
    fn the_same_files_give_the_same_archive() {
        let dir = tempfile::tempdir().expect("a directory");
        let archives = ["a", "b"].map(|name| {
            let dist = dir.path().join(name);
            let stage = example(&dist.join("stage"));
            make(&stage, &dist).expect("makes");
            fs::read(dist.join(&files(&dist).expect("lists")[0])).expect("reads")
        });
        assert!(!archives[0].is_empty() && archives[0] == archives[1]);
    }
}
