//! Checks the templates of `deploy/aws` without an AWS account. The checks are Python programs in `deploy/aws/check`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::left_out;
use testkit::{Doing, Error, Result, root};

/// If a line of the checks' output begins with this text, the rest of the line names a check that was not possible.
const NOT_CHECKED: &str = "NOT CHECKED: ";

/// Runs the named sections of the checks. If no section is named, runs all.
pub fn run(sections: &[&str]) -> Result<()> {
    let mut command = Command::new("python3");
    command.arg("-u").arg(root().join("deploy/aws/check/run.py")).args(sections);
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.doing(|| "running python3, which the checks of deploy/aws need".to_owned())?;
    let output = child.stdout.take().ok_or_else(|| Error::failed("the checks have no output"))?;
    for line in BufReader::new(output).lines() {
        let line = line.doing(|| "reading the output of the checks".to_owned())?;
        match not_checked(&line) {
            Some(what) => left_out::report(&format!("deploy/aws: {what}")),
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait().doing(|| "waiting for the checks".to_owned())?;
    if status.success() { Ok(()) } else { Err(Error::failed("the checks of deploy/aws failed")) }
}

fn not_checked(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix(NOT_CHECKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_say_what_was_not_checked() {
        assert_eq!(not_checked("NOT CHECKED: stack: Python 3.13"), Some("stack: Python 3.13"));
        assert_eq!(not_checked("  NOT CHECKED: a load"), Some("a load"));
        assert_eq!(not_checked("50 mutants, 0 NOT CHECKED: "), None);
    }
}
