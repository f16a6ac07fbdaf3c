//! The command line of the developer commands.

use std::process::ExitCode;

use testkit::{Error, Result, mongod};
use xtask::{bench, ci, compose_test, demo, deny, mutants, sbom, tidy};

const USAGE: &str = "usage: cargo xtask COMMAND
  demo [--stop]   start a private mongod, load and verify a sample, show it; or stop it and clean up
  test, ci        everything that CI runs: format, tidy, clippy, tests, docs, deny, containers
  mongod          print the path of a mongod, fetched if there is none
  tidy            check the source against the project's rules
  deny            hold the dependencies to deny.toml
  sbom            write what the image holds to target/medlift.cdx.json (CycloneDX)
  compose-test    build the containers, bring the stack up, test it and take it down
  mutants [OPTION] change the program in one place at a time and see which tests notice; mutants --help lists the options
  bench [OPTION]  measure loads beside the server's floor and other tools; bench --help lists the options";

fn main() -> ExitCode {
    testkit::run_program(run)
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["demo"] => demo::run(),
        ["demo", "--stop"] => demo::stop(),
        ["test" | "ci"] => ci::run(),
        ["mongod"] => mongod::find().map(|path| println!("{}", path.display())),
        ["tidy"] => tidy::run(),
        ["deny"] => deny::run(),
        ["sbom"] => sbom::run(),
        ["compose-test"] => compose_test::run(),
        ["mutants", arguments @ ..] => mutants::run(arguments),
        ["bench", arguments @ ..] => bench::run(arguments),
        _ => Err(Error::failed(USAGE)),
    }
}
