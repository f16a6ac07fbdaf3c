//! Measures the constants of the model with the benchmark, and compares the model with real loads.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Doing, Error, Result, target_dir};

use super::constants::{Constants, markdown};
use super::costs::{Costs, Place};
use super::simulation::{Setup, simulate};
use crate::bench;

/// One load outgrows the cache of its server: the cache has only 256 MB, and the load has this many times the rows of
/// the others.
const LARGE: u64 = 4;
/// The benchmark sends this number of updates to its ledger, and reads this number of documents: 1,000 in each of 50
/// reads.
const UPDATES: f64 = 1_000.0;
const READ_DOCUMENTS: f64 = 50.0 * 1_000.0;
/// With fewer pages read, the cost of a page cannot be measured, and the earlier value stays.
const PAGES_MIN: f64 = 10_000.0;
/// Constants that were measured with fewer rows are not written to the file.
const KEPT_ROWS: u64 = 1_000_000;
const DIFFERENCE_MAX: f64 = 0.15;
const WORKER_NUMBERS: [usize; 2] = [1, 3];
const PARTS: u64 = 3;

/// The results of one scenario of the benchmark.
struct Bench(Value);

impl Bench {
    /// Runs the benchmark, unless `again` is true: then takes the results of the last run.
    fn run(name: &str, again: bool, arguments: &[&str]) -> Result<Self> {
        let file = dir()?.join(format!("{name}.json"));
        let out = file.display().to_string();
        if !again {
            bench::run(&[arguments, &["--out", &out]].concat())?;
        }
        let doing = || format!("reading {out}");
        let text = fs::read_to_string(&file).doing(doing)?;
        serde_json::from_str(&text).map(Self).map_err(|error| Error::failed(format!("{}: {error}", doing())))
    }

    /// Returns the median of a value over the runs of the contender whose name begins with `contender`. `pointer` is a
    /// JSON pointer into the result of a run.
    fn median(&self, contender: &str, pointer: &str) -> Result<f64> {
        let results = self.0["scenarios"][0]["results"].as_array();
        let mut named = results.into_iter().flatten();
        let result = named.find(|result| result["contender"].as_str().is_some_and(|name| name.starts_with(contender)));
        let runs = result.and_then(|result| result["runs"].as_array());
        let mut values: Vec<f64> =
            runs.into_iter().flatten().filter_map(|run| run.pointer(pointer)?.as_f64()).collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied();
        median.ok_or_else(|| Error::failed(format!("the benchmark has no result {pointer} of {contender}")))
    }

    fn finding(&self, name: &str) -> Result<f64> {
        let findings = self.0["scenarios"][0]["findings"].as_array().into_iter().flatten();
        let mut named = findings.filter(|finding| finding[0] == name);
        let value = named.find_map(|finding| finding[1].as_f64());
        value.ok_or_else(|| Error::failed(format!("the benchmark has no finding `{name}`")))
    }

    /// Returns the factor by which other programs made the contender slower. The contender must need all cores.
    fn slowdown(&self, contender: &str) -> Result<f64> {
        let cores = self.cores() as f64;
        let others = self.median(contender, "/other_cpu_seconds")? / self.median(contender, "/seconds")?;
        Ok(cores / (cores - others).max(cores / 8.0))
    }

    fn cores(&self) -> usize {
        self.0["machine"]["cores"].as_u64().unwrap_or(1) as usize
    }
}

