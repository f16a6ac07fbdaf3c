//! The wanted state of a database.

use bson::{Document, doc};

use super::password::{generate, weaknesses};
use super::roles::{RANGES_ROLE, role_of};
use crate::deployment::error::DeploymentError;
use crate::server::{Account, Secret, ServerError, Settings};
use crate::spec::Spec;

/// The users that provisioning creates, in the order in which they are listed.
pub(super) const ACCOUNTS: [Account; 5] = Account::PROVISIONED;

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
    /// How the collection is sharded. `None` if the steps do not shard it.
    pub sharding: Option<Sharding>,
}

/// The wish to shard the collection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sharding {
    /// Number of shards that receive a range. `None` for all shards.
    pub shards: Option<usize>,
}

/// A user that provisioning creates.
#[derive(Debug, Clone)]
pub struct WantedUser {
    /// The account. It decides the role of the user.
    pub account: Account,
    /// The user's name.
    pub name: String,
    /// The user's password. `None` if it is not set.
    pub password: Option<Secret>,
    /// The variable that contains the password.
    pub variable: &'static str,
    /// Whether the user may also read which shard owns which range, because it writes into a sharded collection.
    pub reads_ranges: bool,
}

/// The users that the settings describe.
#[derive(Debug, Clone, Default)]
pub struct WantedUsers {
    /// The users.
    pub users: Vec<WantedUser>,
    /// Messages about optional users that cannot be created, because another user has the same name. Each message says
    /// how to create the user.
    pub left_out: Vec<String>,
}

impl WantedUser {
    /// Reads names and passwords from the settings. A user whose password is not set is returned too. Reason: if the
    /// user already exists on the server, no password is needed.
    ///
    /// # Errors
    /// A setting cannot be read, or two variables contain the same user name. The error lists all these variables.
    pub fn all(settings: &Settings) -> Result<WantedUsers, DeploymentError> {
        let mut users = Vec::new();
        for account in ACCOUNTS {
            let (name, variable, password) = named(settings, account)?;
            users.push(Self { account, name, password, variable, reads_ranges: false });
        }
        let is_same_name = |user: &Self| users.iter().filter(|other| other.name == user.name).count() > 1;
        let is_left_out = |user: &Self| user.password.is_none() && user.is_optional() && is_same_name(user);
        let left_out = users.iter().filter(|user| is_left_out(user)).map(|user| {
            let reason = format!("another user has the same name; set {}", user.account.user_variable());
            user.left_out(&reason)
        });
        let left_out = left_out.collect();
        let kept: Vec<Self> = users.iter().filter(|user| !is_left_out(user)).cloned().collect();
        let is_same_name = |user: &&Self| kept.iter().filter(|other| other.name == user.name).count() > 1;
        let problems: Vec<String> = kept
            .iter()
            .filter(is_same_name)
            .map(|user| format!("{} contains the same user name as another variable", user.account.user_variable()))
            .collect();
        if problems.is_empty() {
            return Ok(WantedUsers { users: kept, left_out });
        }
        Err(DeploymentError::Users { problems: problems.join("; ") })
    }

    /// Returns the reasons why `password` is too weak for this user. Empty if it is strong enough.
    pub fn weaknesses(&self, password: &Secret) -> Vec<&'static str> {
        weaknesses(&self.name, password.reveal())
    }

    /// Returns the problem if the password is too weak. `None` if it is strong enough or not set.
    pub(super) fn weakness(&self) -> Option<String> {
        let weaknesses = self.weaknesses(self.password.as_ref()?);
        (!weaknesses.is_empty()).then(|| format!("{} is too weak: {}", self.variable, weaknesses.join(", ")))
    }

    /// Returns the user with a random password. The operating system makes the random bytes.
    pub fn with_generated_password(self) -> std::io::Result<Self> {
        Ok(Self { password: Some(generate(&self.name)?), ..self })
    }

    /// Returns true if the deployment is complete without this user.
    pub const fn is_optional(&self) -> bool {
        matches!(self.account, Account::Loader | Account::Analyst)
    }

    /// Lets the user read which shard owns which range, if it is a user who loads.
    #[must_use]
    pub fn for_sharded_collection(self) -> Self {
        Self { reads_ranges: self.loads(), ..self }
    }

    /// Returns true if the user is one of those who load.
    pub(super) const fn loads(&self) -> bool {
        matches!(self.account, Account::Loader | Account::Writer)
    }

    /// Returns the message that this user is not created.
    pub fn left_out(&self, reason: &str) -> String {
        format!("user {} ({}) is not created, because {reason} and run the command again", self.name, self.rights())
    }

    /// Returns what the user may do, in words for messages.
    pub const fn rights(&self) -> &'static str {
        match self.account {
            Account::Root => "administers the deployment",
            Account::Admin => "manages indexes and validators",
            Account::Writer => "reads and writes all data",
            Account::Reader => "reads all data",
            Account::Loader => "loads and verifies, and cannot delete",
            Account::Analyst => "sees only the de-identified view",
        }
    }

    /// Returns the names of the user's roles, for messages.
    pub(super) fn role_names(&self) -> String {
        let more = if self.reads_ranges { format!(" and {RANGES_ROLE}") } else { String::new() };
        format!("{}{more}", role_of(self.account))
    }

    /// Returns the user's roles, as in the server's commands.
    pub(super) fn roles(&self, database: &str) -> Vec<Document> {
        let ranges = self.reads_ranges.then(|| doc! { "role": RANGES_ROLE, "db": "admin" });
        [doc! { "role": role_of(self.account), "db": database }].into_iter().chain(ranges).collect()
    }

    /// Returns the mark that is stored in every user that Medlift creates. Users without the mark are never changed.
    pub(super) fn mark() -> Document {
        doc! { "madeBy": "medlift provision" }
    }

    pub(super) fn create(&self, password: &Secret, database: &str) -> Document {
        doc! {
            "createUser": &self.name,
            "pwd": password.reveal(),
            "roles": self.roles(database),
            "mechanisms": ["SCRAM-SHA-256"],
            "customData": Self::mark(),
        }
    }
}

