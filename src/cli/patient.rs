//! `medlift patient`.

use std::io::BufRead;
use std::process::ExitCode;

use clap::Args;
use medlift::error::Error;
use medlift::parse::{DateFormat, parse_date};
use medlift::patient::{Found, Name, Question, search};
use medlift::server::{Purpose, Secret, is_connection_string};
use medlift::wording::counted;

use super::connection::ConnectionArgs;
use super::number::whole;
use super::output;
use super::reading::identity_key;

const EXAMPLES: &str = "Examples:
  medlift patient '4711^^^NORTH' --uri mongodb://localhost:27017
  medlift patient 4711 --authority NORTH --json
  medlift patient '4711^^^NORTH' --from 2026-01-01 --limit 20";

const DAY_MS: i64 = 86_400_000;

/// List the documents of one patient in all collections that you may read
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PatientArgs {
    /// Identifier of the patient and the authority that assigned it, as value^^^authority; or - to read it from
    /// standard input, because other users of the machine can see arguments. A connection string may be given here too
    #[arg(value_name = "IDENTIFIER")]
    positional: Vec<Secret>,
    /// Authority that assigned the identifier
    #[arg(long, value_name = "NAME")]
    authority: Option<Secret>,
    /// Key of the patient, instead of an identifier: the value of the field patient
    #[arg(long, value_name = "UUID")]
    key: Option<Secret>,
    /// Show only documents of this day or time and later
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: Option<Moment>,
    /// Show only documents of this day or time and earlier
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<Moment>,
    /// Show at most this number of documents, the latest
    #[arg(long, value_name = "N", value_parser = whole(1_usize, 10_000_000), default_value = "100000")]
    limit: usize,
    /// Print one JSON object per document and line
    #[arg(long)]
    json: bool,
    /// Print no messages
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// A point in time, or a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    ms: i64,
    is_day: bool,
}

impl Moment {
    /// Returns the last millisecond of the day, or the point in time itself.
    const fn last_ms(self) -> i64 {
        if self.is_day { self.ms + DAY_MS - 1 } else { self.ms }
    }
}

fn date(text: &str) -> Result<Moment, String> {
    let ms = parse_date(DateFormat::Iso, text).ok_or("give a day such as 2026-01-31, or 2026-01-31T12:00:00Z")?;
    Ok(Moment { ms, is_day: text.len() == 10 })
}

impl PatientArgs {
    /// Runs the command.
    pub(super) fn run(mut self: Box<Self>) -> Result<ExitCode, Error> {
        self.take_uri()?;
        let (name, identity) = (self.name()?, identity_key()?);
        let only = self.connection.collection().map(str::to_owned);
        let connection = std::mem::take(&mut self.connection);
        let found = super::run_async(async |_| {
            let target = connection.connect(Purpose::Read, "").await?;
            let question = Question {
                name: &name,
                identity: &identity,
                only: only.as_deref(),
                times_ms: (self.from.map(|from| from.ms), self.to.map(Moment::last_ms)),
                limit: self.limit,
            };
            Ok(search(&target, &question).await?)
        })?;
        print(&found, self.json)?;
        if !self.quiet {
            tell(&found, &name);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Uses the connection string among the arguments, if there is one. An argument that begins with `mongodb://` or
    /// `mongodb+srv://` is a connection string. Any other argument with a `^` is an identifier, even if it looks like
    /// a misspelled connection string: its authority can be a URL.
    fn take_uri(&mut self) -> Result<(), Error> {
        let is_other = |text: &Secret| is_connection_string(text.reveal()) || !text.reveal().contains('^');
        let (mut others, identifiers) = std::mem::take(&mut self.positional).into_iter().partition(is_other);
        self.connection.take_uri(&mut others)?;
        self.positional = identifiers;
        self.positional.extend(others);
        Ok(())
    }

    fn name(&self) -> Result<Name, Error> {
        let authority = self.authority.as_ref().map(Secret::reveal);
        let wrong = |error: medlift::patient::NameError| Error::Usage(error.to_string());
        match (&self.positional[..], &self.key) {
            ([], Some(key)) if authority.is_none() => Name::key(key.reveal()).map_err(wrong),
            (_, Some(_)) => {
                Err(Error::Usage("--key names the patient alone; leave out the identifier and --authority".into()))
            }
            ([one], None) if one.reveal() == "-" => Name::identifier(&first_line()?, authority).map_err(wrong),
            ([one], None) => Name::identifier(one.reveal(), authority).map_err(wrong),
            (_, None) => Err(Error::Usage(
                "give one identifier of the patient, for example 'MRN12345^^^GOODHEALTH', or --key; the shell needs the \
                 quotes"
                    .into(),
            )),
        }
    }
}

/// Reads the identifier from standard input.
fn first_line() -> Result<String, Error> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Error::Stopped(format!("cannot read the identifier from standard input: {error}")))?;
    Ok(line)
}

