//! The scenario `workers`: loads one table in parts, in two ways: by one process, and by several workers that start at
//! the same moment. Each way is measured with as many parts as there are workers, and with many small parts. The
//! difference shows how much time a part costs in addition to its rows.

use std::path::{Path, PathBuf};

use crate::contender::{Contender, Tools};
use crate::outcome::{self, Sample, median, quartile};
use testkit::{Doing, Error, Result};

const WORKERS: u64 = 3;
const MANY_PARTS: u64 = 30;
/// The default size of a part.
const PART_BYTES: f64 = 256.0 * 1024.0 * 1024.0;

/// Returns the contenders, in pairs: one process, and several workers.
pub(crate) fn contenders(tools: &Tools<'_>, csv: &Path) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    for wanted in [WORKERS, MANY_PARTS] {
        let (manifest, parts) = tools.inputs.manifest(csv, &tools.inputs.plain_spec()?, wanted)?;
        for (workers, who) in [(1, "one process".to_owned()), (WORKERS, format!("{WORKERS} workers"))] {
            contenders.push(tools.workers(&format!("{who}, {parts} parts"), &manifest, &rejects(tools), workers));
        }
    }
    Ok(contenders)
}

/// Returns a worker that loads one row. A row takes almost no time, so the measured time is that of the start, one part
/// and the end of a load.
pub(crate) fn one_row(tools: &Tools<'_>) -> Result<Contender> {
    let (manifest, _) = tools.inputs.manifest(&tools.inputs.csv(1)?, &tools.inputs.plain_spec()?, 1)?;
    Ok(tools.workers("worker with one row", &manifest, &rejects(tools), 1))
}

fn rejects(tools: &Tools<'_>) -> PathBuf {
    tools.inputs.dir.join("rejects")
}

/// Compares the results of the contenders. Returns no findings if some of the contenders were not measured.
pub(crate) fn findings(csv: &Path, rows: u64, results: &[outcome::Result]) -> Result<Vec<(String, f64)>> {
    let [one, several, one_many, several_many] = results else { return Ok(Vec::new()) };
    let bytes = csv.metadata().doing(|| format!("reading {}", csv.display()))?.len() as f64;
    let mut findings = Vec::new();
    for result in [one, several] {
        let seconds = |quarters| quartile(result.samples.iter().map(|sample| sample.seconds).collect(), quarters);
        for (name, quarters) in [("lower quartile", 1), ("median", 2), ("upper quartile", 3)] {
            findings.push((format!("{}: seconds, {name}", result.name), seconds(quarters)));
        }
    }
    let ratios = one.samples.iter().zip(&several.samples).map(|(one, several)| several.seconds / one.seconds);
    findings.push((format!("{WORKERS} workers / one process, ratio of the medians"), seconds(several) / seconds(one)));
    findings.push((format!("{WORKERS} workers / one process, median of the turns' ratios"), median(ratios.collect())));
    for worker in 0..WORKERS as usize {
        let peaks = several.samples.iter().filter_map(|sample| sample.peaks_mb.get(worker)).copied();
        findings.push((format!("worker {worker}: highest memory, MB"), peaks.fold(0.0, f64::max)));
    }
    findings.push((
        format!("{WORKERS} workers: seconds until the last worker notices the end of the load, median"),
        several.median(|sample| sample.last_seconds - sample.seconds),
    ));
    for (few, many) in [(one, one_many), (several, several_many)] {
        let cost = seconds_per_part(few, many)?;
        let share = 100.0 * cost / (cost + seconds(few) * PART_BYTES / bytes);
        let who = few.name.split(',').next().unwrap_or_default();
        findings.push((format!("{who}: seconds to take, begin and end a part"), cost));
        findings.push((format!("{who}: the same for a part of 256 MiB, % of its time"), share));
    }
    findings.push((format!("rows per second, {}", one.name), rows as f64 / seconds(one)));
    Ok(findings)
}

fn seconds(result: &outcome::Result) -> f64 {
    result.median(|sample: &Sample| sample.seconds)
}

/// Returns how many seconds each additional part costs. The two contenders load the same rows in few and in many parts.
fn seconds_per_part(few: &outcome::Result, many: &outcome::Result) -> Result<f64> {
    let (few_parts, many_parts) = (parts(few)?, parts(many)?);
    Ok((seconds(many) - seconds(few)) / (many_parts - few_parts).max(1.0))
}

/// Returns the number of parts, which is in the name of the contender.
fn parts(result: &outcome::Result) -> Result<f64> {
    let number = result.name.rsplit(' ').nth(1).and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::failed(format!("the name of the contender `{}` has no number of parts", result.name)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::inputs::Inputs;
    use crate::options::Options;
    use crate::scenario::{self, Scenario};

    #[test]
    fn a_small_table_is_loaded_by_one_process_and_by_three_workers() {
        let dir = tempfile::tempdir().expect("a directory");
        let inputs = Inputs::built("dev", dir.path()).expect("builds");
        let options = Options::parse(&["--runs", "1", "--cache-mb", "256"]).expect("valid");
        let outcome = scenario::run(Scenario::Workers, 30_000, &options, &inputs)
            .expect("measures")
            .expect("the source can be made");
        let names: Vec<&str> = outcome.results.iter().map(|result| result.name.as_str()).collect();
        assert_eq!(names, ["one process, 3 parts", "3 workers, 3 parts", "one process, 5 parts", "3 workers, 5 parts"]);
        let documents: Vec<i64> = outcome.results.iter().map(|result| result.samples[0].documents).collect();
        assert!(documents[0] > 29_000 && documents.iter().all(|count| *count == documents[0]), "{documents:?}");
        let processes: Vec<usize> = outcome.results.iter().map(|result| result.samples[0].peaks_mb.len()).collect();
        assert_eq!(processes, [1, 3, 1, 3]);
        let findings: BTreeMap<String, f64> = outcome.findings.into_iter().collect();
        assert!(findings["3 workers / one process, ratio of the medians"] > 0.0);
        assert!(findings["worker 2: highest memory, MB"] > 0.0 && findings.values().all(|value| value.is_finite()));
    }

    #[test]
    fn the_cost_of_a_part_is_the_difference_between_few_and_many() {
        let result = |name: &str, seconds| {
            let sample = Sample { seconds, ..Sample::default() };
            outcome::Result { name: name.to_owned(), commands: Vec::new(), samples: vec![sample] }
        };
        let cost = seconds_per_part(&result("one process, 3 parts", 5.0), &result("one process, 13 parts", 6.0));
        assert!((cost.expect("named") - 0.1).abs() < 1e-9);
        assert!(parts(&result("floor", 1.0)).is_err());
    }
}