/// Measures the constants, and compares the model with real loads of `rows` rows. Writes the constants to their file if
/// `rows` is at least `KEPT_ROWS`. Returns the comparison as Markdown. If `again` is true, takes the measurements of the
/// last run in place of new ones.
pub(super) fn validate(rows: u64, again: bool) -> Result<String> {
    let (large, rows_text) = ((rows * LARGE).to_string(), rows.to_string());
    let bench = |name, scenario, rows, more: &[&str]| {
        let arguments = ["--only", scenario, "--rows", rows, "--duplicates", "no"];
        Bench::run(name, again, &[&arguments[..], more].concat())
    };
    let small = bench("constants", "constants", &rows_text, &["--runs", "3"])?;
    let one_large = ["--runs", "1", "--cache-mb", "256", "--contenders", "medlift load"];
    let outgrown = bench("outgrown", "constants", &large, &one_large)?;
    let workers = bench("workers", "workers", &rows_text, &["--runs", "3"])?;
    let mut constants = Constants::read()?;
    take(&mut constants, rows, &small, &outgrown, &workers)?;
    if rows >= KEPT_ROWS {
        constants.write()?;
    }
    compare(&constants, rows, &workers)
}

/// Computes the constants from the results of the benchmark.
fn take(constants: &mut Constants, rows: u64, small: &Bench, outgrown: &Bench, workers: &Bench) -> Result<()> {
    let micros = |seconds: f64, count: f64| seconds * 1e6 / count;
    let load = |pointer: &str| small.median("medlift load", pointer);
    let large = |pointer: &str| outgrown.median("medlift load", pointer);
    let (documents, server_cpu) = (load("/documents")?, load("/server_cpu_seconds")?);
    let part_seconds = workers.finding("one process: seconds to take, begin and end a part")?.max(0.0);
    let part_seconds = part_seconds / workers.slowdown("one process, ")?;
    let all_cpu = load("/cpu_seconds")? + server_cpu + load("/other_cpu_seconds")?;
    let (updates, one_row) = ("ledger updates", "worker with one row");
    let start_seconds = small.median(one_row, "/seconds")? / small.slowdown(one_row)?;
    for (name, value) in [
        ("cores_used_share", (all_cpu / (load("/seconds")? * small.cores() as f64)).min(1.0)),
        ("worker_cpu_us_per_row", micros(load("/cpu_seconds")?, rows as f64)),
        ("server_cpu_us_per_document", micros(server_cpu, documents)),
        ("disk_bytes_per_document", load("/storage/bytes_written")? / documents),
        ("document_bytes", load("/storage/document_bytes")?),
        ("id_index_bytes_per_document", large("/storage/id_index_bytes")? / large("/documents")?),
        ("worker_start_seconds", (start_seconds - part_seconds).max(0.0)),
        ("part_seconds", part_seconds),
        ("ledger_update_ms", small.median(updates, "/writing_seconds")? * 1e3 / UPDATES),
        ("ledger_update_cpu_us", micros(small.median(updates, "/server_cpu_seconds")?, UPDATES)),
        ("ledger_read_us_per_document", micros(small.median("ledger reads", "/writing_seconds")?, READ_DOCUMENTS)),
    ] {
        constants.set(name, value);
    }
    let pages = large("/storage/pages_read")?;
    constants.set_about(json!({ "machine": workers.0["machine"], "versions": workers.0["versions"] }));
    if pages < PAGES_MIN {
        return Ok(());
    }
    constants.set("page_factor", 1.0);
    let costs = Costs::new(constants, &here(constants, 256.0, 1.0), 1, 5_000.0);
    constants.set("page_factor", pages / costs.pages_read_in_all(large("/documents")?));
    let more_cpu = large("/server_cpu_seconds")? - server_cpu / documents * large("/documents")?;
    constants.set("server_cpu_us_per_page_read", micros(more_cpu.max(0.0), pages));
    Ok(())
}

/// This machine: server and workers use the same cores, and the file is in the page cache.
fn here(constants: &Constants, cache_mb: f64, slowdown: f64) -> Place {
    Place {
        cache_bytes: cache_mb * f64::from(1 << 20),
        disk_operations_per_s: f64::INFINITY,
        disk_bytes_per_s: f64::INFINITY,
        page_seconds: 0.0,
        source_bytes_per_s: f64::INFINITY,
        commit_seconds: constants.get("ledger_update_ms") / 1e3,
        slowdown,
    }
}

