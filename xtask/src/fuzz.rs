//! Runs the fuzz targets of `src/pipeline/fuzz/`, each for some seconds.

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
        let status = cargo.status().doing(|| format!("running the fuzz target {target}"))?;
        if !status.success() {
            return Err(Error::failed(format!("the fuzz target {target} has found a fault; see above")));
        }
    }
    Ok(())
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
}
