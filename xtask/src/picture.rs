//! The picture of a terminal in README.md: runs a session with a private mongod and synthetic data, and draws what the
//! commands print.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::mongod::Server;
use testkit::{Doing, Error, Result, root};

use crate::demo;

const FILE: &str = "docs/demo.svg";

/// The commands of the session. The last one shows three columns of the reject file: line, column and reason.
const SESSION: &[&str] = &[
    "medlift generate --rows 100000 --damage heavy --out admissions.csv",
    "medlift load admissions.csv",
    "cut -d, -f1,3,4 admissions.csv.rejects.csv | head -5",
];

/// A load with rejects ends with this exit code. The generated file contains damaged rows on purpose.
const LOADED_WITH_REJECTS: i32 = 4;

const COLUMNS: usize = 108;
const FONT_PX: usize = 13;
const LINE_PX: usize = 17;
const MARGIN_PX: usize = 16;

/// Builds Medlift, runs the session, and writes the picture.
pub fn run() -> Result<()> {
    let medlift = demo::build()?;
    let server = Server::builder().start()?;
    let dir = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    let mut shown = String::new();
    for command in SESSION {
        println!("$ {command}");
        let printed = output(&medlift, &server.uri(), dir.path(), command)?;
        write!(shown, "$ {command}\n{printed}").expect("writing to a String cannot fail");
    }
    fs::write(root().join(FILE), svg(shown.trim_end())).doing(|| format!("writing {FILE}"))?;
    println!("wrote {FILE}");
    Ok(())
}

/// Runs a command line and returns what it prints.
fn output(medlift: &Path, uri: &str, dir: &Path, line: &str) -> Result<String> {
    let script = format!("exec 2>&1; medlift() {{ '{}' \"$@\"; }}; {line}", medlift.display());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(dir).stdin(Stdio::null()).env_clear();
    command.envs(env::var_os("PATH").map(|path| ("PATH", path))).env("MONGODB_URI", uri);
    let output = command.output().doing(|| "running bash".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0 | LOADED_WITH_REJECTS) => Ok(text),
        _ => Err(Error::failed(format!("{line}: {}\n{text}", output.status))),
    }
}

/// Draws the text of a terminal. Lines that begin with `$ ` are commands.
fn svg(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(clipped).collect();
    // A character of a monospaced font is at most 0.62 times as wide as the font is high.
    let width = 2 * MARGIN_PX + COLUMNS * FONT_PX * 62 / 100;
    let height = 2 * MARGIN_PX + lines.len() * LINE_PX;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e2227\"/>\n\
         <g font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"{FONT_PX}\" fill=\"#d5d9de\">\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = MARGIN_PX + index * LINE_PX + FONT_PX;
        let style = if line.starts_with("$ ") { " fill=\"#8fd694\" font-weight=\"bold\"" } else { "" };
        let line = escaped(line);
        writeln!(svg, "<text x=\"{MARGIN_PX}\" y=\"{y}\" xml:space=\"preserve\"{style}>{line}</text>")
            .expect("writing to a String cannot fail");
    }
    svg + "</g>\n</svg>\n"
}

/// Cuts off a line that is wider than the picture.
fn clipped(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_drawn_and_commands_are_marked() {
        let svg = svg("$ medlift load a.csv\n  read   3 & <4>");
        assert_eq!(svg.matches("<text ").count(), 2);
        assert_eq!(svg.matches("font-weight=\"bold\"").count(), 1);
        assert!(svg.contains(">  read   3 &amp; &lt;4&gt;</text>"), "{svg}");
    }

    #[test]
    fn a_long_line_is_cut_off() {
        let long = "é".repeat(COLUMNS + 1);
        assert_eq!(clipped(&long), format!("{}…", "é".repeat(COLUMNS - 1)));
        assert_eq!(clipped(&long[2..]), long[2..]);
    }
}
