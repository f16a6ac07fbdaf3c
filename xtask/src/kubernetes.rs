//! Checks `deploy/kubernetes/medlift-job.yaml` against the schemas of Kubernetes. The schemas and the program that
//! compares the file with them are in a package from PyPI. No cluster is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Doing, Error, Result, root, target_dir};

use crate::compose_test::{outcome, succeeds};
use crate::left_out;

const FILE: &str = "deploy/kubernetes/medlift-job.yaml";
const PACKAGE: &str = "kubernetes-validate";
const VERSION: &str = "1.37.0";

/// The versions of Kubernetes whose schemas are used: the first one that has all fields of the file, and a recent one.
const KUBERNETES: [&str; 2] = ["1.33", "1.37"];

/// Errors that the check must find. Each error is a text of the file and the wrong text that replaces it.
const ERRORS: [[&str; 2]; 3] = [
    ["backoffLimitPerIndex: 5", "backoffLimitPerIndexes: 5"],
    ["values: [1]", "values: [one]"],
    ["claimName: landing", "claim: landing"],
];

/// Checks the file. Then puts each of `ERRORS` into a copy of the file, and checks that the copy is refused. If the
/// package cannot be fetched, reports this and succeeds.
pub fn run() -> Result<()> {
    let Some(packages) = fetch()? else {
        left_out::report(&format!("{FILE}; pip cannot fetch {PACKAGE} {VERSION} from PyPI"));
        return Ok(());
    };
    let path = root().join(FILE);
    eprint!("{}", outcome(&mut check(&packages, &path), "checking the Kubernetes job")?);
    let text = fs::read_to_string(&path).doing(|| format!("reading {FILE}"))?;
    let dir = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    for [right, wrong] in ERRORS {
        let copy = dir.path().join("job.yaml");
        fs::write(&copy, text.replacen(right, wrong, 1)).doing(|| format!("writing {}", copy.display()))?;
        if !text.contains(right) || succeeds(&mut check(&packages, &copy)) {
            return Err(Error::failed(format!("the check does not find that `{wrong}` is wrong")));
        }
    }
    eprintln!("the check refuses {} copies of the job, each with one wrong text", ERRORS.len());
    Ok(())
}

fn check(packages: &Path, file: &Path) -> Command {
    let mut python = Command::new("python3");
    python.args(["-m", "kubernetes_validate", "--strict"]).env("PYTHONPATH", packages);
    python.args(KUBERNETES.iter().flat_map(|version| ["--kubernetes-version", version])).arg(file);
    python
}

/// Returns the directory of the package and its dependencies, or `None` if they cannot be fetched.
fn fetch() -> Result<Option<PathBuf>> {
    let dir = target_dir().join(format!("{PACKAGE}-{VERSION}"));
    if dir.is_dir() {
        return Ok(Some(dir));
    }
    let parent = target_dir();
    fs::create_dir_all(&parent).doing(|| format!("creating {}", parent.display()))?;
    let scratch = tempfile::tempdir_in(&parent).doing(|| format!("creating a directory in {}", parent.display()))?;
    let new = scratch.path().join("packages");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--target"]);
    if !succeeds(pip.arg(&new).arg(format!("{PACKAGE}=={VERSION}"))) {
        return Ok(None);
    }
    // With the rename, the directory gets its final name only when it is complete.
    fs::rename(&new, &dir).doing(|| format!("creating {}", dir.display()))?;
    Ok(Some(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the shell script in the file.
    fn script() -> String {
        let text = fs::read_to_string(root().join(FILE)).expect("the file");
        let (_, block) = text.split_once("            - |\n").expect("a block");
        let lines: Vec<&str> = block.lines().map_while(|line| line.strip_prefix("              ")).collect();
        lines.join("\n")
    }

    #[test]
    fn the_script_of_the_pod_passes_exit_codes_on() {
        check_script(Command::new("sh").args(["-c", &script()]));
    }

    #[test]
    fn the_script_for_slurm_passes_exit_codes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = root().join("deploy/slurm/medlift.sbatch");
        let mut command = Command::new("bash");
        command.arg(script).arg(dir.path().join("load.manifest.json")).env("MEDLIFT_CONFIG", "medlift.yaml");
        check_script(&mut command);
    }

    /// Runs a script several times and checks its exit codes. The script finds a stand-in for Medlift on its PATH: a
    /// program that executes the text of the variable `PROGRAM`.
    fn check_script(script: &mut Command) {
        let dir = tempfile::tempdir().expect("a directory");
        // A shell writes the file. If this process wrote it, a test in another thread could start a process at that
        // moment. That process would inherit the open file, and Linux does not execute a file that is open for writing.
        let write = "printf '#!/bin/sh\neval \"$PROGRAM\"\n' >\"$0\" && chmod +x \"$0\"";
        assert!(succeeds(Command::new("sh").args(["-c", write]).arg(dir.path().join("medlift"))));
        script.env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()));
        let mut run = |program: &str| script.env("PROGRAM", program).output().expect("runs").status.code();
        for (code, expected) in [(0, 0), (1, 1), (2, 2), (4, 0), (5, 5), (6, 6)] {
            assert_eq!(run(&format!("exit {code}")), Some(expected));
        }
        // The stand-in sends SIGTERM to the script, as a scheduler does. Then the script sends SIGTERM to the stand-in.
        let mut stopped =
            |code: i32| run(&format!("trap 'exit {code}' TERM; kill -TERM $PPID; sleep 2 >&- 2>&- & wait"));
        assert_eq!([stopped(1), stopped(4), stopped(0)], [Some(6), Some(0), Some(0)]);
    }
}
