//! The passwords that `medlift provision` needs and that are not set: asks for them, or generates and stores them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use medlift::deployment::provision::WantedUser;
use medlift::error::Error;
use medlift::outputs::{Output, PRIVATE_MODE};
use medlift::server::{Secret, env_file};

use super::{output, prompt};

/// Maximum number of attempts to enter a password for one user.
const TRIES: usize = 3;

/// The source of the passwords that are not set.
#[derive(Debug)]
pub(super) enum Source {
    /// There is no source, because nobody can enter a password.
    Nobody,
    /// The user enters the passwords on the terminal.
    Terminal,
    /// The passwords are generated and added to this file, which has the format of `.env`.
    EnvFile(PathBuf),
    /// The passwords are generated. Each is written to its own file in this directory.
    Directory(PathBuf),
}

impl Source {
    /// Returns the source if no option names one. If standard input is a terminal, the user enters the passwords there.
    pub(super) fn default() -> Self {
        if io::stdin().is_terminal() { Self::Terminal } else { Self::Nobody }
    }

    /// Returns true if this source can give passwords.
    pub(super) const fn has_passwords(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    /// Returns the users with their passwords. A user without password is not created. Generated passwords are stored
    /// before this function returns.
    pub(super) fn passwords(&self, users: Vec<WantedUser>) -> Result<Vec<WantedUser>, Error> {
        match self {
            Self::Nobody => Ok(users),
            Self::Terminal => users.into_iter().map(ask_on_terminal).collect(),
            Self::EnvFile(path) => {
                let users = generated(users)?;
                add_to_file(path, &users)?;
                Ok(users)
            }
            Self::Directory(directory) => {
                let users = generated(users)?;
                write_files(directory, &users)?;
                Ok(users)
            }
        }
    }

    /// Returns the users for `--plan`. Each user has a generated password, which is not stored. Nothing is asked. With
    /// [`Source::Nobody`], the users have no password.
    pub(super) fn preview(&self, users: Vec<WantedUser>) -> Result<Vec<WantedUser>, Error> {
        if self.has_passwords() { generated(users) } else { Ok(users) }
    }

    /// Returns the message about the password of a user. `is_plan` is true if nothing was stored or asked yet.
    pub(super) fn tell(&self, user: &WantedUser, is_plan: bool) -> Option<String> {
        let (name, variable) = (&user.name, user.variable);
        let generated = if is_plan { "will be generated and written to" } else { "was generated and is in" };
        match self {
            Self::Terminal if is_plan => Some(format!("{variable} of user {name} will be asked for")),
            Self::Nobody | Self::Terminal => None,
            Self::EnvFile(path) => Some(format!("{variable} of user {name} {generated} {}", path.display())),
            Self::Directory(directory) => {
                let path = directory.join(variable);
                let path = path.display();
                Some(format!("{variable} of user {name} {generated} {path}; set {variable}_FILE={path}"))
            }
        }
    }
}

fn generated(users: Vec<WantedUser>) -> Result<Vec<WantedUser>, Error> {
    let users = users.into_iter().map(WantedUser::with_generated_password).collect::<io::Result<_>>();
    users.map_err(|error| Error::Stopped(format!("cannot generate passwords: cannot read /dev/urandom: {error}")))
}

/// Adds the passwords to a file in the format of `.env`. The file is replaced as a whole. Only its owner can read it.
fn add_to_file(path: &Path, users: &[WantedUser]) -> Result<(), Error> {
    if users.is_empty() {
        return Ok(());
    }
    let wrong = |problem: &dyn std::fmt::Display| {
        Error::Stopped(format!(
            "cannot add the generated passwords to {}: {problem}; no user was created",
            path.display()
        ))
    };
    refuse_file(path).map_err(|problem| wrong(&problem))?;
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| wrong(&error))?,
    };
    let values: Vec<(&str, &Secret)> =
        users.iter().filter_map(|user| Some((user.variable, user.password.as_ref()?))).collect();
    let text = env_file::with_values(&text, &values).map_err(|problem| wrong(&problem))?;
    let mut output = Output::file(path, PRIVATE_MODE).map_err(|error| wrong(&error))?;
    output.write_all(text.as_bytes()).and_then(|()| output.finish()).map_err(|error| wrong(&error))
}

