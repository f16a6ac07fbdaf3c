//! The wanted state of a database.

use bson::{Document, doc};

use super::password::weakness;
use super::roles::role_of;
use crate::deployment::error::DeploymentError;
use crate::server::{Account, Secret, ServerError, Settings};
use crate::spec::Spec;

/// The users that provisioning creates, in the order in which they are listed.
pub(super) const ACCOUNTS: [Account; 5] =
    [Account::Admin, Account::Writer, Account::Reader, Account::Loader, Account::Analyst];

/// The wanted state of one database.
#[derive(Debug, Clone)]
pub struct Wanted<'spec> {
    /// The dataset spec.
    pub spec: &'spec Spec,
    /// The database for the data. The users and roles are also in this database.
    pub database: String,
    /// The collection for the data.
    pub collection: String,
    /// The collection of the ledger.
    pub ledger: String,
    /// The users.
    pub users: Vec<WantedUser>,
}

/// A user that provisioning creates.
#[derive(Debug, Clone)]
pub struct WantedUser {
    /// The account. It decides the role of the user.
    pub account: Account,
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: Secret,
    /// The variable that contains the password.
    pub variable: &'static str,
}

/// The users that the settings describe.
#[derive(Debug, Clone, Default)]
pub struct WantedUsers {
    /// The users whose password is set or was entered.
    pub users: Vec<WantedUser>,
    /// Messages about optional users whose password is not set. Each message says how to create the user.
    pub left_out: Vec<String>,
}

impl WantedUser {
    /// Reads names and passwords from the settings. If a password is not set, calls `ask` with the name of its
    /// variable. `ask` returns `None` if nobody can enter a password. The loader and the analyst are optional.
    ///
    /// # Errors
    /// A setting cannot be read, a required password is not set, or two variables contain the same user name. The error
    /// for passwords and user names lists all problems.
    pub fn all(
        settings: &Settings,
        mut ask: impl FnMut(&str) -> Option<Secret>,
    ) -> Result<WantedUsers, DeploymentError> {
        let mut wanted = WantedUsers::default();
        let mut problems = Vec::new();
        for account in ACCOUNTS {
            let (name, variable, password) = named(settings, account)?;
            match password.or_else(|| ask(variable)) {
                Some(password) => wanted.users.push(Self { account, name, password, variable }),
                None if is_optional(account) => wanted.left_out.push(format!(
                    "user {name} ({}) is not created, because {variable} is not set; set it and run the command again",
                    purpose(account)
                )),
                None => problems.push(format!("{variable} is not set")),
            }
        }
        let users = &wanted.users;
        let same_name = |user: &Self| users.iter().filter(|other| other.name == user.name).count() > 1;
        problems.extend(
            users.iter().filter(|user| same_name(user)).map(|user| {
                format!("{} contains the same user name as another variable", user.account.user_variable())
            }),
        );
        if problems.is_empty() {
            return Ok(wanted);
        }
        problems.extend(users.iter().filter_map(Self::weakness));
        Err(DeploymentError::Users { problems: problems.join("; ") })
    }

    /// Returns the problem if the password is too weak.
    pub(super) fn weakness(&self) -> Option<String> {
        let weakness = weakness(&self.name, self.password.reveal())?;
        Some(format!("{} is too weak: {weakness}", self.variable))
    }

    pub(super) fn role(&self) -> &'static str {
        role_of(self.account)
    }

    /// Returns the mark that is stored in every user that Medlift creates. Users without the mark are never changed.
    pub(super) fn mark() -> Document {
        doc! { "madeBy": "medlift provision" }
    }

    pub(super) fn create(&self, database: &str) -> Document {
        doc! {
            "createUser": &self.name,
            "pwd": self.password.reveal(),
            "roles": [{ "role": self.role(), "db": database }],
            "mechanisms": ["SCRAM-SHA-256"],
            "customData": Self::mark(),
        }
    }
}

const fn is_optional(account: Account) -> bool {
    matches!(account, Account::Loader | Account::Analyst)
}

const fn purpose(account: Account) -> &'static str {
    match account {
        Account::Loader => "loads and verifies, and cannot delete",
        Account::Analyst => "sees only the de-identified view",
        _ => "required",
    }
}

