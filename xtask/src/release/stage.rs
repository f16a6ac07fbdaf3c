//! Builds the program, its manual pages and its completions. The packages contain these files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::output;
use testkit::{Doing, Result, root, target_dir};

/// The completion scripts: the shell, and the path below the prefix where the shell looks for the script.
const COMPLETIONS: [(&str, &str); 3] = [
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

/// Builds the files in `dir`.
pub(super) fn build(dir: &Path) -> Result<Stage> {
    println!("==> build the program");
    let mut cargo = testkit::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "medlift", "--bin", "medlift"]).current_dir(root());
    output(&mut cargo, "building the program")?;
    let stage = Stage { dir: dir.to_owned() };
    let doing = || format!("writing to {}", dir.display());
    for folder in ["bin", "share/man/man1", "share/doc/medlift"] {
        fs::create_dir_all(dir.join(folder)).doing(doing)?;
    }
    let program = stage.program();
    fs::copy(target_dir().join("release/medlift"), &program).doing(doing)?;
    output(Command::new("strip").arg("--strip-debug").arg(&program), "removing debug information (Debian: binutils)")?;
    output(Command::new(&program).arg("man").arg(dir.join("share/man/man1")), "writing the manual pages")?;
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

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::release::VERSION;

    /// A stage whose program only prints its version.
    pub(in crate::release) fn example(dir: &Path) -> Stage {
        let stage = Stage { dir: dir.to_owned() };
        let program = format!("#!/bin/sh\necho medlift {VERSION} # GLIBC_2.17\n");
        for (path, text) in [
            ("bin/medlift", program.as_str()),
            ("share/man/man1/medlift.1", ".TH medlift 1\n"),
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