fn compare(constants: &Constants, rows: u64, bench: &Bench) -> Result<String> {
    let (mut lines, mut is_close) = (Vec::new(), true);
    for workers in WORKER_NUMBERS {
        let contender = if workers == 1 { "one process, ".to_owned() } else { format!("{workers} workers, ") };
        let measured = bench.median(&contender, "/seconds")?;
        let slowdown = bench.slowdown(&contender)?;
        let predicted = predict(constants, rows, workers, bench.cores(), slowdown);
        let difference = predicted / measured - 1.0;
        is_close &= difference.abs() <= DIFFERENCE_MAX;
        let numbers = [format!("{measured:.2}"), format!("{predicted:.2}"), format!("{:+.0} %", 100.0 * difference)];
        lines.push([vec![workers.to_string()], numbers.into(), vec![format!("{slowdown:.2}")]].concat());
    }
    let costs = Costs::new(constants, &here(constants, 1_024.0, 1.0), 1, 5_000.0);
    let pages = costs.pages_read_in_all(1e7);
    let head = ["workers", "measured, s", "model, s", "difference", "slowdown by other programs"];
    let text = format!(
        "{}\nPages that the server reads for 10 million rows with a cache of 1,024 MB: {pages:.0} in the model, about \
         340,000 measured ([performance.md](performance.md)).\n",
        markdown(&head, lines)
    );
    println!("{text}");
    if is_close { Ok(text) } else { Err(Error::failed("the model differs from a real load by more than 15 %")) }
}

/// Returns the seconds that the model computes for a load of three parts on this machine.
fn predict(constants: &Constants, rows: u64, workers: usize, cores: usize, slowdown: f64) -> f64 {
    let place = here(constants, 1_024.0, slowdown);
    let costs = Costs::new(constants, &place, 1, 5_000.0);
    let setup = Setup {
        rows,
        part_rows: rows.div_ceil(PARTS),
        shards: 1,
        workers,
        worker_cores: cores,
        shard_cores: cores,
        is_one_machine: true,
        in_flight: cores.clamp(2, 4),
        writers_max: None,
        lease_seconds: 30.0,
        failures_per_hour: 0.0,
        start_seconds: constants.get("worker_start_seconds") * place.slowdown,
        seed: 1,
    };
    simulate(&setup, &costs).seconds
}

fn dir() -> Result<PathBuf> {
    let dir = target_dir().join("model");
    fs::create_dir_all(&dir).doing(|| format!("creating {}", dir.display())).map(|()| dir)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are read as they were written")]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_the_results_of_the_benchmark() {
        let run = |seconds: f64| json!({ "seconds": seconds, "storage": { "pages_read": 7 } });
        let results = json!([{ "contender": "3 workers, 3 parts", "runs": [run(3.0), run(1.0), run(2.0)] }]);
        let bench = Bench(json!({ "scenarios": [{ "results": results, "findings": [["a", 1.5]] }] }));
        assert_eq!(bench.median("3 workers", "/seconds").expect("found"), 2.0);
        assert_eq!(bench.median("3 workers", "/storage/pages_read").expect("found"), 7.0);
        assert_eq!(bench.finding("a").expect("found"), 1.5);
        assert!(bench.median("x", "/seconds").is_err() && bench.finding("b").is_err());
    }

    #[test]
    fn other_programs_make_a_load_slower() {
        let constants = Constants::read().expect("reads");
        let seconds = |slowdown| predict(&constants, 100_000, 1, 2, slowdown);
        assert!(seconds(2.0) > 1.5 * seconds(1.0));
        let all_cpu = 0.1 * (constants.get("worker_cpu_us_per_row") + constants.get("server_cpu_us_per_document"));
        assert!(seconds(1.0) > all_cpu / 2.0, "two cores cannot be faster than their sum");
    }
}
