//! Determines the user who signs in.

use mongodb::options::{AuthMechanism, ConnectionString, Credential, Tls};

use super::{Account, Connection, Purpose, Secret, ServerError, Settings};

/// The user who signs in.
#[derive(Debug)]
pub(super) struct SignInAs {
    /// The user, the password, and the database in which the user is stored.
    pub(super) credential: Option<Credential>,
    /// A second database in which the user may be stored.
    pub(super) other_database: Option<String>,
    /// The user's account, if `medlift provision` creates this user.
    pub(super) account: Option<Account>,
}

/// Determines the user who signs in, and the database in which the user is stored. `database` is the database for the
/// data. `auth_source` is the option `authSource` of the connection string.
pub(super) fn sign_in_as(
    wishes: &Connection,
    settings: &Settings,
    uri: &ConnectionString,
    auth_source: Option<&str>,
    database: &str,
) -> Result<SignInAs, ServerError> {
    let mut credential = credential(wishes, settings, uri, database)?;
    let mut places: Vec<String> = Vec::new();
    if let Some(Credential { username: Some(user), source, mechanism, .. }) = &mut credential
        && is_password_mechanism(mechanism.as_ref())
    {
        let given = source.as_deref().or(auth_source.filter(|_| wishes.username.is_some()));
        places = auth_databases(wishes, settings, uri, database, given, user);
        source.clone_from(&places.first().cloned());
    }
    let user = credential.as_ref().and_then(|credential| credential.username.as_deref());
    let account = user.filter(|_| places.iter().any(|place| place == database));
    let account = account.and_then(|user| settings.provisioned(user));
    Ok(SignInAs { credential, other_database: places.into_iter().nth(1), account })
}

/// Returns the databases in which the user may be stored, in the order in which they are tried.
///
/// If `given` is set, only this database is tried. It is the database from `--authentication-database` or `authSource`,
/// or the database of the account whose password was taken from the settings.
///
/// If `given` is not set and the user is not from `--username`, only the database in the connection string is tried, or
/// `admin` if the connection string names none.
///
/// If `given` is not set and the user is from `--username`, two databases are tried. One is the database for the data,
/// in which `medlift provision` creates its users. The other is the database in the connection string, or `admin` if
/// the connection string names none. If the connection string names the database for the data, this database is tried
/// first, and then `admin`.
///
/// If the connection string does not name the database for the data, the order of the two databases depends on the
/// user. If a variable such as `READER_USER` contains the user's name, `medlift provision` has probably created the
/// user. Then the database for the data is tried first. If no variable contains the name, this database is tried
/// second. With [`Purpose::Administer`], it is always tried second, because the user is probably the root user, who
/// is stored in `admin`.
fn auth_databases(
    wishes: &Connection,
    settings: &Settings,
    uri: &ConnectionString,
    database: &str,
    given: Option<&str>,
    user: &str,
) -> Vec<String> {
    let usual = uri.default_database.as_deref().unwrap_or("admin");
    let places = match given {
        Some(given) => vec![given],
        None if wishes.username.is_none() => vec![usual],
        None if usual == database => vec![database, "admin"],
        None if settings.is_named(user) && wishes.purpose != Purpose::Administer => vec![database, usual],
        None => vec![usual, database],
    };
    places.into_iter().map(str::to_owned).collect()
}

/// Returns true for the mechanisms of users that have a password and are stored in a database.
fn is_password_mechanism(mechanism: Option<&AuthMechanism>) -> bool {
    matches!(mechanism, None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256))
}

/// Returns the user who signs in. It is the first of these that is given: the user on the command line, the user in the
/// connection string, the subject of the client certificate, the user whom the settings name for the purpose.
fn credential(
    wishes: &Connection,
    settings: &Settings,
    uri: &ConnectionString,
    database: &str,
) -> Result<Option<Credential>, ServerError> {
    let mut credential = uri.credential.clone().unwrap_or_default();
    if let Some(name) = &wishes.username {
        if credential.username.as_ref() != Some(name) {
            credential.password = None;
        }
        credential.username = Some(name.clone());
    }
    if let Some(database) = &wishes.auth_database {
        credential.source = Some(database.clone());
    }
    if credential.username.is_none() {
        if by_certificate(&credential, uri) {
            return Ok(Some(certificate_sign_in(credential)));
        }
        let Some((account, name, password)) = account(wishes.purpose, settings)? else { return Ok(None) };
        credential.source.get_or_insert_with(|| account.auth_database(database).to_owned());
        credential.username = Some(name);
        credential.password = Some(password.reveal().to_owned());
    }
    if let Some(password) = &wishes.password {
        credential.password = Some(password.reveal().to_owned());
    }
    fill_password(&mut credential, settings, database)?;
    Ok(Some(credential))
}

fn by_certificate(credential: &Credential, uri: &ConnectionString) -> bool {
    let has_certificate = matches!(&uri.tls, Some(Tls::Enabled(tls)) if tls.cert_key_file_path.is_some());
    credential.mechanism == Some(AuthMechanism::MongoDbX509) || (has_certificate && credential.mechanism.is_none())
}

fn certificate_sign_in(mut credential: Credential) -> Credential {
    credential.mechanism = Some(AuthMechanism::MongoDbX509);
    credential.source = Some("$external".to_owned());
    credential.password = None;
    credential
}

fn account(purpose: Purpose, settings: &Settings) -> Result<Option<(Account, String, Secret)>, ServerError> {
    let mut unset = None;
    for account in purpose.accounts() {
        match settings.account(*account) {
            Ok(Some((name, password))) => return Ok(Some((*account, name, password))),
            Ok(None) => {}
            // Continue with the next user. The template of `.env` contains the names of all users, but only one of them
            // needs a password.
            Err(error @ ServerError::PasswordUnset { .. }) => _ = unset.get_or_insert(error),
            Err(other) => return Err(other),
        }
    }
    unset.map_or(Ok(None), Err)
}

/// If a user is given without a password, takes this user's password from the settings. For example, `--username ann`
/// uses `READER_PASS` if `READER_USER` is `ann`. `--username reader` uses `READER_PASS` if `READER_USER` is not set.
/// Fails if the settings have no password for this user.
fn fill_password(credential: &mut Credential, settings: &Settings, database: &str) -> Result<(), ServerError> {
    let needs_none = matches!(credential.mechanism, Some(AuthMechanism::MongoDbX509 | AuthMechanism::MongoDbOidc));
    let (None, Some(user), false) = (&credential.password, &credential.username, needs_none) else { return Ok(()) };
    let Some((account, password)) = settings.password_of(user)? else {
        let remedy = settings.password_variable_of(user).map_or_else(
            || "write its name and its password in two variables, for example READER_USER and READER_PASS".to_owned(),
            |variable| format!("set {variable} or {variable}_FILE"),
        );
        return Err(ServerError::NoPassword { user: user.clone(), remedy });
    };
    credential.password = Some(password.reveal().to_owned());
    credential.source.get_or_insert_with(|| account.auth_database(database).to_owned());
    Ok(())
}