/// Returns the problem if this existing file cannot be replaced by a file with passwords: a device, a pipe, or a file
/// of another user, who could no longer read it.
fn refuse_file(path: &Path) -> Result<(), &'static str> {
    // Such a path can lead to a file that another program has open, for example /dev/stdout.
    let is_open_file = path.starts_with("/dev") || path.starts_with("/proc");
    match fs::metadata(path) {
        Ok(found) if is_open_file || !found.is_file() => Err("it is not a regular file"),
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            Err("the file belongs to another user; run the command as that user, or name another file")
        }
        _ => Ok(()),
    }
}

/// Writes each password to a new file that has the name of its variable. Only the owner can read it. Writes nothing if
/// one of the files exists.
fn write_files(directory: &Path, users: &[WantedUser]) -> Result<(), Error> {
    let wrong = |path: &Path, problem: &dyn std::fmt::Display| {
        Error::Stopped(format!(
            "cannot write a generated password to {}: {problem}; no user was created",
            path.display()
        ))
    };
    if let Some((user, path)) =
        users.iter().map(|user| (user, directory.join(user.variable))).find(|(_, path)| path.exists())
    {
        let problem = format!("the file exists; set {}_FILE to use it, or name another directory", user.variable);
        return Err(wrong(&path, &problem));
    }
    if users.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| wrong(directory, &error))?;
    for (path, password) in
        users.iter().filter_map(|user| Some((directory.join(user.variable), user.password.as_ref()?)))
    {
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE_MODE).open(&path);
        let mut file = file.map_err(|error| wrong(&path, &error))?;
        if let Err(error) = writeln!(file, "{}", password.reveal()).and_then(|()| file.sync_all()) {
            // An empty file would prevent the next attempt.
            let _ = fs::remove_file(&path);
            return Err(wrong(&path, &error));
        }
    }
    // Makes the names of the files durable. Otherwise a crash after the creation of the users could lose the passwords.
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| wrong(directory, &error))
}

fn ask_on_terminal(user: WantedUser) -> Result<WantedUser, Error> {
    let password = ask(&user, &mut |text| prompt::password(text), &mut |text| output::tell(text))?;
    Ok(WantedUser { password, ..user })
}

