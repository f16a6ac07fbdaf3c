//! `medlift completions` and `medlift man`: files that packages install beside the program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use medlift::error::Error;

use super::{Cli, output};

const EXAMPLES: &str = "Examples:
  medlift completions bash > medlift.bash
  medlift completions zsh > _medlift";

/// Print a script that completes commands and options in a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<ExitCode, Error> {
        output::write_stdout(&script(self.shell))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "medlift", &mut script);
    script
}

/// Write the manual pages, one for each command
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Existing directory for the pages
    directory: PathBuf,
}

impl ManArgs {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<ExitCode, Error> {
        write_pages(&self.directory).map_err(|error| Error::Output {
            path: self.directory.display().to_string(),
            hint: medlift::outputs::limit_hint(&error),
            error,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_pages(directory: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_script_of_each_shell_completes_commands_and_options() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).expect("text");
            for word in ["load", "verify", "ignore-extra"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().expect("a directory");
        write_pages(dir.path()).expect("writes");
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = dir.path().join(format!("medlift-{}.1", command.get_name()));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
        }
        let page = std::fs::read_to_string(dir.path().join("medlift.1")).expect("reads");
        assert!(page.contains(".TH medlift 1"), "{page}");
    }
}
