//! Reads the help texts of the program.

use super::blocks::Command;
use crate::program::medlift;

/// Returns the words of each command: `["load"]`, `["spec"]`, `["spec", "show"]`. The first is `[]`, for `medlift`.
pub(super) fn commands() -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut next = 0;
    while next < all.len() {
        let command = all[next].clone();
        all.extend(subcommands(&command).into_iter().map(|name| [&command[..], &[name]].concat()));
        next += 1;
    }
    all
}

fn subcommands(command: &[String]) -> Vec<String> {
    let text = text(command, 80);
    let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Returns what `--help` prints on a terminal of this width.
pub(super) fn text(command: &[String], columns: usize) -> String {
    let arguments = command.iter().map(String::as_str).chain(["--help"]);
    medlift(arguments).env("COLUMNS", columns.to_string()).run().expect_code(0).stdout
}

/// Returns the commands under `Examples:` in the help of a command.
pub(super) fn examples(command: &[String]) -> Vec<Command> {
    let text = text(command, 110);
    let lines = text.lines().enumerate().skip_while(|(_, line)| *line != "Examples:").skip(1);
    let examples = lines.take_while(|(_, line)| line.starts_with("  "));
    examples.map(|(index, line)| Command { line: index + 1, text: line.trim().to_owned() }).collect()
}