/// Returns the user name of an account, the variable of its password, and the password.
///
/// If `MONGO_ROOT_PASS` is set, but `ADMIN_USER` and `ADMIN_PASS` are not, the administrator of the database has the
/// root user's name and password.
fn named(settings: &Settings, account: Account) -> Result<(String, &'static str, Option<Secret>), ServerError> {
    let own = settings.secret(account.password_variable())?;
    let unset = own.is_none() && settings.get(account.user_variable()).is_none();
    if account == Account::Admin
        && unset
        && let Some(password) = settings.secret(Account::Root.password_variable())?
    {
        let name = settings.user_name(Account::Root).to_owned();
        return Ok((name, Account::Root.password_variable(), Some(password)));
    }
    Ok((settings.user_name(account).to_owned(), account.password_variable(), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "k4Tz-9pLmw2x";

    /// Reads the users from these variables.
    fn users(pairs: &[(&str, &str)]) -> Result<WantedUsers, DeploymentError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings::from_parts(pairs, std::path::Path::new("/nonexistent")).expect("settings");
        WantedUser::all(&settings)
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
        // In the template of `.env`, `MONGO_ROOT_USER` is set and `MONGO_ROOT_PASS` is empty. An empty password counts
        // as not set.
        assert_eq!(admin(&[("MONGO_ROOT_PASS", "")]), ("admin".to_owned(), "ADMIN_PASS"));
        assert_eq!(admin(&[("ADMIN_PASS", GOOD), ("ADMIN_USER", "boss")]), ("boss".to_owned(), "ADMIN_PASS"));
        let unset = users(&[&rest[..], &[("ADMIN_USER", "boss")]].concat()).expect("users").users.remove(0);
        assert_eq!((unset.name.as_str(), unset.password, unset.variable), ("boss", None, "ADMIN_PASS"));
    }

    #[test]
    fn only_loader_and_analyst_are_optional() {
        let wanted = users(&[("LOADER_USER", "carrier")]).expect("users");
        let expected = [
            (Account::Admin, "admin", "ADMIN_PASS"),
            (Account::Writer, "writer", "WRITER_PASS"),
            (Account::Reader, "reader", "READER_PASS"),
            (Account::Loader, "carrier", "LOADER_PASS"),
            (Account::Analyst, "analyst", "ANALYST_PASS"),
        ];
        assert_eq!(names(&wanted), expected);
        assert!(wanted.left_out.is_empty() && wanted.users.iter().all(|user| user.password.is_none()));
        let optional: Vec<bool> = wanted.users.iter().map(WantedUser::is_optional).collect();
        assert_eq!(optional, [false, false, false, true, true]);
        assert_eq!(
            wanted.users[3].left_out("LOADER_PASS is not set; set it"),
            "user carrier (loads and verifies, and cannot delete) is not created, because LOADER_PASS is not set; set it \
             and run the command again"
        );
    }

    #[test]
    fn two_users_with_one_name_are_refused() {
        let problems = users(&[("WRITER_PASS", GOOD), ("READER_USER", "writer")]).expect_err("refused").to_string();
        for part in [
            "WRITER_USER contains the same user name as another variable",
            "READER_USER contains the same user name as another variable",
        ] {
            assert!(problems.contains(part), "{problems}");
        }
        assert!(!problems.contains("ADMIN"), "{problems}");
        assert!(users(&[("READER_USER", "loader"), ("LOADER_PASS", GOOD)]).is_err());
    }

    #[test]
    fn an_optional_user_without_password_may_have_the_name_of_another_user() {
        let wanted = users(&[("READER_USER", "loader")]).expect("users");
        assert_eq!(
            wanted.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(),
            ["admin", "writer", "loader", "analyst"]
        );
        assert_eq!(wanted.left_out.len(), 1);
        assert!(wanted.left_out[0].contains("another user has the same name; set LOADER_USER and run"), "{wanted:?}");
    }

    #[test]
    fn all_faults_of_a_password_are_in_one_message() {
        let wanted = users(&[("READER_PASS", "reader1"), ("WRITER_PASS", GOOD)]).expect("users");
        let expected = "READER_PASS is too weak: it has fewer than 12 characters, it has fewer than 6 different characters, \
                        it contains the user's name";
        let weak: Vec<Option<String>> = wanted.users.iter().map(WantedUser::weakness).collect();
        assert_eq!(weak, [None, None, Some(expected.to_owned()), None, None]);
        let generated = wanted.users[2].clone().with_generated_password().expect("a password");
        assert_eq!(generated.weakness(), None);
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
        assert_eq!(wanted.users[1].create(&GOOD.into(), "ward"), expected);
        let sharded: Vec<WantedUser> = wanted.users.into_iter().map(WantedUser::for_sharded_collection).collect();
        let names: Vec<String> = sharded.iter().map(WantedUser::role_names).collect();
        assert_eq!(
            names,
            ["dbAdmin", "readWrite and medliftRanges", "read", "medliftLoader and medliftRanges", "medliftAnalyst"]
        );
        let both = [doc! { "role": "readWrite", "db": "ward" }, doc! { "role": "medliftRanges", "db": "admin" }];
        assert_eq!(sharded[1].roles("ward"), both);
    }
}
