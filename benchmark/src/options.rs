//! The options of `cargo xtask bench`.

use std::path::PathBuf;
use std::process::Command;

use crate::Scenario;
use testkit::{Doing, Error, Result, root};

const USAGE: &str = "usage: cargo xtask bench [OPTION…]
  --rows N,…             numbers of rows [load: 55500,1000000,10000000; upsert, ready, workers: 1000000;
                         messages, resources: 200000; feed: 100000; constants: 500000]; cache always has 4000000,
                         bundles as many as Synthea makes
  --runs N               number of measurements of each contender [3]
  --only NAME,…          scenarios: load, upsert, ready, cache, workers, messages, resources, bundles, feed, constants
                         [all]
  --contenders NAME,…    contenders whose names begin with one of these names [all]
  --duplicates yes|no    whether the synthetic tables contain equal rows [yes, about 1 %]
  --cache-mb N           the server's cache, at least 256 [1024]; the scenario cache always has 256
  --out FILE             file for the results as JSON [benches/results/DATE.json]";

/// Checked options.
#[derive(Debug)]
pub(crate) struct Options {
    /// The numbers of rows to measure. If it is `None`, each scenario uses its own numbers.
    pub(crate) rows: Option<Vec<u64>>,
    pub(crate) runs: usize,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) contenders: Vec<String>,
    /// Whether the synthetic tables contain equal rows. If two parts of a load contain equal rows, the load takes
    /// longer.
    pub(crate) has_duplicates: bool,
    pub(crate) cache_mb: u32,
    pub(crate) out: PathBuf,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self {
            rows: None,
            runs: 3,
            scenarios: Scenario::ALL.into(),
            contenders: Vec::new(),
            has_duplicates: true,
            cache_mb: 1024,
            out: PathBuf::new(),
        };
        for pair in arguments.chunks(2) {
            let &[name, value] = pair else { return Err(Error::failed(USAGE)) };
            match name {
                "--rows" => options.rows = Some(list(value, number)?),
                "--runs" => options.runs = number(value)?,
                "--only" => options.scenarios = list(value, scenario)?,
                "--contenders" => options.contenders = list(value, |name| Ok(name.to_owned()))?,
                "--duplicates" if ["yes", "no"].contains(&value) => options.has_duplicates = value == "yes",
                "--cache-mb" => options.cache_mb = number(value)?,
                "--out" => options.out = PathBuf::from(value),
                _ => return Err(Error::failed(USAGE)),
            }
        }
        if options.runs == 0 || options.cache_mb < 256 {
            return Err(Error::failed(USAGE));
        }
        if options.out.as_os_str().is_empty() {
            options.out = root().join("benches/results").join(format!("{}.json", today()?));
        }
        Ok(options)
    }

    /// Returns the measurements to make: each scenario with each of its numbers of rows, in the order of the options.
    pub(crate) fn plan(&self) -> Vec<(Scenario, u64)> {
        let sizes = |scenario: Scenario| match &self.rows {
            Some(rows) if scenario.has_any_size() => rows,
            _ => scenario.rows(),
        };
        let planned = |&scenario: &Scenario| sizes(scenario).iter().map(move |&rows| (scenario, rows));
        self.scenarios.iter().flat_map(planned).collect()
    }

    /// Returns true if the options select this contender.
    pub(crate) fn admits(&self, name: &str) -> bool {
        self.contenders.is_empty() || self.contenders.iter().any(|wanted| name.starts_with(wanted.as_str()))
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    text.split(',').map(parse).collect()
}

/// Parses a whole number. Underscores are permitted, as in Rust.
fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.replace('_', "").parse().map_err(|_| Error::failed(format!("`{text}` is not a number, or too large\n{USAGE}")))
}

fn scenario(name: &str) -> Result<Scenario> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    found.ok_or_else(|| Error::failed(format!("there is no scenario `{name}`\n{USAGE}")))
}

fn today() -> Result<String> {
    let output =
        Command::new("date").args(["-u", "+%Y-%m-%d-%H%M"]).output().doing(|| "asking for the date".to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let options = Options::parse(&["--rows", "1_000,20", "--only", "load,cache", "--contenders", "mongo"]);
        let options = options.expect("valid");
        assert_eq!(options.plan(), [(Scenario::Load, 1000), (Scenario::Load, 20), (Scenario::Cache, 4_000_000)]);
        let plan = Options::parse(&[]).expect("valid").plan();
        assert!(
            [(Scenario::Load, 10_000_000), (Scenario::Ready, 1_000_000)].iter().all(|wanted| plan.contains(wanted))
        );
        assert!(options.admits("mongoimport -j 4") && !options.admits("medlift"));
        assert!(!Options::parse(&["--duplicates", "no"]).expect("valid").has_duplicates);
        for wrong in [
            &["--rows"][..],
            &["--duplicates", "some"],
            &["--rows", "many"],
            &["--only", "x"],
            &["--runs", "0"],
            &["--nonsense", "1"],
        ] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
