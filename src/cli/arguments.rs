//! Parses the command line. No message shows a password from the command line.
//!
//! A connection string can contain a password. If a user misspells the connection string or writes it in the wrong
//! place, clap would quote it in an error. Therefore clap's errors are made from a copy of the arguments without
//! passwords. If another option gets a connection string by mistake, Medlift refuses the option and does not show its
//! value.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use medlift::error::Error;
use medlift::server::may_hold_password;

use super::{Cli, output};

/// The text that is shown in place of an argument that may contain a password.
const HIDDEN: &str = "***";

/// The ids of the arguments that may contain a connection string or a password.
const MAY_HOLD_PASSWORDS: [&str; 4] = ["uri", "password", "positional", "sources"];

/// The result of parsing the command line.
pub(super) enum Parsed {
    /// The command to run.
    Command(Cli),
    /// There is no command to run, because help or an error was shown.
    Ended(ExitCode),
}

/// Parses the arguments. The first of them is the name of the program.
///
/// # Errors
/// The value of an option looks like a connection string, but the option is not for connection strings. Or the help
/// cannot be written.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Parsed, Error> {
    let arguments = with_kebab_case(arguments);
    let matches = match Cli::command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return show(&error, &arguments).map(Parsed::Ended),
    };
    refuse_connection_strings(&matches)?;
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok(Parsed::Command(cli)),
        Err(error) => show(&error, &arguments).map(Parsed::Ended),
    }
}

