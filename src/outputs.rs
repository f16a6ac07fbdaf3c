//! Opens the files that this program writes, without harm to other files.
//!
//! An output may be a device, a pipe or a directory, and its path may lead to a file that is also an input: by another
//! spelling, a symbolic link or a hard link. This module never changes the mode of anything but a regular file, and
//! compares files by device and inode. It never knows the content of an output.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of an output: only its owner may read and write it.
const PRIVATE_MODE: u32 = 0o600;

/// Returns true if both paths lead to the same file: the same device and inode, after following links. Returns false if
/// either does not exist or cannot be looked at.
pub fn is_same_file(left: &Path, right: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(left), identity(right)), (Ok(left), Ok(right)) if left == right)
}

/// Opens `path` for reading and writing. A missing file is created with mode 0600; an existing file keeps its content. A
/// regular file gets mode 0600; the mode of a device, a pipe or a directory is never changed.
pub fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE_MODE).open(path)?;
    make_private(&file)?;
    Ok(file)
}

/// Sets the mode of the open file, so that nobody can put another file in its place in between.
fn make_private(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_file() && found.mode() & 0o7777 != PRIVATE_MODE {
        file.set_permissions(Permissions::from_mode(PRIVATE_MODE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn every_path_to_a_file_is_recognised() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "x").expect("written");
        fs::write(at("b"), "x").expect("written");
        fs::hard_link(at("a"), at("hard")).expect("linked");
        std::os::unix::fs::symlink(at("a"), at("soft")).expect("linked");
        std::os::unix::fs::symlink(at("missing"), at("dangling")).expect("linked");
        fs::create_dir(at("d")).expect("made");
        let check = |left: &str, right: &str, expected: bool| {
            assert_eq!(is_same_file(&at(left), &at(right)), expected, "{left} and {right}");
        };
        check("a", "a", true);
        check("a", "hard", true);
        check("soft", "a", true);
        check("soft", "hard", true);
        check("d/../a", "./a", true);
        check("a", "b", false);
        check("a", "missing", false);
        check("missing", "missing", false);
        check("dangling", "missing", false);
    }

    #[test]
    fn a_file_becomes_private_and_keeps_its_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let (new, old) = (directory.path().join("new"), directory.path().join("old"));
        open_private(&new).expect("opened");
        assert_eq!(mode(&new), 0o600);
        fs::write(&old, "kept").expect("written");
        fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("set");
        open_private(&old).expect("opened");
        assert_eq!((mode(&old), fs::read_to_string(&old).expect("read")), (0o600, "kept".to_owned()));
        assert!(open_private(directory.path()).is_err());
        assert!(mode(directory.path()) != 0o600);
    }

    #[test]
    fn a_pipes_mode_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg("-m").arg("644").arg(&pipe).status().expect("runs");
        assert!(made.success());
        open_private(&pipe).expect("opened");
        assert_eq!(mode(&pipe), 0o644);
    }

    /// Root alone can make a device and could change its mode.
    #[test]
    fn a_devices_mode_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = directory.path().join("null");
        let made = std::process::Command::new("mknod").args(["-m", "666"]).arg(&device).args(["c", "1", "3"]).output();
        if !made.is_ok_and(|made| made.status.success()) {
            println!("left out: this user may not make a device");
            return;
        }
        match open_private(&device) {
            Ok(_) => assert_eq!(mode(&device), 0o666),
            Err(error) => println!("left out: this file system has no devices: {error}"),
        }
    }
}
