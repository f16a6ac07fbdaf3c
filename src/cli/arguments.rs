//! Parses the command line. No message shows a password from the command line.
//!
//! A connection string can contain a password. If a user misspells the connection string or writes it in the wrong
//! place, clap would quote it in an error. Therefore clap's errors are made from a copy of the arguments without
//! passwords. If another option gets a connection string by mistake, Medlift refuses the option and does not show its
//! value. Errors of `medlift patient` show no value at all, because it may be the identifier of a patient.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use medlift::error::Error;
use medlift::server::{is_connection_string, may_hold_password};

use super::{Cli, output, tool_options};

/// The text that is shown in place of an argument that may contain a password.
const HIDDEN: &str = "***";

/// The ids of the arguments that may contain a connection string or a password. The values of all other options are
/// refused if they look like a connection string. `query` and `authority` are in the list so that they are not
/// refused: a filter in JSON may contain an `@`, and an authority may be a URL.
const MAY_HOLD_PASSWORDS: [&str; 6] = ["uri", "password", "positional", "sources", "query", "authority"];

/// The short options that have no value. `-p` may follow them in one argument, for example `-np`.
const SHORT_FLAGS: [char; 3] = ['n', 'v', 'y'];

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
/// The value of an option looks like a connection string, but the option is not for connection strings. Or a password
/// follows `-p` as an argument of its own. Or the help cannot be written.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Parsed, Error> {
    let arguments = canonical(arguments);
    refuse_detached_password(&arguments)?;
    let matches = match Cli::command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return show(error, &arguments).map(Parsed::Ended),
    };
    refuse_connection_strings(&matches)?;
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok(Parsed::Command(cli)),
        Err(error) => show(error, &arguments).map(Parsed::Ended),
    }
}