/// Returns the user name of an account, the variable of its password, and the password. If neither `ADMIN_USER` nor
/// `ADMIN_PASS` is set, the administrator of the database has the root user's name and password, if they are set.
fn named(settings: &Settings, account: Account) -> Result<(String, &'static str, Option<Secret>), ServerError> {
    let own = settings.secret(account.password_variable())?;
    let unset = own.is_none() && settings.get(account.user_variable()).is_none();
    if account == Account::Admin
        && unset
        && let Some((name, password)) = settings.account(Account::Root)?
    {
        return Ok((name, Account::Root.password_variable(), Some(password)));
    }
    Ok((settings.user_name(account).to_owned(), account.password_variable(), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "k4Tz-9pLmw2x";

    /// Reads the users from these variables. Nobody can enter a password.
    fn users(pairs: &[(&str, &str)]) -> Result<WantedUsers, DeploymentError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings::from_parts(pairs, std::path::Path::new("/nonexistent")).expect("settings");
        WantedUser::all(&settings, |_| None)
    }

    fn names(wanted: &WantedUsers) -> Vec<(Account, &str, &str)> {
        wanted.users.iter().map(|user| (user.account, user.name.as_str(), user.variable)).collect()
    }

    #[test]
    fn without_own_settings_the_administrator_is_the_root_user() {
        let rest =
            [("MONGO_ROOT_USER", "chief"), ("MONGO_ROOT_PASS", GOOD), ("WRITER_PASS", GOOD), ("READER_PASS", GOOD)];
        let admin = |more: &[(&str, &str)]| {
            let wanted = users(&[&rest[..], more].concat()).expect("users");
            (wanted.users[0].name.clone(), wanted.users[0].variable)
        };
        assert_eq!(admin(&[]), ("chief".to_owned(), "MONGO_ROOT_PASS"));
        assert_eq!(admin(&[("ADMIN_PASS", GOOD)]), ("admin".to_owned(), "ADMIN_PASS"));
        assert_eq!(admin(&[("ADMIN_PASS", GOOD), ("ADMIN_USER", "boss")]), ("boss".to_owned(), "ADMIN_PASS"));
        let unset = users(&[&rest[..], &[("ADMIN_USER", "boss")]].concat()).expect_err("no password").to_string();
        assert!(unset.contains("ADMIN_PASS is not set"), "{unset}");
    }

    #[test]
    fn only_loader_and_analyst_are_optional() {
        let wanted =
            users(&[("ADMIN_PASS", GOOD), ("WRITER_PASS", GOOD), ("READER_PASS", GOOD), ("LOADER_USER", "carrier")]);
        let wanted = wanted.expect("users");
        let expected = [
            (Account::Admin, "admin", "ADMIN_PASS"),
            (Account::Writer, "writer", "WRITER_PASS"),
            (Account::Reader, "reader", "READER_PASS"),
        ];
        assert_eq!(names(&wanted), expected);
        assert_eq!(wanted.left_out.len(), 2);
        assert!(wanted.left_out[0].contains("user carrier (loads and verifies, and cannot delete)"), "{wanted:?}");
        assert!(
            wanted.left_out[0].contains("LOADER_PASS is not set")
                && wanted.left_out[1].contains("ANALYST_PASS is not set")
        );
        assert!(wanted.left_out[1].contains("user analyst (sees only the de-identified view)"), "{wanted:?}");
        for left_out in ["ADMIN_PASS", "WRITER_PASS", "READER_PASS"] {
            let some = ["ADMIN_PASS", "WRITER_PASS", "READER_PASS"]
                .map(|name| (name, if name == left_out { "" } else { GOOD }));
            let problems = users(&some).expect_err("refused").to_string();
            assert!(problems.contains(&format!("{left_out} is not set")), "{problems}");
        }
    }

    #[test]
    fn two_users_with_one_name_are_refused() {
        let all = [("ADMIN_PASS", GOOD), ("WRITER_PASS", "short"), ("READER_PASS", GOOD), ("READER_USER", "writer")];
        let problems = users(&all).expect_err("refused").to_string();
        for part in [
            "WRITER_USER contains the same user name as another variable",
            "READER_USER contains the same user name as another variable",
            "WRITER_PASS is too weak: it has fewer than 12 characters",
        ] {
            assert!(problems.contains(part), "{problems}");
        }
        assert!(!problems.contains("ADMIN"), "{problems}");
    }

    #[test]
    fn a_user_is_created_with_role_mark_and_scram_sha_256() {
        let wanted = users(&[("ADMIN_PASS", GOOD), ("WRITER_PASS", GOOD), ("READER_PASS", GOOD)]).expect("users");
        let expected = doc! {
            "createUser": "writer",
            "pwd": GOOD,
            "roles": [{ "role": "readWrite", "db": "ward" }],
            "mechanisms": ["SCRAM-SHA-256"],
            "customData": { "madeBy": "medlift provision" },
        };
        assert_eq!(wanted.users[1].create("ward"), expected);
    }
}