fn print(found: &Found, json: bool) -> Result<(), Error> {
    let width = found.entries.iter().map(|entry| entry.collection.len()).max().unwrap_or_default();
    let mut text = String::new();
    for entry in &found.entries {
        if json {
            let line = serde_json::to_string(entry);
            text += &line.map_err(|error| Error::Stopped(format!("cannot write the result as JSON: {error}")))?;
        } else {
            text += &entry.line(width);
        }
        text.push('\n');
    }
    output::write_stdout(text.as_bytes())
}

/// Tells what was searched, and what was not.
fn tell(found: &Found, name: &Name) {
    for notice in &found.notices {
        output::tell(format_args!("notice: {notice}"));
    }
    if !found.forbidden.is_empty() {
        output::tell(format_args!(
            "notice: not searched, because the user may not read them: {}",
            found.forbidden.join(", ")
        ));
    }
    if !found.without_key.is_empty() {
        output::tell(format_args!(
            "notice: not searched, because their documents do not say to which patient they belong: {}",
            found.without_key.join(", ")
        ));
    }
    output::tell(summary(found, name));
}

fn summary(found: &Found, name: &Name) -> String {
    let searched: Vec<String> = found.searched.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let searched = if searched.is_empty() { "no collection".to_owned() } else { searched.join(", ") };
    let count = found.searched.iter().map(|(_, count)| *count as u64).sum();
    if count == 0 {
        let hint = if name.lacks_authority() {
            "; no authority was given, and loads derive another key if the source names the authority: give \
             value^^^authority"
        } else {
            "; the authority must be written as in the source, MEDLIFT_IDENTITY_KEY must be the key of the loads, and only \
             the identifier that the spec prefers leads to the documents"
        };
        return format!("nothing found; searched: {searched}{hint}");
    }
    let merged = if found.keys > 1 { format!(", under {} keys", found.keys) } else { String::new() };
    let left_out = match found.left_out {
        0 => String::new(),
        count => format!("; {} not shown, because of --from, --to or --limit", counted(count as u64, "is", "are")),
    };
    format!("{} found{merged}: {searched}{left_out}", counted(count, "document", "documents"))
}

#[cfg(test)]
mod tests {
    use super::super::{Command, tests::command};
    use super::*;

    fn name(arguments: &[&str]) -> Result<String, String> {
        match command(&[&["patient"], arguments].concat()) {
            Command::Patient(mut args) => {
                args.take_uri().map_err(|error| error.to_string())?;
                match args.name().map_err(|error| error.to_string())? {
                    Name::Identifier { value, authorities } => Ok(format!("{value} of {}", authorities.join(" or "))),
                    Name::Key(key) => Ok(key.to_string()),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_patient_is_named_once() {
        let key = "00000000-0000-8000-8000-000000000001";
        assert_eq!(name(&["77^^^N"]).as_deref(), Ok("77 of N"));
        assert_eq!(name(&["mongodb://h", "77^^^N"]).as_deref(), Ok("77 of N"));
        assert_eq!(name(&["77^^^http://a.example/mrn"]).as_deref(), Ok("77 of http://a.example/mrn"));
        assert_eq!(name(&["77", "--authority", "N"]).as_deref(), Ok("77 of N"));
        assert_eq!(name(&["--key", key]).as_deref(), Ok(key));
        for wrong in [
            &[][..],
            &["77^^^N", "78^^^N"],
            &["77^^^N", "--key", key],
            &["--key", key, "--authority", "N"],
            &["--key", "77"],
            &["77^^^N", "--authority", "M"],
            &["^^^N"],
            &["http://77"],
        ] {
            let error = name(wrong).expect_err("refused");
            assert!(!error.contains("77") && !error.contains("78"), "{error}");
        }
    }

    #[test]
    fn debug_output_shows_no_identifier() {
        let typed = command(&["patient", "77123", "--authority", "77123", "--key", "77123"]);
        assert!(!format!("{typed:?} {typed:#?}").contains("77123"));
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let day = date("1970-01-02").expect("a day");
        assert_eq!((day.ms, day.last_ms()), (DAY_MS, 2 * DAY_MS - 1));
        let time = date("1970-01-02T00:00:01Z").expect("a time");
        assert_eq!((time.ms, time.last_ms()), (DAY_MS + 1000, DAY_MS + 1000));
        assert!(date("2026").is_err());
    }

    #[test]
    fn the_summary_says_what_was_searched() {
        let with = Name::identifier("77^^^N", None).expect("an identifier");
        let without = Name::identifier("77", None).expect("an identifier");
        let found = |counts: &[usize], keys: usize, left_out: usize| Found {
            searched: counts.iter().zip(["a", "b"]).map(|(count, name)| (name.to_owned(), *count)).collect(),
            keys,
            left_out,
            ..Found::default()
        };
        assert_eq!(summary(&found(&[2, 0], 1, 0), &with), "2 documents found: a 2, b 0");
        let merged = "3 documents found, under 2 keys: a 2, b 1; 1 is not shown, because of --from, --to or --limit";
        assert_eq!(summary(&found(&[2, 1], 2, 1), &with), merged);
        assert!(summary(&found(&[0], 1, 0), &with).starts_with("nothing found; searched: a 0; the authority must be"));
        assert!(
            summary(&found(&[], 1, 0), &without)
                .starts_with("nothing found; searched: no collection; no authority was")
        );
    }
}