/// Asks for the password of a user, twice. Asks again if the password is too weak or the second one differs. Returns
/// `None` if the user is optional and the answer is empty.
fn ask(
    user: &WantedUser,
    read: &mut dyn FnMut(&str) -> io::Result<String>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Secret>, Error> {
    let (name, variable) = (&user.name, user.variable);
    let failed =
        |problem: String| Error::Usage(format!("cannot create user {name}: {problem}; set {variable} instead"));
    let empty = if user.is_optional() { "; Enter leaves the user out" } else { "" };
    say(&format!(
        "user {name}, who {}, needs a password, because {variable} is not set: at least 12 characters{empty}",
        user.rights()
    ));
    // The terminal reports Ctrl-C as an error while it waits for a password.
    let mut read = |prompt: &str| {
        read(prompt).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => Error::Interrupted,
            _ => failed(format!("cannot ask for the password: {error}")),
        })
    };
    for _ in 0..TRIES {
        let password: Secret = read(&format!("password for user {name}: "))?.into();
        if password.reveal().is_empty() && user.is_optional() {
            return Ok(None);
        }
        let weaknesses = user.weaknesses(&password);
        if !weaknesses.is_empty() {
            say(&format!("the password is too weak: {}", weaknesses.join(", ")));
        } else if read(&format!("the same password again for user {name}: "))? == password.reveal() {
            return Ok(Some(password));
        } else {
            say("the two passwords differ");
        }
    }
    Err(failed(format!("{TRIES} passwords were not acceptable")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use medlift::server::Account;

    use super::*;

    const GOOD: &str = "k4Tz-9pLmw2x";

    fn user(account: Account) -> WantedUser {
        let name = account.default_name().to_owned();
        WantedUser { account, name, password: None, variable: account.password_variable(), reads_ranges: false }
    }

    /// Answers the prompts in order. Returns the password, and everything that was shown.
    fn answered(account: Account, answers: &[&str]) -> (Result<Option<Secret>, Error>, String) {
        let mut shown = Vec::new();
        let mut prompts = Vec::new();
        let mut answers = answers.iter();
        let mut read = |prompt: &str| {
            prompts.push(prompt.to_owned());
            answers.next().map(|answer| (*answer).to_owned()).ok_or(io::ErrorKind::UnexpectedEof.into())
        };
        let found = ask(&user(account), &mut read, &mut |text| shown.push(text.to_owned()));
        assert!(answers.next().is_none(), "all answers must be asked for: {prompts:?}");
        shown.extend(prompts);
        (found, shown.join("\n"))
    }

    #[test]
    fn a_password_is_asked_twice_and_judged_at_once() {
        let password = |account, answers: &[&str]| {
            let (found, shown) = answered(account, answers);
            assert!(!shown.contains(GOOD), "{shown}");
            (found.ok().flatten().map(|password| password.reveal().to_owned()), shown)
        };
        let (found, shown) = password(Account::Writer, &[GOOD, GOOD]);
        assert_eq!(found.as_deref(), Some(GOOD));
        assert!(shown.contains("user writer, who reads and writes all data, needs a password"), "{shown}");
        assert!(shown.contains("WRITER_PASS is not set") && shown.contains("again for user writer"), "{shown}");
        let (found, shown) = password(Account::Writer, &["writer1", GOOD, "other", GOOD, GOOD]);
        assert_eq!(found.as_deref(), Some(GOOD));
        assert!(shown.contains("too weak: it has fewer than 12 characters, it contains the user's name"), "{shown}");
        assert!(shown.contains("the two passwords differ"), "{shown}");
    }

    #[test]
    fn only_an_optional_user_may_be_left_out_and_there_are_three_tries() {
        let (found, shown) = answered(Account::Loader, &[""]);
        assert!(matches!(found, Ok(None)) && shown.contains("Enter leaves the user out"), "{shown}");
        let (found, shown) = answered(Account::Reader, &["", "a", "b"]);
        let error = found.expect_err("refused").to_string();
        assert!(error.contains("3 passwords were not acceptable; set READER_PASS"), "{error}");
        assert!(!shown.contains("Enter leaves"), "{shown}");
        let (found, _) = answered(Account::Reader, &[]);
        assert!(found.expect_err("no terminal").to_string().contains("cannot ask for the password"));
    }

    #[test]
    fn generated_passwords_are_in_a_private_file_before_they_are_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".env");
        fs::write(&path, "# mine\nREADER_PASS=\n").expect("written");
        let users = vec![user(Account::Reader), user(Account::Loader)];
        let found = Source::EnvFile(path.clone()).passwords(users).expect("stored");
        let password = |at: usize| found[at].password.as_ref().expect("a password").reveal();
        let expected = format!("# mine\nREADER_PASS={}\nLOADER_PASS={}\n", password(0), password(1));
        assert_eq!(fs::read_to_string(&path).expect("read"), expected);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "a broken line\n").expect("written");
        let refused = Source::EnvFile(path.clone()).passwords(vec![user(Account::Reader)]).expect_err("refused");
        assert!(refused.to_string().contains("no user was created"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("read"), "a broken line\n");
    }

    #[test]
    fn passwords_are_never_added_to_a_device_or_to_a_file_of_another_user() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(".env");
        assert_eq!(refuse_file(&path), Ok(()));
        fs::write(&path, "A=1\n").expect("written");
        assert_eq!(refuse_file(&path), Ok(()));
        for device in ["/dev/null", "/dev/stdout"] {
            let refused = add_to_file(Path::new(device), &[user(Account::Reader)]).expect_err("refused").to_string();
            assert!(refused.contains("not a regular file") && refused.contains("no user was created"), "{refused}");
        }
        match std::os::unix::fs::chown(&path, Some(54_321), None) {
            Ok(()) => assert!(refuse_file(&path).expect_err("refused").contains("another user")),
            Err(error) => println!("skipped: this user may not give a file away: {error}"),
        }
    }

    #[test]
    fn a_file_for_each_password_is_never_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = directory.path().join("secrets");
        let source = Source::Directory(inner.clone());
        let found = source.passwords(vec![user(Account::Reader)]).expect("stored");
        let path = inner.join("READER_PASS");
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text.trim_end(), found[0].password.as_ref().expect("a password").reveal());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let both = vec![user(Account::Writer), user(Account::Reader)];
        let refused = source.passwords(both).expect_err("refused").to_string();
        assert!(!inner.join("WRITER_PASS").exists());
        assert!(
            refused.contains("set READER_PASS_FILE to use it") && refused.contains("no user was created"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), text);
        let told = source.tell(&found[0], false).expect("a message");
        assert!(told.ends_with(&format!("set READER_PASS_FILE={}", path.display())) && !told.contains(text.trim_end()));
    }
}
