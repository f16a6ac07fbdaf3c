//! Settings from the environment and from a `.env` file in the working directory. The environment takes precedence.
//!
//! The process environment is read and never changed. An empty value counts as not set, as in the template of `.env`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{AccessError, Secret};

/// The settings from the environment and from `.env`.
#[derive(Clone, Default)]
pub struct Settings {
    environment: HashMap<String, String>,
    file: HashMap<String, String>,
    directory: PathBuf,
}

/// A user, with the variables for its name and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The deployment's root user. It is stored in the database `admin`.
    Root,
    /// The administrator of the database, without access to data.
    Admin,
    /// May read and write all data.
    Writer,
    /// May read all data.
    Reader,
    /// May load and verify, but cannot delete.
    Loader,
    /// May only read the de-identified view.
    Analyst,
}

impl Account {
    /// All accounts.
    pub const ALL: [Self; 6] = [Self::Root, Self::Admin, Self::Writer, Self::Reader, Self::Loader, Self::Analyst];

    /// Returns the variable that contains the user's name. The password is in the variable that ends with `_PASS`
    /// instead of `_USER`.
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

    /// Returns the variable that contains the password. The variable with `_FILE` appended contains the path of a
    /// file with the password.
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

    /// Returns the user's name if its variable is not set, as in the template of `.env`.
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
    pub fn load() -> Result<Self, AccessError> {
        Self::from_parts(std::env::vars_os().filter_map(text_pair), Path::new("."))
    }

    /// Reads the settings from the given environment and directory.
    pub fn from_parts(
        environment: impl Iterator<Item = (String, String)>,
        directory: &Path,
    ) -> Result<Self, AccessError> {
        let file = read_env_file(&directory.join(".env"))?;
        Ok(Self { environment: environment.collect(), file, directory: directory.to_owned() })
    }

    /// Returns a variable's value: from the environment, or else from `.env`.
    pub fn get(&self, name: &str) -> Option<&str> {
        [&self.environment, &self.file].into_iter().find_map(|map| set(map, name))
    }

    /// Returns a secret: the variable's value, or the content of the file named by the variable with `_FILE`
    /// appended, without its last line end. Both variables of the environment take precedence over those of `.env`.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, AccessError> {
        let file_variable = format!("{name}_FILE");
        for map in [&self.environment, &self.file] {
            match (set(map, name), set(map, &file_variable)) {
                (Some(_), Some(_)) => return Err(AccessError::SetTwice { name: name.to_owned() }),
                (Some(value), None) => return Ok(Some(value.into())),
                (None, Some(path)) => return read_secret(&file_variable, &self.directory.join(path)).map(Some),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// Returns the files from which the settings are read: `.env` and the files with secrets.
    pub fn files(&self) -> Vec<PathBuf> {
        let secrets = [&self.environment, &self.file].into_iter().flatten();
        let secrets = secrets.filter(|(name, value)| name.ends_with("_FILE") && !value.is_empty());
        let named = secrets.map(|(_, value)| self.directory.join(value));
        std::iter::once(self.directory.join(".env")).chain(named).collect()
    }

    /// Returns the name of an account's user.
    pub fn user_name(&self, account: Account) -> &str {
        self.get(account.user_variable()).unwrap_or(account.default_name())
    }

    /// Returns the name and password of an account, or `None` if neither is set.
    pub fn account(&self, account: Account) -> Result<Option<(String, Secret)>, AccessError> {
        let (user, password) = (account.user_variable(), account.password_variable());
        match self.secret(password)? {
            Some(secret) => Ok(Some((self.user_name(account).to_owned(), secret))),
            None if self.get(user).is_some() => Err(AccessError::PasswordUnset { user, password }),
            None => Ok(None),
        }
    }

    /// Returns the account whose user is `user`, with its password, if both are set.
    pub fn password_of(&self, user: &str) -> Result<Option<(Account, Secret)>, AccessError> {
        let Some(account) = Account::ALL.into_iter().find(|account| self.get(account.user_variable()) == Some(user))
        else {
            return Ok(None);
        };
        Ok(self.secret(account.password_variable())?.map(|password| (account, password)))
    }
}

fn set<'a>(map: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    map.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// Returns a variable and its value. Variables that are not UTF-8 are ignored, because none of the program's are.
fn text_pair((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

fn read_env_file(path: &Path) -> Result<HashMap<String, String>, AccessError> {
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(HashMap::new()),
        Err(error) => return Err(env_file_error(path, &error)),
    };
    lines.collect::<Result<_, _>>().map_err(|error| env_file_error(path, &error))
}

/// Describes the error without the parser's own message, which quotes the line. The line may contain a password.
fn env_file_error(path: &Path, error: &dotenvy::Error) -> AccessError {
    let problem = match error {
        dotenvy::Error::Io(error) => error.kind().to_string(),
        dotenvy::Error::LineParse(line, _) => match line.split_once('=') {
            Some((key, _)) if is_variable_name(key) => {
                format!("the value of {key} cannot be read: put it in single quotes")
            }
            _ => "a line is not NAME=value".to_owned(),
        },
        _ => "it cannot be read".to_owned(),
    };
    AccessError::EnvFile { path: path.to_owned(), problem }
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn read_secret(variable: &str, path: &Path) -> Result<Secret, AccessError> {
    let text = std::fs::read_to_string(path).map_err(|error| AccessError::SecretFile {
        variable: variable.to_owned(),
        problem: error.kind().to_string(),
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).into())
}
