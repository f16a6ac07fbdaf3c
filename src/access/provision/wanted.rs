//! The wanted state of a database.

use bson::{Document, doc};

use super::password::weakness;
use super::roles::role_of;
use crate::access::{AccessError, Account, Secret, Settings};
use crate::spec::Spec;

/// The users that provisioning creates, in the order in which they are listed.
pub(super) const ACCOUNTS: [Account; 5] =
    [Account::Admin, Account::Writer, Account::Reader, Account::Loader, Account::Analyst];

/// The wanted state of one database.
#[derive(Debug, Clone)]
pub struct Wanted<'spec> {
    /// The dataset.
    pub spec: &'spec Spec,
    /// The database for the data. It also stores the users and roles.
    pub database: String,
    /// The collection for the data.
    pub collection: String,
    /// The collection of the ledger.
    pub ledger: String,
    /// The users.
    pub users: Vec<WantedUser>,
}

/// A user that should exist.
#[derive(Debug, Clone)]
pub struct WantedUser {
    /// The account. It determines the role.
    pub account: Account,
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: Secret,
    /// The variable that contains the password.
    pub variable: &'static str,
}

/// The users from the settings.
#[derive(Debug, Clone, Default)]
pub struct WantedUsers {
    /// The users with a password.
    pub users: Vec<WantedUser>,
    /// Messages for optional users without a password. Each explains how to create the user.
    pub left_out: Vec<String>,
}

impl WantedUser {
    /// Reads names and passwords from the settings. If a password is not set, `ask` is called with the name of its
    /// variable; it returns `None` if nobody can be asked. The loader and the analyst are optional.
    ///
    /// # Errors
    /// If passwords are missing, or if two variables name the same user. All problems are reported at once.
    pub fn all(settings: &Settings, mut ask: impl FnMut(&str) -> Option<Secret>) -> Result<WantedUsers, AccessError> {
        let mut wanted = WantedUsers::default();
        let mut problems = Vec::new();
        for account in ACCOUNTS {
            let (name, variable, password) = named(settings, account)?;
            match password.or_else(|| ask(variable)) {
                Some(password) => wanted.users.push(Self { account, name, password, variable }),
                None if is_optional(account) => wanted.left_out.push(format!(
                    "user {name} ({}) is not made, because {variable} is not set; set it and run the command again",
                    purpose(account)
                )),
                None => problems.push(format!("{variable} is not set")),
            }
        }
        let users = &wanted.users;
        let same_name = |user: &Self| users.iter().filter(|other| other.name == user.name).count() > 1;
        problems.extend(
            users
                .iter()
                .filter(|user| same_name(user))
                .map(|user| format!("{} names a user that another variable names too", user.account.user_variable())),
        );
        if problems.is_empty() {
            return Ok(wanted);
        }
        problems.extend(users.iter().filter_map(Self::weakness));
        Err(AccessError::Users { problems: problems.join("; ") })
    }

    /// Returns the problem with the password, if it is too weak.
    pub(super) fn weakness(&self) -> Option<String> {
        let weakness = weakness(&self.name, self.password.reveal())?;
        Some(format!("{} is too weak: {weakness}", self.variable))
    }

    pub(super) fn role(&self) -> &'static str {
        role_of(self.account)
    }

    /// Returns the mark of every user that this program creates. Users without the mark are never changed.
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

/// Returns true for users that the original setup does not have. A deployment without them is complete.
const fn is_optional(account: Account) -> bool {
    matches!(account, Account::Loader | Account::Analyst)
}

const fn purpose(account: Account) -> &'static str {
    match account {
        Account::Loader => "loads and verifies, and cannot delete",
        Account::Analyst => "sees the de-identified view only",
        _ => "required",
    }
}

/// Returns an account's name, the variable of its password, and the password. As in the original setup, the
/// administrator of the database has the root user's name and password unless it has its own.
fn named(settings: &Settings, account: Account) -> Result<(String, &'static str, Option<Secret>), AccessError> {
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
