//! Loads the settings, and warns about a file with passwords that every user of the machine can read.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Once;

use medlift::error::Error;
use medlift::server::Settings;

use super::output;

/// The bit in a file's mode that permits other users to read the file.
const READ_BY_OTHERS: u32 = 0o004;

/// The bit in a directory's mode that permits other users to open files in it.
const ENTERED_BY_OTHERS: u32 = 0o001;

/// Loads the settings from the environment and from `.env`. The first call warns if `.env` contains passwords and other
/// users can read it.
pub(super) fn load() -> Result<Settings, Error> {
    static WARNED: Once = Once::new();
    let settings = Settings::load()?;
    if let Some(path) = settings.file_with_secrets() {
        WARNED.call_once(|| warn_if_exposed(&path));
    }
    Ok(settings)
}

/// Warns if other users can read the file.
pub(super) fn warn_if_exposed(path: &Path) {
    if is_exposed(path, own_user(), &mounts()) {
        let path = path.display();
        output::tell(format_args!(
            "warning: other users can read {path}, which contains secrets; run chmod 600 {path}"
        ));
    }
}

/// Returns true if other users can read the file, and `user` can change that.
///
/// Returns false in three cases:
/// - The file belongs to another user.
/// - A directory above the file keeps other users out.
/// - The file itself is a mount point. In a container, such a file is mounted from the host, and its mode in the
///   container does not say who can read it on the host.
fn is_exposed(path: &Path, user: u32, mounts: &str) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let is_exposed = |found: &Metadata| found.is_file() && found.mode() & READ_BY_OTHERS != 0 && found.uid() == user;
    let is_open = |directory: &Path| fs::metadata(directory).is_ok_and(|found| found.mode() & ENTERED_BY_OTHERS != 0);
    fs::metadata(&path).is_ok_and(|found| is_exposed(&found))
        && path.ancestors().skip(1).all(is_open)
        && !is_mount_point(&path, mounts)
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns Linux's list of mounts. Empty on other systems.
fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Returns true if `mounts` contains the path as a mount point, which is the fifth column. A blank in a path is listed
/// as `\040`.
fn is_mount_point(path: &Path, mounts: &str) -> bool {
    let listed = path.display().to_string().replace(' ', "\\040");
    mounts.lines().any(|mount| mount.split(' ').nth(4) == Some(&listed))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_exposed_only_if_others_can_read_it_and_its_owner_can_change_that() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = fs::canonicalize(directory.path()).expect("there").join("a file");
        fs::write(&path, "").expect("written");
        let user = own_user();
        let check = |directory_mode: u32, mode: u32, user: u32, mounts: &str, expected: bool| {
            fs::set_permissions(directory.path(), Permissions::from_mode(directory_mode)).expect("set");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            assert_eq!(is_exposed(&path, user, mounts), expected, "{directory_mode:o} {mode:o} {user} {mounts}");
        };
        // The directory for temporary files may itself keep other users out.
        let is_open = path
            .ancestors()
            .skip(2)
            .all(|above| fs::metadata(above).is_ok_and(|found| found.mode() & ENTERED_BY_OTHERS != 0));
        check(0o755, 0o644, user, "", is_open);
        check(0o711, 0o604, user, "", is_open);
        check(0o755, 0o640, user, "", false);
        check(0o755, 0o600, user, "", false);
        check(0o700, 0o644, user, "", false);
        check(0o755, 0o644, user + 1, "", false);
        let mounted = path.display().to_string().replace(' ', "\\040");
        check(0o755, 0o644, user, &format!("36 35 98:0 /env {mounted} rw - ext4 /dev/x rw\n"), false);
        check(0o755, 0o644, user, "36 35 98:0 / / rw - ext4 /dev/x rw\n", is_open);
        assert!(!is_exposed(&path.with_file_name("missing"), user, ""));
    }
}
