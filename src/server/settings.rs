//! Settings from the environment and from the file `.env` in the working directory. The environment takes precedence.
//!
//! A variable with an empty value counts as not set, because the template of `.env` contains empty variables.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Secret, ServerError, may_hold_password};
use crate::wording::file_problem;

/// The name of the file with settings.
const ENV_FILE: &str = ".env";

/// The settings from the environment and from `.env`.
#[derive(Clone, Default)]
pub struct Settings {
    environment: HashMap<String, String>,
    file: HashMap<String, String>,
    directory: PathBuf,
}

/// A user of the deployment. Its name and its password are in two variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The deployment's root user. It is stored in the database `admin`.
    Root,
    /// The administrator of the database. Cannot read or write documents.
    Admin,
    /// A user who may read and write all data.
    Writer,
    /// A user who may read all data.
    Reader,
    /// A user who may load and verify, but cannot delete.
    Loader,
    /// A user who may read only the de-identified view.
    Analyst,
}

impl Account {
    /// All accounts.
    pub const ALL: [Self; 6] = [Self::Root, Self::Admin, Self::Writer, Self::Reader, Self::Loader, Self::Analyst];

    /// The accounts whose users `medlift provision` creates. They are stored in the database for the data.
    pub const PROVISIONED: [Self; 5] = [Self::Admin, Self::Writer, Self::Reader, Self::Loader, Self::Analyst];

    /// Returns the variable with the user's name.
    pub const fn user_variable(self) -> &'static str {
        match self {
            Self::Root => "MONGO_ROOT_USER",
            Self::Admin => "ADMIN_USER",
            Self::Writer => "WRITER_USER",
            Self::Reader => "READER_USER",
            Self::Loader => "LOADER_USER",
            Self::Analyst => "ANALYST_USER",
        }
    }

    /// Returns the variable with the user's password, for example `WRITER_PASS`. Instead, the password may be in a file
    /// whose path is in the variable `WRITER_PASS_FILE`.
    pub const fn password_variable(self) -> &'static str {
        match self {
            Self::Root => "MONGO_ROOT_PASS",
            Self::Admin => "ADMIN_PASS",
            Self::Writer => "WRITER_PASS",
            Self::Reader => "READER_PASS",
            Self::Loader => "LOADER_PASS",
            Self::Analyst => "ANALYST_PASS",
        }
    }

    /// Returns the name that the user has if its variable is not set. The template of `.env` has the same names.
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::Root | Self::Admin => "admin",
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Loader => "loader",
            Self::Analyst => "analyst",
        }
    }

    /// Returns the database in which the user is stored. `database` is the database for the data.
    pub fn auth_database(self, database: &str) -> &str {
        if self == Self::Root { "admin" } else { database }
    }
}

impl Settings {
    /// Reads the process environment, and `.env` in the working directory if it exists.
    pub fn load() -> Result<Self, ServerError> {
        Self::from_parts(std::env::vars_os().filter_map(text_pair), Path::new("."))
    }

    /// Reads the settings from the given environment and directory.
    pub fn from_parts(
        environment: impl Iterator<Item = (String, String)>,
        directory: &Path,
    ) -> Result<Self, ServerError> {
        let file = read_env_file(&directory.join(ENV_FILE))?;
        Ok(Self { environment: environment.collect(), file, directory: directory.to_owned() })
    }

    /// Returns the value of a variable, from the environment or else from `.env`.
    pub fn get(&self, name: &str) -> Option<&str> {
        [&self.environment, &self.file].into_iter().find_map(|map| set(map, name))
    }

