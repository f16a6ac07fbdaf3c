//! A model of loads that are too large to try: 10 billion rows, up to 64 shards, up to 1,000 workers. It simulates the
//! workers, the shards and the ledger with constants that were measured here, and writes the results into
//! docs/scale.md.

mod chart;
mod constants;
mod costs;
mod measure;
mod simulation;
mod station;

use std::fs;

use testkit::{Doing, Error, Result, root};

use chart::Line;
use constants::{Constants, Prices, markdown, whole};
use costs::{Costs, Place};
use simulation::{Outcome, Setup, simulate};

const ROWS: u64 = 10_000_000_000;
const SHARDS: [usize; 4] = [1, 4, 16, 64];
const WORKERS: [usize; 7] = [1, 3, 10, 30, 100, 300, 1_000];
const PART_BYTES: f64 = 256.0 * 1_048_576.0;
const BATCH_ROWS: f64 = 5_000.0;
const VALIDATION_ROWS: u64 = 1_000_000;
const DOCUMENT: &str = "docs/scale.md";
const CHART: &str = "docs/scale.svg";

/// The constants and the prices that all simulations use.
struct World {
    constants: Constants,
    prices: Prices,
}

/// Without arguments, simulates all loads and writes the results. With `--validate`, measures the constants and
/// compares the model with real loads, of 1 million rows or of the number of rows in the second argument. With `again`
/// as second argument, takes the measurements of the last `--validate`.
pub fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => {
            let world = World { constants: Constants::read()?, prices: Prices::read()? };
            world.report()
        }
        ["--validate"] => write_section("validation", &measure::validate(VALIDATION_ROWS, false)?),
        ["--validate", "again"] => write_section("validation", &measure::validate(VALIDATION_ROWS, true)?),
        ["--validate", rows] => {
            let rows = rows.parse().map_err(|_| Error::failed(format!("`{rows}` is not a number of rows")))?;
            measure::validate(rows, false).map(drop)
        }
        _ => Err(Error::failed("usage: cargo xtask model [--validate [ROWS|again]]")),
    }
}

impl World {
    fn report(&self) -> Result<()> {
        let outcomes = WORKERS.map(|workers| {
            let of_workers = SHARDS.map(|shards| self.simulate(&self.setup(shards, workers), BATCH_ROWS));
            (workers, of_workers)
        });
        let head = ["workers".to_owned()].into_iter().chain(SHARDS.map(named)).collect::<Vec<_>>();
        let table =
            markdown(&head.iter().map(String::as_str).collect::<Vec<_>>(), outcomes.iter().map(|row| self.row(row)));
        let line = |(index, shards): (usize, usize)| {
            let points = outcomes.iter().map(|(workers, row)| (*workers as f64, row[index].seconds / 3_600.0));
            Line { name: named(shards), points: points.collect() }
        };
        let lines: Vec<Line> = SHARDS.into_iter().enumerate().map(line).collect();
        let svg = chart::svg("Time to load 10 billion rows, by the model", &lines);
        fs::write(root().join(CHART), svg).doing(|| format!("writing {CHART}"))?;
        let settings = self.settings();
        println!("{table}\n{settings}");
        write_section("results", &table)?;
        write_section("settings", &settings)?;
        write_section("constants", &self.constants.table())
    }

    /// Returns the cells for one number of workers: time, price and limit for each number of shards.
    fn row(&self, (workers, outcomes): &(usize, [Outcome; SHARDS.len()])) -> Vec<String> {
        let cell = |(shards, outcome): (usize, &Outcome)| {
            let hour = shards as f64 * self.prices.shard_hour + *workers as f64 * self.prices.worker_hour;
            let dollars = hour * outcome.seconds / 3_600.0;
            let limit = outcome.limit().unwrap_or("waiting for acknowledgements");
            format!("{}, ${dollars:.0}, {limit}", duration(outcome.seconds))
        };
        [workers.to_string()].into_iter().chain(SHARDS.into_iter().zip(outcomes).map(cell)).collect()
    }

