//! The command line of the developer commands.

use std::process::ExitCode;

use testkit::{Error, Result, mongod};
use xtask::{
    aws_test, bench, ci, compose_test, demo, deny, fuzz, kubernetes, model, mutants, picture, release, slurm_test, tidy,
};

const USAGE: &str = "usage: cargo xtask COMMAND
  demo              start a private mongod, load and verify a sample, show some documents
  demo --stop       stop this mongod and remove all files of the demo
  test, ci          everything that CI runs: format, tidy, clippy, tests, docs, deny, Kubernetes, Slurm, containers, release
  mongod            print the path of a mongod; download one if none is installed
  tidy              check the source against the project's rules
  fuzz [SECONDS] [TARGET…] change sources at random and check how they are read; targets: hl7, plain_json, fhir
  deny              check the dependencies against deny.toml
  compose-test      build the containers, start the stack, test it and remove it
  aws-test [SECTION…] check deploy/aws without an AWS account; sections: static, stack, array, member, load
  kubernetes-check  check the files of deploy/kubernetes against the schema of Kubernetes
  slurm-test        start a Slurm cluster on this machine, and load with an array of tasks, of which some are killed
  release           make and check the files of a release in target/dist: archive, Debian package, wheel, SBOM
  release --dry-run the same, also if the version is not ready to be released
  picture           run a load with synthetic data, and draw the terminal as docs/demo.svg
  mutants [OPTION…] change the program in one place at a time; list changes that no test notices (see mutants --help)
  bench [OPTION…]   compare the speed of loads with the server alone and other tools (see bench --help)
  model             simulate loads of 10 billion rows; write the results into docs/scale.md
  model --validate  measure the constants of the model, and compare the model with real loads on this machine";

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
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        ["deny"] => deny::run(),
        ["compose-test"] => compose_test::run(),
        ["aws-test", sections @ ..] => aws_test::run(sections),
        ["kubernetes-check"] => kubernetes::run(),
        ["slurm-test"] => slurm_test::run(),
        ["release", arguments @ ..] => release::run(arguments),
        ["picture"] => picture::run(),
        ["mutants", arguments @ ..] => mutants::run(arguments),
        ["bench", arguments @ ..] => bench::run(arguments),
        ["model", arguments @ ..] => model::run(arguments),
        _ => Err(Error::failed(USAGE)),
    }
}