    /// Returns a secret. For the name `WRITER_PASS`, it is the value of this variable, or the content of the file that
    /// `WRITER_PASS_FILE` names, without the last line end. Variables of the environment take precedence over those of
    /// `.env`.
    ///
    /// # Errors
    /// The file cannot be read. Or both variables are set in the environment, or both in `.env`.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, ServerError> {
        let file_variable = format!("{name}_FILE");
        for map in [&self.environment, &self.file] {
            match (set(map, name), set(map, &file_variable)) {
                (Some(_), Some(_)) => return Err(ServerError::SetTwice { name: name.to_owned() }),
                (Some(value), None) => return Ok(Some(value.into())),
                (None, Some(path)) => return read_secret(&file_variable, &self.directory.join(path)).map(Some),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// Returns the path of `.env`, and the paths in all variables whose names end with `_FILE`. An output file must not
    /// replace any of these files.
    pub fn files(&self) -> Vec<PathBuf> {
        let secrets = [&self.environment, &self.file].into_iter().flatten();
        let secrets = secrets.filter(|(name, value)| name.ends_with("_FILE") && !value.is_empty());
        let named = secrets.map(|(_, value)| self.directory.join(value));
        std::iter::once(self.directory.join(ENV_FILE)).chain(named).collect()
    }

    /// Returns the path of `.env` if one of its variables contains a password, a key or a token.
    pub fn file_with_secrets(&self) -> Option<PathBuf> {
        let is_secret = |(name, value): (&String, &String)| {
            let is_named = ["_PASS", "_PASSWORD", "_KEY", "_TOKEN"].iter().any(|end| name.ends_with(end));
            !value.is_empty() && (is_named || may_hold_password(value) && value.contains('@'))
        };
        self.file.iter().any(is_secret).then(|| self.directory.join(ENV_FILE))
    }

    /// Returns the name of the user of an account.
    pub fn user_name(&self, account: Account) -> &str {
        self.get(account.user_variable()).unwrap_or(account.default_name())
    }

    /// Returns the name and password of an account. If only the password is set, the name is the default name. Returns
    /// `None` if neither is set. Fails if only the name is set.
    pub fn account(&self, account: Account) -> Result<Option<(String, Secret)>, ServerError> {
        let (user, password) = (account.user_variable(), account.password_variable());
        match self.secret(password)? {
            Some(secret) => Ok(Some((self.user_name(account).to_owned(), secret))),
            None if self.get(user).is_some() => Err(ServerError::PasswordUnset { user, password }),
            None => Ok(None),
        }
    }

    /// Returns the account of the user with this name, and its password. Returns `None` if there is no such account, or
    /// if its password is not set.
    ///
    /// First looks for an account whose variable, for example `READER_USER`, contains this name. If there is none,
    /// looks for an account whose variable is not set and whose default name is this name. The root user and the
    /// administrator have the same default name. Of these two, the account whose password is set is returned, and the
    /// root user if both are set.
    pub fn password_of(&self, user: &str) -> Result<Option<(Account, Secret)>, ServerError> {
        if let Some(account) = Account::ALL.into_iter().find(|account| self.names(*account, user)) {
            return Ok(self.secret(account.password_variable())?.map(|password| (account, password)));
        }
        for account in Account::ALL.into_iter().filter(|account| self.user_name(*account) == user) {
            if let Some(password) = self.secret(account.password_variable())? {
                return Ok(Some((account, password)));
            }
        }
        Ok(None)
    }

    /// Returns the name of the variable that contains the password of this user. `None` if the user has no account.
    pub(super) fn password_variable_of(&self, user: &str) -> Option<&'static str> {
        let mut accounts = Account::ALL.into_iter();
        let named = accounts.clone().find(|account| self.names(*account, user));
        let account = named.or_else(|| accounts.find(|account| self.user_name(*account) == user));
        account.map(Account::password_variable)
    }

    /// Returns true if a variable such as `READER_USER` contains this user name. Ignores the root user's variable.
    pub(super) fn is_named(&self, user: &str) -> bool {
        Account::PROVISIONED.into_iter().any(|account| self.names(account, user))
    }

    /// Returns the account for which `medlift provision` creates a user with this name.
    pub(super) fn provisioned(&self, user: &str) -> Option<Account> {
        Account::PROVISIONED.into_iter().find(|account| self.user_name(*account) == user)
    }

    fn names(&self, account: Account, user: &str) -> bool {
        self.get(account.user_variable()) == Some(user)
    }
}

fn set<'a>(map: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    map.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// Removes the byte order mark that some editors write at the beginning of a file.
fn without_mark(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()
}

/// Converts a variable's name and value to texts. Returns `None` if one of them is not UTF-8. The variable then counts
/// as not set.
fn text_pair((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

fn read_env_file(path: &Path) -> Result<HashMap<String, String>, ServerError> {
    let wrong = |problem| ServerError::EnvFile { path: path.to_owned(), problem };
    let text = match std::fs::read_to_string(path).map(|text| without_mark(&text)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(wrong(file_problem(&error))),
    };
    if let Some((line, key)) = (1..).zip(text.lines()).find_map(|(line, found)| Some((line, changed_secret(found)?))) {
        return Err(wrong(format!(
            "line {line}: the value of {key} contains $, which would be replaced: put the value in single quotes"
        )));
    }
    let lines = dotenvy::from_read_iter(text.as_bytes());
    lines.collect::<Result<_, _>>().map_err(|error| wrong(problem_of(&error, &text)))
}

/// Returns the name of the password, key or token that this line sets, if its value contains a `$` outside single quotes. The
/// parser would replace the `$` and the word after it by the value of a variable, without a notice.
fn changed_secret(line: &str) -> Option<&str> {
    let (key, value) = assignment(line)?;
    let is_secret = is_variable_name(key) && ["_PASS", "_KEY", "_TOKEN"].iter().any(|end| key.ends_with(end));
    (is_secret && !value.starts_with('\'') && value.replace("\\$", "").contains('$')).then_some(key)
}

/// Returns the text for an error of the parser. Does not use the parser's own text, because it quotes the line, and the
/// line may contain a password. `text` is the whole file.
fn problem_of(error: &dotenvy::Error, text: &str) -> String {
    let dotenvy::Error::LineParse(part, _) = error else { return "it cannot be read".to_owned() };
    // The error contains the whole line or only its value, but no line number. Therefore, this function searches `text`
    // for the line.
    let part = part.lines().next().unwrap_or_default().trim();
    let is_wrong = |line: &str| {
        let value = line.split_once('=').map(|(_, value)| value.trim_start());
        line.trim_start().starts_with(part) || value.is_some_and(|value| value.starts_with(part))
    };
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with('#'));
    let Some((number, line)) = lines.find(|(_, line)| is_wrong(line)) else { return "it cannot be read".to_owned() };
    match assignment(line) {
        Some((key, _)) if is_variable_name(key) => {
            format!("line {number}: the value of {key} cannot be read: put the value in single quotes")
        }
        _ => {
            format!("line {number}: a line must have the form NAME=value, and a value with spaces needs single quotes")
        }
    }
}

/// Splits a line at its first `=` into name and value. Removes `export ` and the blanks around both.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    Some((key.trim(), value.trim()))
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn read_secret(variable: &str, path: &Path) -> Result<Secret, ServerError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ServerError::SecretFile { variable: variable.to_owned(), problem: file_problem(&error) })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a directory with these files. Returns it with the settings that are read there.
    fn settings(environment: &[(&str, &str)], files: &[(&str, &str)]) -> (tempfile::TempDir, Settings) {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let pairs = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings::from_parts(pairs, directory.path()).expect("read");
        (directory, settings)
    }

