//! Developer commands: `cargo xtask mongod | demo | test | ci`.

use std::env;
use std::process::ExitCode;

use xtask::{Error, Result};

const USAGE: &str = "usage: cargo xtask mongod    print the path of a mongod, fetched if there is none";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["mongod"] => println!("{}", xtask::mongod::find()?.display()),
        _ => return Err(Error::failed(USAGE)),
    }
    Ok(())
}