    /// Varies one setting at a time.
    fn settings(&self) -> String {
        let base = || Setup { failures_per_hour: 1.0, ..self.setup(64, 100) };
        let lease = |lease_seconds| Setup { lease_seconds, ..base() };
        let part = |mib| Setup { part_rows: base().part_rows * mib / 256, ..base() };
        let writers = |writers| Setup { writers_max: Some(writers), ..base() };
        let crowd = |workers| Setup { workers, ..base() };
        let leases =
            [5.0, 30.0, 60.0, 300.0, 1_800.0].map(|s| (format!("`--lease-seconds {s}`"), lease(s), BATCH_ROWS));
        let batches = [100.0, 500.0, 5_000.0, 20_000.0].map(|rows| (format!("`--batch-size {rows}`"), base(), rows));
        let parts = [32, 256, 2_048].map(|mib| (format!("`--part-size {mib}`"), part(mib), BATCH_ROWS));
        let tokens = [16, 64, 256].map(|count| (format!("`--writers-max {count}`"), writers(count), BATCH_ROWS));
        let crowds = [300, 1_000].map(|workers| (format!("{workers} workers"), crowd(workers), BATCH_ROWS));
        let lines = leases.into_iter().chain(batches).chain(parts).chain(tokens).chain(crowds).map(
            |(name, setup, batch_rows)| {
                let outcome = self.simulate(&setup, batch_rows);
                let polling = format!("{:.0} %", 100.0 * outcome.polling);
                vec![name, duration(outcome.seconds), outcome.failures.to_string(), polling]
            },
        );
        markdown(&["setting", "time", "failures", "largest share of the ledger for polling"], lines)
    }

    fn simulate(&self, setup: &Setup, batch_rows: f64) -> Outcome {
        let place = Place::aws(&self.constants, &self.prices);
        simulate(setup, &Costs::new(&self.constants, &place, setup.shards, batch_rows))
    }

    /// The load of 10 billion rows on AWS.
    fn setup(&self, shards: usize, workers: usize) -> Setup {
        Setup {
            rows: ROWS,
            part_rows: whole(PART_BYTES / self.constants.get("row_bytes")),
            shards,
            workers,
            worker_cores: self.prices.worker_cores,
            shard_cores: whole(self.constants.get("shard_cores")) as usize,
            is_one_machine: false,
            in_flight: 4,
            writers_max: None,
            lease_seconds: 30.0,
            failures_per_hour: self.constants.get("failures_per_worker_hour"),
            start_seconds: self.constants.get("container_start_seconds"),
            seed: 1,
        }
    }
}

fn named(shards: usize) -> String {
    if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") }
}

fn duration(seconds: f64) -> String {
    match seconds / 3_600.0 {
        hours if hours < 1.0 => format!("{:.0} min", seconds / 60.0),
        hours if hours < 48.0 => format!("{hours:.1} h"),
        hours => format!("{:.1} d", hours / 24.0),
    }
}

/// Replaces the section of docs/scale.md that is between the comments `<!-- NAME -->` and `<!-- /NAME -->`.
fn write_section(name: &str, text: &str) -> Result<()> {
    let path = root().join(DOCUMENT);
    let old = fs::read_to_string(&path).doing(|| format!("reading {DOCUMENT}"))?;
    let new = with_section(&old, name, text);
    let new = new
        .ok_or_else(|| Error::failed(format!("{DOCUMENT} has no comments `<!-- {name} -->` and `<!-- /{name} -->`")))?;
    fs::write(&path, new).doing(|| format!("writing {DOCUMENT}"))
}

fn with_section(document: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(&format!("<!-- {name} -->\n"))?;
    let (_, after) = rest.split_once(&format!("<!-- /{name} -->"))?;
    Some(format!("{before}<!-- {name} -->\n\n{}\n\n<!-- /{name} -->{after}", text.trim()))
}

#[cfg(test)]
mod tests;