    #[test]
    fn the_environment_takes_precedence_and_an_empty_value_is_not_set() {
        let file = ".env";
        let (_directory, settings) = settings(&[("A", "1"), ("B", "")], &[(file, "A=2\nB=2\nC=2\nD=\n")]);
        let found = ["A", "B", "C", "D", "E"].map(|name| settings.get(name));
        assert_eq!(found, [Some("1"), Some("2"), Some("2"), None, None]);
    }

    #[test]
    fn a_file_with_a_password_is_recognised() {
        let check = |text: &str, expected: bool| {
            let (_directory, settings) = settings(&[("WRITER_PASS", "in the environment")], &[(".env", text)]);
            assert_eq!(settings.file_with_secrets().is_some(), expected, "{text}");
        };
        check("WRITER_PASS=pw\n", true);
        check("AWS_SECRET_ACCESS_KEY=pw\n", true);
        check("MONGODB_URI=mongodb://u:pw@h/\n", true);
        check("MONGODB_URI=mongodb://h:27017/\nWRITER_PASS=\nWRITER_PASS_FILE=f\nDB_NAME=ward\n", false);
        check("", false);
    }

    #[test]
    fn a_secret_is_a_value_or_a_file_without_its_last_line_end() {
        let secret = |environment: &[(&str, &str)], files: &[(&str, &str)]| {
            let (_directory, settings) = settings(environment, files);
            settings.secret("P").map(|secret| secret.map(|secret| secret.reveal().to_owned()))
        };
        let check = |environment: &[(&str, &str)], files: &[(&str, &str)], expected: Option<&str>| {
            assert_eq!(secret(environment, files).expect("a secret").as_deref(), expected);
        };
        check(&[], &[], None);
        check(&[("P", " a ")], &[], Some(" a "));
        for (text, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), (" a \n", " a "), ("a\n\n", "a\n")] {
            check(&[("P_FILE", "f")], &[("f", text)], Some(expected));
        }
        check(&[("P", "a")], &[(".env", "P=b")], Some("a"));
        check(&[("P", "a")], &[(".env", "P_FILE=f"), ("f", "b")], Some("a"));
        check(&[("P_FILE", "f")], &[(".env", "P=b"), ("f", "a")], Some("a"));
        check(&[("P", ""), ("P_FILE", "")], &[(".env", "P_FILE=f"), ("f", "b")], Some("b"));
        let twice = |environment: &[(&str, &str)], files: &[(&str, &str)]| {
            let error = secret(environment, files).expect_err("set twice");
            assert!(matches!(&error, ServerError::SetTwice { name } if name == "P"), "{error}");
        };
        twice(&[("P", "a"), ("P_FILE", "f")], &[("f", "a")]);
        twice(&[], &[(".env", "P=a\nP_FILE=f"), ("f", "a")]);
        let lost = secret(&[("P_FILE", "pa55")], &[]).expect_err("no such file").to_string();
        assert!(lost.contains("P_FILE") && !lost.contains("pa55"), "{lost}");
    }

    #[test]
    fn every_account_has_its_variables_its_default_name_and_its_auth_database() {
        let names = Account::ALL.map(|account| {
            let (user, password) = (account.user_variable(), account.password_variable());
            [user, password, account.default_name(), account.auth_database("ward")]
        });
        let expected = [
            ["MONGO_ROOT_USER", "MONGO_ROOT_PASS", "admin", "admin"],
            ["ADMIN_USER", "ADMIN_PASS", "admin", "ward"],
            ["WRITER_USER", "WRITER_PASS", "writer", "ward"],
            ["READER_USER", "READER_PASS", "reader", "ward"],
            ["LOADER_USER", "LOADER_PASS", "loader", "ward"],
            ["ANALYST_USER", "ANALYST_PASS", "analyst", "ward"],
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_account_needs_a_password_and_its_name_has_a_default() {
        let environment = [("WRITER_USER", "scribe"), ("WRITER_PASS", "w"), ("READER_PASS", "r"), ("LOADER_USER", "l")];
        let (_directory, settings) = settings(&environment, &[]);
        let account = |account| settings.account(account).map(|found| found.map(|(name, _)| name));
        assert_eq!(account(Account::Writer).expect("read").as_deref(), Some("scribe"));
        assert_eq!(account(Account::Reader).expect("read").as_deref(), Some("reader"));
        assert_eq!(account(Account::Analyst).expect("read"), None);
        assert!(matches!(account(Account::Loader), Err(ServerError::PasswordUnset { .. })));
        assert_eq!([settings.user_name(Account::Writer), settings.user_name(Account::Reader)], ["scribe", "reader"]);
        let password = |user| settings.password_of(user).expect("read").map(|(account, _)| account);
        assert_eq!(password("scribe"), Some(Account::Writer));
        // `READER_USER` is not set, so the reader has its default name. `WRITER_USER` is set to `scribe`, so no account
        // has the name `writer`.
        assert_eq!(password("reader"), Some(Account::Reader));
        assert_eq!([password("l"), password("loader"), password("writer"), password("stranger")], [None; 4]);
        let variable = |user| settings.password_variable_of(user);
        assert_eq!([variable("l"), variable("analyst")], [Some("LOADER_PASS"), Some("ANALYST_PASS")]);
        assert_eq!([variable("loader"), variable("stranger")], [None; 2]);
    }

    #[test]
    fn the_default_name_of_root_user_and_administrator_is_that_of_the_user_with_a_password() {
        let account = |environment: &[(&str, &str)]| {
            let (_directory, settings) = settings(environment, &[]);
            settings.password_of("admin").expect("read").map(|(account, _)| account)
        };
        assert_eq!(account(&[("ADMIN_PASS", "a")]), Some(Account::Admin));
        assert_eq!(account(&[("MONGO_ROOT_PASS", "r")]), Some(Account::Root));
        assert_eq!(account(&[("MONGO_ROOT_PASS", "r"), ("ADMIN_PASS", "a")]), Some(Account::Root));
        let named = [("MONGO_ROOT_PASS", "r"), ("ADMIN_USER", "admin"), ("ADMIN_PASS", "a")];
        assert_eq!(account(&named), Some(Account::Admin));
        assert_eq!(account(&[]), None);
    }

    #[test]
    fn the_files_of_the_settings_are_listed() {
        let environment = [("A_FILE", "a"), ("B_FILE", ""), ("A", "x"), ("D_FILE", "/d")];
        let (directory, settings) = settings(&environment, &[(".env", "C_FILE=c\nE=y\n")]);
        let mut files = settings.files();
        assert_eq!(files.remove(0), directory.path().join(".env"));
        files.sort();
        assert_eq!(files, [Path::new("/d").to_owned(), directory.path().join("a"), directory.path().join("c")]);
    }

    #[test]
    fn the_message_about_a_wrong_env_file_does_not_quote_it() {
        let problem = |text: &str| {
            let directory = tempfile::tempdir().expect("a directory");
            std::fs::write(directory.path().join(".env"), text).expect("written");
            let error = Settings::from_parts(std::iter::empty(), directory.path()).err().expect("wrong");
            let ServerError::EnvFile { problem, .. } = error else { panic!("{error}") };
            problem
        };
        let value =
            |line| format!("line {line}: the value of WRITER_PASS cannot be read: put the value in single quotes");
        assert_eq!(problem("WRITER_PASS=a b'"), value(1));
        assert_eq!(problem("A=1\n# WRITER_PASS=pa55 w0rd\nexport WRITER_PASS=pa55 w0rd\nB=2\n"), value(3));
        assert_eq!(problem("A='1\n2'\nWRITER_PASS=\"pa55\nB=2\n"), value(3));
        let changed = "the value of WRITER_PASS contains $, which would be replaced: put the value in single quotes";
        for line in ["WRITER_PASS=pa$55", "export WRITER_PASS=\"pa$55\"", "A=1\nWRITER_PASS=$A"] {
            let number = line.lines().count();
            assert_eq!(problem(line), format!("line {number}: {changed}"), "{line}");
        }
        let (_directory, kept) = settings(&[], &[(".env", "WRITER_PASS='pa$55'\nREADER_PASS=pa\\$55\nDB_NAME=$X\n")]);
        assert_eq!((kept.get("WRITER_PASS"), kept.get("READER_PASS")), (Some("pa$55"), Some("pa$55")));
        for line in ["pa55=a b'", "Pa55Word=a b'", "PA55=a b'", "P4 W=a b'", "=a b'"] {
            let expected = "line 1: a line must have the form NAME=value, and a value with spaces needs single quotes";
            assert_eq!(problem(line), expected, "{line}");
        }
        // A missing file is no error. A file that cannot be examined is an error.
        assert!(Settings::from_parts(std::iter::empty(), Path::new("/nonexistent")).is_ok());
        assert!(Settings::from_parts(std::iter::empty(), Path::new("/dev/null")).is_err());
    }

    #[test]
    fn variables_that_are_not_utf8_are_ignored() {
        use std::os::unix::ffi::OsStringExt;
        let broken = std::ffi::OsString::from_vec(vec![0xff]);
        assert_eq!(text_pair(("A".into(), "1".into())), Some(("A".to_owned(), "1".to_owned())));
        assert_eq!(text_pair(("A".into(), broken.clone())), None);
        assert_eq!(text_pair((broken, "1".into())), None);
    }
}
