//! Runs the fuzz targets of `src/pipeline/fuzz/`, each for some seconds.

use std::process::Stdio;

use testkit::{Doing, Error, Result, cargo, root};

const USAGE: &str = "usage: cargo xtask fuzz [SECONDS] [TARGET…]
  SECONDS   time for each target [30]
  TARGET    hl7, plain_json, fhir [all]";

const TARGETS: [&str; 3] = ["hl7", "plain_json", "fhir"];

const SECONDS_DEFAULT: u64 = 30;

/// Runs the targets that the arguments name. A target that finds a fault writes the source to `target/fuzz`.
pub fn run(arguments: &[&str]) -> Result<()> {
    let (seconds, targets) = parse(arguments).ok_or_else(|| Error::failed(USAGE))?;
    for target in targets {
        let mut cargo = cargo();
        let name = format!("pipeline::fuzz::{target}");
        cargo.args(["test", "--quiet", "--locked", "--package", "medlift", "--lib", "--"]);
        cargo.args(["--ignored", "--exact", "--nocapture", &name]);
        cargo.env("MEDLIFT_FUZZ_SECONDS", seconds.to_string()).current_dir(root());
        let ended = cargo.stderr(Stdio::inherit()).output().doing(|| format!("running the fuzz target {target}"))?;
        let said = String::from_utf8_lossy(&ended.stdout);
        print!("{said}");
        if !ended.status.success() {
            return Err(Error::failed(format!("the fuzz target {target} has found a fault; see above")));
        }
        if !has_run(target, &said) {
            return Err(Error::failed(format!(
                "the fuzz target {target} has checked no source; is there no test {name}?"
            )));
        }
    }
    Ok(())
}

/// Returns true if the target has checked sources. `cargo test` also succeeds if no test has the target's name.
fn has_run(target: &str, said: &str) -> bool {
    let begin = format!("{target}: ");
    let number = |line: &str| line.split_once(&begin)?.1.split_once(" sources checked")?.0.parse::<u64>().ok();
    said.lines().filter_map(number).any(|number| number > 0)
}

/// Returns the seconds for each target, and the targets. Returns `None` if an argument is wrong.
fn parse<'a>(arguments: &[&'a str]) -> Option<(u64, Vec<&'a str>)> {
    let seconds = arguments.first().and_then(|first| first.parse().ok());
    let named = &arguments[usize::from(seconds.is_some())..];
    let targets = if named.is_empty() { TARGETS.to_vec() } else { named.to_vec() };
    let are_known = targets.iter().all(|target| TARGETS.contains(target));
    are_known.then(|| (seconds.unwrap_or(SECONDS_DEFAULT), targets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_targets_are_optional() {
        assert_eq!(parse(&[]), Some((30, TARGETS.to_vec())));
        assert_eq!(parse(&["8"]), Some((8, TARGETS.to_vec())));
        assert_eq!(parse(&["8", "fhir"]), Some((8, vec!["fhir"])));
        assert_eq!(parse(&["hl7"]), Some((30, vec!["hl7"])));
        assert_eq!(parse(&["hl7", "8"]), None);
        assert_eq!(parse(&["csv"]), None);
    }

    #[test]
    fn a_target_without_a_test_is_noticed() {
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 900 filtered out\n";
        assert!(!has_run("hl7", none));
        let some = "\nrunning 1 test\nhl7: 907 sources checked, made from 9 others with the seed 7\n.\n";
        assert!(has_run("hl7", some) && has_run("hl7", &some.replace("\nhl7", " hl7")));
        assert!(!has_run("fhir", some) && !has_run("hl7", &some.replace("907", "0")));
    }
}