/// Writes help to standard output, or an error to standard error. Returns the exit code.
fn show(error: &clap::Error, arguments: &[OsString]) -> Result<ExitCode, Error> {
    if !error.use_stderr() {
        output::write_stdout(error.render().to_string().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = without_passwords(arguments);
    let text = if shown == arguments {
        error.render().to_string()
    } else {
        match Cli::command().try_get_matches_from(&shown) {
            Err(error) => error.render().to_string(),
            Ok(_) => {
                "error: an argument has a wrong value; the value is not shown, because it may contain a password\n"
                    .to_owned()
            }
        }
    };
    output::tell_as_it_is(&text);
    Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
}

/// Returns a copy of the arguments. Everything that may be a password is replaced by `***`.
fn without_passwords(arguments: &[OsString]) -> Vec<OsString> {
    let mut is_password_next = false;
    arguments
        .iter()
        .map(|argument| {
            let text = argument.to_string_lossy();
            let follows_option = std::mem::replace(&mut is_password_next, matches!(&*text, "-p" | "--password"));
            hide(&text, follows_option).map_or_else(|| argument.clone(), OsString::from)
        })
        .collect()
}

/// Returns the text that is shown for an argument that may contain a password. Returns `None` for other arguments.
fn hide(text: &str, follows_password_option: bool) -> Option<String> {
    if let Some((name, value)) = text.split_once('=').filter(|(name, _)| name.starts_with('-')) {
        return (name == "--password" || may_hold_password(value) || may_hold_password(name))
            .then(|| if may_hold_password(name) { HIDDEN.to_owned() } else { format!("{name}={HIDDEN}") });
    }
    if text.starts_with("-p") && text.len() > 2 {
        return Some(format!("-p{HIDDEN}"));
    }
    let is_password = follows_password_option && !text.starts_with('-');
    (is_password || may_hold_password(text)).then(|| HIDDEN.to_owned())
}

fn refuse_connection_strings(matches: &ArgMatches) -> Result<(), Error> {
    if let Some((_, inner)) = matches.subcommand() {
        refuse_connection_strings(inner)?;
    }
    for id in matches.ids().map(clap::Id::as_str).filter(|id| !MAY_HOLD_PASSWORDS.contains(id)) {
        let Ok(Some(mut values)) = matches.try_get_raw(id) else { continue };
        if values.any(looks_like_connection_string) {
            return Err(Error::Usage(format!(
                "the value of --{} looks like a connection string, which belongs to --uri; it is not shown, because it \
                 may contain a password",
                id.replace('_', "-")
            )));
        }
    }
    Ok(())
}

/// Returns true if `value` may contain a password. The path of an existing file without `://` is not a password.
pub(super) fn looks_like_connection_string(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    may_hold_password(&text) && (text.contains("://") || !Path::new(value).exists())
}

/// Converts the names of options to kebab-case. The MongoDB Database Tools use camelCase, and their spelling is
/// accepted too: `--numInsertionWorkers` becomes `--num-insertion-workers`.
fn with_kebab_case(arguments: Vec<OsString>) -> Vec<OsString> {
    arguments
        .into_iter()
        .map(|argument| match argument.to_str() {
            Some(text) if text.starts_with("--") => kebab_case(text).into(),
            _ => argument,
        })
        .collect()
}

/// Converts the name of an option to kebab-case. A value after `=` is not changed.
fn kebab_case(option: &str) -> String {
    let (name, value) = option.split_at(option.find('=').unwrap_or(option.len()));
    let letters: Vec<char> = name.chars().collect();
    let mut kebab = String::with_capacity(option.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        // A new word begins at a capital after a small letter, and at a capital before a small letter. For example,
        // `tlsCAFile` becomes `tls-ca-file`.
        let follows_small = at > 0 && !letters[at - 1].is_ascii_uppercase();
        let begins_word = letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        if at > 2 && letter.is_ascii_uppercase() && (follows_small || begins_word) {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab + value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_be_spelled_as_in_the_database_tools() {
        let check = |typed: &str, canonical: &str| assert_eq!(kebab_case(typed), canonical);
        check("--numInsertionWorkers", "--num-insertion-workers");
        check("--stopOnError", "--stop-on-error");
        check("--authenticationDatabase=myDb", "--authentication-database=myDb");
        check("--tlsCAFile=/etc/CA.pem", "--tls-ca-file=/etc/CA.pem");
        check("--uri", "--uri");
        check("--writeConcern=majority", "--write-concern=majority");
        check("--DB", "--db");
        check("--tlsCA", "--tls-ca");
        let typed = ["medlift", "--Uri", "-Ab", "aBc", "--maxRejects=aB"].map(OsString::from).to_vec();
        assert_eq!(with_kebab_case(typed), ["medlift", "--uri", "-Ab", "aBc", "--max-rejects=aB"]);
    }

    #[test]
    fn passwords_are_hidden_and_the_rest_is_shown() {
        let check = |typed: &[&str], expected: &[&str]| {
            let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
            assert_eq!(without_passwords(&typed), expected, "{typed:?}");
        };
        check(&["load", "a.csv", "--db=x", "-d", "y"], &["load", "a.csv", "--db=x", "-d", "y"]);
        check(&["mongodb://u:pw@h", "u:pw@h", " Mongodb:/u:pw@h"], &["***", "***", "***"]);
        check(&["--urii=mongodb://u:pw@h", "--quiet=u:pw@h"], &["--urii=***", "--quiet=***"]);
        check(&["-p", "pw", "x"], &["-p", "***", "x"]);
        check(&["-ppw", "--password=pw", "--password", "-j"], &["-p***", "--password=***", "--password", "-j"]);
        check(&["-umongodb://u:pw@h", "--x:pw@h=1"], &["***", "***"]);
        check(&["--password", "pw", "x", "-p"], &["--password", "***", "x", "-p"]);
        check(&["-p", "--password", "pw"], &["-p", "--password", "***"]);
        check(&["--passwords", "pw"], &["--passwords", "pw"]);
        check(&["-px", "-p", "-x", "-"], &["-p***", "-p", "-x", "-"]);
    }

    #[test]
    fn a_connection_string_is_accepted_only_by_its_own_options() {
        let is_refused = |line: &[&str]| {
            let typed = std::iter::once(&"medlift").chain(line).map(OsString::from).collect();
            parse(typed).is_err_and(|error| matches!(error, Error::Usage(_)) && !error.to_string().contains("pa55"))
        };
        for option in ["--db", "--collection", "--username", "--rejects", "--spec", "--tls-ca-file", "--file"] {
            assert!(is_refused(&["load", "a.csv", option, "mongodb://u:pa55@h"]), "{option}");
        }
        assert!(is_refused(&["export", "--out", "u:pa55@h"]));
        assert!(!is_refused(&["load", "a.csv", "--uri", "mongodb://u:pa55@h"]));
        assert!(!is_refused(&["load", "a.csv", "mongodb://u:pa55@h", "-p", "u:pa55@h"]));
        assert!(!is_refused(&["doctor", "mongodb://u:pa55@h"]));
    }

    #[test]
    fn a_file_may_have_a_name_that_resembles_a_connection_string() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("u:pw@h");
        assert!(looks_like_connection_string(path.as_os_str()));
        std::fs::write(&path, "").expect("written");
        assert!(!looks_like_connection_string(path.as_os_str()));
        assert!(
            looks_like_connection_string(OsStr::new("mongodb://h"))
                && !looks_like_connection_string(OsStr::new("a.csv"))
        );
    }
}
