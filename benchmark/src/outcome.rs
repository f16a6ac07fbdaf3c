//! The measurements, as a Markdown table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use testkit::root;

/// The cost of one run of a contender.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Time from the start of the process to its end. If several workers share a load, to the end of the worker that
    /// ends the load.
    pub(crate) seconds: f64,
    /// Processor time of all processes of the contender, user and system.
    pub(crate) cpu_seconds: f64,
    /// Peak resident memory of the process, in megabytes. One megabyte is a million bytes. If there are several
    /// processes, of the process with the highest peak.
    pub(crate) peak_mb: f64,
    /// The peak resident memory of each process.
    pub(crate) peaks_mb: Vec<f64>,
    /// Time until the last process ended.
    pub(crate) last_seconds: f64,
    /// Processor time of the server during the run.
    pub(crate) server_cpu_seconds: f64,
    /// Processor time of everything else on the machine during the run. If it is large, the measurement was disturbed.
    pub(crate) other_cpu_seconds: f64,
    /// Time from the first byte read to the last acknowledgement, if the contender reports it.
    pub(crate) writing_seconds: Option<f64>,
    /// Number of documents in the collection after the run.
    pub(crate) documents: i64,
    /// The work of the server's storage engine during the run, as JSON.
    pub(crate) storage: Value,
}

/// All runs of one contender.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) name: String,
    pub(crate) commands: Vec<Vec<String>>,
    pub(crate) samples: Vec<Sample>,
}

/// The results of one scenario. All contenders are compared with the first one.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    pub(crate) rows: u64,
    pub(crate) cache_mb: u32,
    pub(crate) server: String,
    /// Text for the end of the table's heading, for example `; floor in batches of 1000 over 4 connections`. The floor
    /// is the contender that measures the server alone. The text may be empty.
    pub(crate) note: String,
    pub(crate) results: Vec<Result>,
    /// Further numbers that the scenario computes from the results: a description and a value each.
    pub(crate) findings: Vec<(String, f64)>,
}

const HEAD: &str = "\
| contender | s, median | s, range | rows/s | times the first | writing s | CPU s | peak MB | server CPU s | other CPU s | documents |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

impl Result {
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    fn range(&self) -> (f64, f64) {
        let seconds = self.samples.iter().map(|sample| sample.seconds);
        (seconds.clone().fold(f64::INFINITY, f64::min), seconds.fold(0.0, f64::max))
    }

    fn writing_seconds(&self) -> Option<f64> {
        let seconds: Option<Vec<f64>> = self.samples.iter().map(|sample| sample.writing_seconds).collect();
        seconds.filter(|seconds| !seconds.is_empty()).map(median)
    }
}

impl Outcome {
    /// Returns the results as a Markdown table.
    pub(crate) fn table(&self) -> String {
        let runs = self.results.first().map_or(0, |result| result.samples.len());
        let Self { scenario, rows, cache_mb, server, note, .. } = self;
        let mut table =
            format!("{scenario}: {rows} rows, mongod {server}, cache of {cache_mb} MB, {runs} runs{note}\n\n{HEAD}");
        for result in &self.results {
            self.write_line(result, &mut table);
        }
        if !self.findings.is_empty() {
            table.push_str("\n| finding | value |\n|---|--:|\n");
        }
        for (finding, value) in &self.findings {
            writeln!(table, "| {finding} | {value:.3} |").expect("writing to a String never fails");
        }
        table
    }

    fn write_line(&self, result: &Result, table: &mut String) {
        let (least, most) = result.range();
        let seconds = result.median(|sample| sample.seconds);
        let writing = result.writing_seconds().map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        let documents = result.samples.last().map_or(0, |sample| sample.documents);
        writeln!(
            table,
            "| {} | {seconds:.2} | {least:.2}–{most:.2} | {:.0} | {:.2} | {writing} | {:.2} | {:.0} | {:.2} | {:.2} | {documents} |",
            result.name,
            self.rows as f64 / seconds,
            seconds / self.first_seconds(),
            result.median(|sample| sample.cpu_seconds),
            result.median(|sample| sample.peak_mb),
            result.median(|sample| sample.server_cpu_seconds),
            result.median(|sample| sample.other_cpu_seconds),
        )
        .expect("writing to a String never fails");
    }