/// Writes help to standard output, or an error to standard error. Returns the exit code.
fn show(error: clap::Error, arguments: &[OsString]) -> Result<ExitCode, Error> {
    if !error.use_stderr() {
        output::write_stdout(error.render().to_string().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(message) = unknown_option(&error).and_then(|option| tool_options::message(&option, kebab_case)) {
        return Err(Error::Usage(message));
    }
    let is_of_patient = arguments.iter().skip(1).find(|argument| !argument.to_string_lossy().starts_with('-'));
    if is_of_patient.is_some_and(|command| command == "patient") {
        output::tell_as_it_is(&without_values(error).render().to_string());
        return Ok(ExitCode::from(2));
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

/// Removes from an error of `medlift patient` every text that the user typed, because it can be the identifier of a
/// patient. The names of the command's options stay.
fn without_values(mut error: clap::Error) -> clap::Error {
    let is_typed = |value: &ContextValue| !matches!(value, ContextValue::String(text) if text.is_empty());
    if error.get(ContextKind::InvalidValue).is_some_and(is_typed) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.to_owned()));
    }
    if error.kind() == ErrorKind::UnknownArgument {
        error.insert(ContextKind::InvalidArg, ContextValue::String(HIDDEN.to_owned()));
    }
    for kind in [ContextKind::Suggested, ContextKind::SuggestedValue, ContextKind::TrailingArg] {
        error.remove(kind);
    }
    error
}

/// Returns the unknown option if the error is about an option that the command does not have.
fn unknown_option(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => Some(option.clone()),
        _ => None,
    }
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

/// Returns the arguments with the names of options in the form that the parser expects. Arguments after `--` are not
/// changed.
///
/// The MongoDB Database Tools use camelCase, and their spelling is accepted too: `--numInsertionWorkers` becomes
/// `--num-insertion-workers`. `-pVALUE` becomes `--password=VALUE`, because the parser accepts a value of `-p` only
/// after `=`.
fn canonical(arguments: Vec<OsString>) -> Vec<OsString> {
    let options = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let mut canonical = Vec::with_capacity(arguments.len());
    for (at, argument) in arguments.into_iter().enumerate() {
        match argument.to_str().filter(|_| at < options) {
            Some(text) if text.starts_with("--") => canonical.push(kebab_case(text).into()),
            Some(text) if let Some((flags, password)) = short_password(text) => {
                canonical.extend((!flags.is_empty()).then(|| format!("-{flags}").into()));
                canonical.push(password.into());
            }
            _ => canonical.push(argument),
        }
    }
    canonical
}

/// Splits an argument such as `-p`, `-pVALUE` or `-npVALUE`. Returns the short options before `p`, and the long form of
/// `-p`.
fn short_password(text: &str) -> Option<(&str, String)> {
    let letters = text.strip_prefix('-')?;
    let (flags, rest) = letters.split_at(letters.find(|letter| !SHORT_FLAGS.contains(&letter))?);
    let value = rest.strip_prefix('p')?;
    let value = value.strip_prefix('=').unwrap_or(value);
    Some((flags, if value.is_empty() { "--password".to_owned() } else { format!("--password={value}") }))
}

/// Returns an error if the argument after `-p` may be a password. Otherwise the parser would take the password as the
/// name of a source, and messages show the names of sources.
fn refuse_detached_password(arguments: &[OsString]) -> Result<(), Error> {
    let options = arguments.split(|argument| argument == "--").next().unwrap_or_default();
    let is_no_password = |next: &OsStr| {
        let text = next.to_string_lossy();
        text.starts_with('-') || is_connection_string(&text) || Path::new(next).exists()
    };
    let mut pairs = options.windows(2).filter(|pair| pair[0] == "--password");
    if pairs.all(|pair| is_no_password(&pair[1])) {
        return Ok(());
    }
    Err(Error::Usage(
        "the argument after -p is neither an option nor an existing file; it is not shown, because it may be a password; \
         write -pPASSWORD or --password=PASSWORD; if it is not a password, write -p at the end, and you are asked"
            .into(),
    ))
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
        let typed = ["medlift", "--Uri", "-Ab", "aBc", "--maxRejects=aB", "--", "--aB"].map(OsString::from).to_vec();
        assert_eq!(canonical(typed), ["medlift", "--uri", "-Ab", "aBc", "--max-rejects=aB", "--", "--aB"]);
    }

    #[test]
    fn a_password_is_attached_to_its_option() {
        let check = |typed: &str, expected: &[&str]| assert_eq!(canonical(vec![typed.into()]), expected, "{typed}");
        check("-p", &["--password"]);
        check("-p=", &["--password"]);
        check("-ppw", &["--password=pw"]);
        check("-p=pw", &["--password=pw"]);
        check("-p-x", &["--password=-x"]);
        check("-np", &["-n", "--password"]);
        check("-vyppw", &["-vy", "--password=pw"]);
        for other in ["p", "-", "-n", "-up", "-cp", "-opw", "--password=p", ""] {
            check(other, &[other]);
        }
    }

    #[test]
    fn an_argument_after_the_password_option_is_a_source_or_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.csv");
        std::fs::write(&path, "").expect("written");
        let path = path.to_str().expect("UTF-8");
        let refused = |line: &[&str]| {
            let typed = canonical(line.iter().map(OsString::from).collect());
            refuse_detached_password(&typed).err().map(|error| error.to_string())
        };
        for line in [
            &["load", "-p", path][..],
            &["load", path, "-p"],
            &["load", "-p", "mongodb://h", path],
            &["load", "-p", "-n", path],
            &["load", "-p", "-"],
            &["load", "-p", "--", "x"],
            &["load", "--", "-p", "x"],
        ] {
            assert_eq!(refused(line), None, "{line:?}");
        }
        for line in [&["load", "-p", "pa55", path][..], &["load", "--password", "pa55"], &["load", "-np", "pa55"]] {
            let problem = refused(line).expect("refused");
            assert!(problem.contains("write -pPASSWORD") && !problem.contains("pa55"), "{problem}");
        }
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
        assert!(!is_refused(&["load", "a.csv", "mongodb://u:pa55@h", "-pu:pa55@h"]));
        assert!(!is_refused(&["export", "-q", r#"{"Mail": "a@b"}"#]));
        assert!(!is_refused(&["doctor", "mongodb://u:pa55@h"]));
    }

    #[test]
    fn an_option_of_the_database_tools_gets_an_explanation_instead_of_a_guess() {
        let message = |line: &[&str]| {
            let typed = std::iter::once(&"medlift").chain(line).map(OsString::from).collect();
            parse(typed).err().map(|error| error.to_string())
        };
        for (option, part) in [
            ("--fields=a", "--fields; the source's header"),
            ("--fieldFile", "--fieldFile; the source's header"),
            ("-f", "-f; the source's header"),
            ("--jsonArray", "recognises a JSON array"),
            ("--queryFile", "--query"),
            ("--out", "medlift export --out FILE"),
            ("--upsertFields=a", "[identity]"),
            ("--ignoreBlanks", "empty cell"),
            ("--parseGrace", "reject file"),
            ("--columnsHaveTypes", "the spec gives each column its type"),
            ("--gzip", "recognises gzip"),
            ("--archive", "mongorestore"),
            ("--maintainInsertionOrder", "--lineage"),
            ("--bypassDocumentValidation", "never stored"),
            ("--tlsInsecure", "--tls-ca-file"),
            ("--legacy", "mongoexport"),
            ("--authenticationMechanism=PLAIN", "authMechanism"),
            ("--awsSessionToken", "authMechanism"),
            ("--sslPEMKeyPassword=x", "openssl pkey"),
            ("--sslCRLFile", "revocation lists"),
            ("--slaveOk", "read from the primary"),
            ("--upsert", "--mode upsert"),
        ] {
            let found = message(&["load", "a.csv", option]).unwrap_or_default();
            assert!(found.starts_with("this command has no option -") && found.contains(part), "{option}: {found}");
        }
        let found = message(&["export", "--numInsertionWorkers", "4"]).unwrap_or_default();
        assert!(found.contains("--numInsertionWorkers; this command inserts no documents"), "{found}");
        let found = message(&["export", "-vvv"]).unwrap_or_default();
        assert!(found.contains("no option -v; this command has no steps to report"), "{found}");
        assert_eq!(message(&["load", "a.csv", "--unheard-of"]), None);
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
