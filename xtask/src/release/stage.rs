//! A directory with the program, its manual pages and its completions. Archive and Debian package contain these files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{VERSION, output};
use testkit::{Doing, Error, Result, root};

/// The manual page of `medlift`. The path is relative to the prefix, for example `/usr`.
pub(super) const MANUAL_PAGE: &str = "share/man/man1/medlift.1";
/// The completion scripts: the shell, and the path below the prefix where the shell looks for the script.
pub(super) const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/medlift"),
    ("zsh", "share/zsh/vendor-completions/_medlift"),
    ("fish", "share/fish/vendor_completions.d/medlift.fish"),
];

/// The files as they are installed below a prefix such as `/usr`.
pub(super) struct Stage {
    /// The prefix.
    pub(super) dir: PathBuf,
}

impl Stage {
    /// The program.
    pub(super) fn program(&self) -> PathBuf {
        self.dir.join("bin/medlift")
    }
}

/// Writes the files to `dir`. `compile` compiles the program and writes it to the path that it is given.
pub(super) fn build(dir: &Path, compile: impl FnOnce(&Path) -> Result<()>) -> Result<Stage> {
    let stage = Stage { dir: dir.to_owned() };
    let doing = || format!("writing to {}", dir.display());
    for folder in ["bin", "share/man/man1", "share/doc/medlift"] {
        fs::create_dir_all(dir.join(folder)).doing(doing)?;
    }
    let program = stage.program();
    compile(&program)?;
    output(Command::new(&program).arg("man").arg(dir.join("share/man/man1")), "writing the manual pages")?;
    check_manual(&fs::read_to_string(dir.join(MANUAL_PAGE)).doing(|| format!("reading {MANUAL_PAGE}"))?)?;
    for (shell, path) in COMPLETIONS {
        let script = output(Command::new(&program).args(["completions", shell]), "writing a completion script")?;
        let path = dir.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all).doing(doing)?;
        fs::write(path, script).doing(doing)?;
    }
    for file in ["README.md", "CHANGELOG.md", "LICENSE"] {
        fs::copy(root().join(file), dir.join("share/doc/medlift").join(file)).doing(doing)?;
    }
    Ok(stage)
}

/// Fails if the title of the manual page does not contain the version of the release.
fn check_manual(page: &str) -> Result<()> {
    let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap_or_default();
    if title.contains(&format!("\"medlift {VERSION}\"")) {
        return Ok(());
    }
    Err(Error::failed(format!("the title of {MANUAL_PAGE} does not have the version {VERSION}: {title}")))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::release::DRY_RUN;

    #[test]
    fn a_manual_page_has_the_version() {
        assert!(check_manual(&format!(".ie x\n.TH medlift 1  \"medlift {VERSION}\" \n")).is_ok());
        for page in ["", ".TH medlift 1  \"medlift 9.9.9\" \n"] {
            assert!(check_manual(page).is_err(), "{page}");
        }
    }

    /// A stage whose program prints its version and the beginning of a dry run.
    pub(in crate::release) fn example(dir: &Path) -> Stage {
        let stage = Stage { dir: dir.to_owned() };
        let program = format!("#!/bin/sh\necho medlift {VERSION} # GLIBC_2.17\necho {DRY_RUN}\n");
        for (path, text) in [
            ("bin/medlift", program.as_str()),
            (MANUAL_PAGE, ".TH medlift 1\n"),
            (COMPLETIONS[0].1, "complete\n"),
            ("share/doc/medlift/LICENSE", "licence\n"),
        ] {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
            fs::write(path, text).expect("writes");
        }
        fs::set_permissions(stage.program(), fs::Permissions::from_mode(0o755)).expect("sets");
        stage
    }
}