    fn first_seconds(&self) -> f64 {
        self.results.first().map_or(f64::NAN, |first| first.median(|sample| sample.seconds))
    }

    pub(crate) fn json(&self) -> Value {
        let results = self.results.iter().map(|result| {
            json!({
                "contender": result.name,
                "command": result.commands.first().map(|command| below_root(command)),
                "beside": result.commands.iter().skip(1).map(|command| below_root(command)).collect::<Vec<_>>(),
                "median_seconds": result.median(|sample| sample.seconds),
                "times_the_first": result.median(|sample| sample.seconds) / self.first_seconds(),
                "runs": result.samples.iter().map(Sample::json).collect::<Vec<_>>(),
            })
        });
        json!({
            "scenario": self.scenario,
            "rows": self.rows,
            "server": { "mongod": self.server, "cache_mb": self.cache_mb },
            "note": self.note,
            "results": results.collect::<Vec<_>>(),
            "findings": self.findings.iter().map(|(finding, value)| json!([finding, value])).collect::<Vec<_>>(),
        })
    }
}

impl Sample {
    fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_mb": self.peak_mb,
            "server_cpu_seconds": self.server_cpu_seconds,
            "other_cpu_seconds": self.other_cpu_seconds,
            "writing_seconds": self.writing_seconds,
            "documents": self.documents,
            "peaks_mb": self.peaks_mb,
            "last_seconds": self.last_seconds,
            "storage": self.storage,
        })
    }
}

/// Removes the path of the repository from a command, because paths of this machine are private.
fn below_root(command: &[String]) -> Vec<String> {
    command.iter().map(|argument| argument.replace(&format!("{}/", root().display()), "")).collect()
}

/// Returns the middle value, or the mean of the two middle values.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    quartile(values, 2)
}

/// Returns a quartile of the values: for `quarters` 1 the lower quartile, for 2 the median, for 3 the upper quartile.
/// Interpolates between two values.
pub(crate) fn quartile(mut values: Vec<f64>, quarters: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let (below, rest) = (last * quarters / 4, last * quarters % 4);
    values[below] + (values[last.min(below + 1)] - values[below]) * rest as f64 / 4.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let check = |values: &[f64], expected: f64| assert!((median(values.into()) - expected).abs() < 1e-12);
        check(&[3.0, 1.0, 2.0], 2.0);
        check(&[4.0, 1.0, 2.0, 3.0], 2.5);
        assert!(median(Vec::new()).is_nan());
        assert!((quartile(vec![5.0, 1.0, 2.0, 4.0, 3.0], 1) - 2.0).abs() < 1e-12);
        assert!((quartile(vec![1.0, 2.0], 3) - 1.75).abs() < 1e-12);
    }

    #[test]
    fn results_do_not_contain_the_path_of_the_repository() {
        let program = root().join("target/release/medlift").display().to_string();
        assert_eq!(below_root(&[program, "--json".into()]), ["target/release/medlift", "--json"]);
    }

    #[test]
    fn the_table_compares_with_the_first() {
        let result = |name: &str, seconds: f64| {
            let sample = Sample {
                seconds,
                cpu_seconds: 1.0,
                peak_mb: 2.0,
                server_cpu_seconds: 3.0,
                documents: 9,
                ..Sample::default()
            };
            Result { name: name.into(), commands: Vec::new(), samples: vec![sample] }
        };
        let results = vec![result("floor", 2.0), result("load", 2.5)];
        let note = String::new();
        let findings = Vec::new();
        let mut outcome =
            Outcome { scenario: "load", rows: 1000, cache_mb: 1, server: "6".into(), note, results, findings };
        assert!(
            outcome.table().ends_with("| load | 2.50 | 2.50–2.50 | 400 | 1.25 |  | 1.00 | 2 | 3.00 | 0.00 | 9 |\n")
        );
        outcome.findings.push(("ratio".into(), 1.25));
        assert!(outcome.table().ends_with("\n| finding | value |\n|---|--:|\n| ratio | 1.250 |\n"));
        assert_eq!(outcome.json()["results"][1]["times_the_first"], 1.25);
    }
}
