//! The benchmark: Medlift, the server alone (the floor), and common tools. Each scenario with each number of rows has a
//! fresh server.
//!
//! A *contender* is a program that is measured, from the start of its process to the end. Before a contender loads
//! data, the database is dropped. The contenders take turns, so that other work on the machine disturbs all of them
//! equally.

mod contender;
mod feed;
mod inputs;
mod ledger;
mod machine;
mod options;
mod outcome;
mod records;
mod replay;
mod scenario;
mod stand;
mod workers;

use std::fs;
use std::process::ExitCode;

use serde_json::json;

use inputs::Inputs;
use options::Options;
use outcome::Outcome;
use scenario::Scenario;
use testkit::{Doing, Error, Result};

fn main() -> ExitCode {
    testkit::run_program(run)
}

/// Runs the scenarios that the arguments select, prints a table for each, and saves all results as JSON.
fn run(arguments: &[&str]) -> Result<()> {
    if let ["replay", arguments @ ..] = arguments {
        return replay::run(arguments);
    }
    if let ["ledger", arguments @ ..] = arguments {
        return ledger::run(arguments);
    }
    let options = Options::parse(arguments)?;
    let inputs = Inputs::prepare()?;
    let mut outcomes = Vec::new();
    for (scenario, rows) in options.plan() {
        let Some(outcome) = scenario::run(scenario, rows, &options, &inputs)? else { continue };
        println!("\n{}", outcome.table());
        outcomes.push(outcome);
        // Saves after each scenario, so that an interrupted benchmark keeps its finished measurements.
        keep(&options, &inputs, &outcomes)?;
    }
    println!("\nsaved in {}", options.out.display());
    Ok(())
}

fn keep(options: &Options, inputs: &Inputs, outcomes: &[Outcome]) -> Result<()> {
    let result = json!({
        "machine": machine::facts()?,
        "versions": inputs.versions,
        "settings": { "runs": options.runs, "write_concern": "w: majority, j: true", "topology": "one-node replica set" },
        "left_out": inputs.left_out(),
        "scenarios": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    let doing = || format!("writing {}", options.out.display());
    if let Some(dir) = options.out.parent() {
        fs::create_dir_all(dir).doing(doing)?;
    }
    let text = serde_json::to_string_pretty(&result).map_err(|error| Error::failed(format!("{}: {error}", doing())))?;
    fs::write(&options.out, text + "\n").doing(doing)
}
