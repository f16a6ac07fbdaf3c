//! Chooses the database and the collection for the data, and checks their names before the server sees them. An error
//! says which setting has the wrong name.

use mongodb::options::ConnectionString;

use super::{Connection, Purpose, ServerError, Settings, uri};
use crate::namespace::{RESERVED_DATABASES, TOO_LONG, collection_fault, database_fault, is_of_ledger, is_too_long};

/// The database for the data, if the user names none.
pub(super) const DATABASE_DEFAULT: &str = "hospital";

/// Returns the database for the data. It is the first of these that is given: the option `--db`, the path of the
/// connection string, `DB_NAME`. If none is given, it is `hospital`.
///
/// `admin`, `local` and `config` in the path are ignored, because they are not databases for data. For example, `admin`
/// in the path is the database in which the user is stored.
pub(super) fn database(
    wishes: &Connection,
    settings: &Settings,
    uri: &ConnectionString,
) -> Result<String, ServerError> {
    let in_path = uri.default_database.as_deref().filter(|name| !RESERVED_DATABASES.contains(name));
    let places = [
        ("--db", wishes.database.as_deref()),
        ("the path of the connection string", in_path),
        ("DB_NAME", settings.get("DB_NAME")),
    ];
    let (setting, name) = first(places).unwrap_or(("--db", DATABASE_DEFAULT));
    refuse_connection_string(setting, name)?;
    match database_fault(name) {
        Some(fault) => Err(wrong(
            setting,
            format!(
                "`{}` is not a valid name of a database for data: {fault}; choose another name, for example hospital",
                name.escape_debug()
            ),
        )),
        None => Ok(name.to_owned()),
    }
}

/// Returns the collection for the data. It is the first of these that is given: the option `--collection`,
/// `COLLECTION_NAME`, `of_spec`. Only a command that uses no collection may pass an empty `of_spec`.
pub(super) fn collection(
    wishes: &Connection,
    settings: &Settings,
    of_spec: &str,
    database: &str,
) -> Result<String, ServerError> {
    let places = [("--collection", wishes.collection.as_deref()), ("COLLECTION_NAME", settings.get("COLLECTION_NAME"))];
    let Some((setting, name)) = first(places).or((!of_spec.is_empty()).then_some(("the spec's collection", of_spec)))
    else {
        return Ok(String::new());
    };
    refuse_connection_string(setting, name)?;
    match wishes.purpose {
        Purpose::Read => refuse_name(setting, database, name)?,
        _ => refuse_name_for_data(setting, database, name)?,
    }
    Ok(name.to_owned())
}

/// Returns an error if the collection cannot be the target of a load: its name is not valid, or it belongs to the
/// ledger. `setting` is the option, variable or file that has the name.
pub fn refuse_name_for_data(setting: &str, database: &str, collection: &str) -> Result<(), ServerError> {
    refuse_name(setting, database, collection)?;
    if is_of_ledger(collection) {
        let problem = format!("Medlift records its loads in the collection `{collection}`; choose another name");
        return Err(wrong(setting, problem));
    }
    Ok(())
}

fn refuse_name(setting: &str, database: &str, collection: &str) -> Result<(), ServerError> {
    let too_long = is_too_long(database, collection).then_some(TOO_LONG);
    let Some(fault) = collection_fault(collection).or(too_long) else { return Ok(()) };
    let name = collection.escape_debug();
    Err(wrong(setting, format!("`{name}` is not a valid name of a collection: {fault}; choose another name")))
}

/// Returns the first place that has a name, with this name.
fn first<'a, const N: usize>(places: [(&'static str, Option<&'a str>); N]) -> Option<(&'static str, &'a str)> {
    places.into_iter().find_map(|(setting, name)| Some((setting, name?)))
}

fn wrong(setting: &str, problem: String) -> ServerError {
    ServerError::Setting { setting: setting.to_owned(), problem }
}

/// Refuses a name that looks like a connection string. Names are shown in messages, but a connection string may contain
/// a password.
pub(super) fn refuse_connection_string(setting: &str, name: &str) -> Result<(), ServerError> {
    if !uri::may_hold_password(name) {
        return Ok(());
    }
    Err(wrong(
        setting,
        "the name looks like a connection string; give connection strings with --uri or MONGODB_URI".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Returns the names of database and collection, or the error. The environment contains `variables`.
    fn named(
        (database_option, collection_option): (Option<&str>, Option<&str>),
        variables: &[(&str, &str)],
        path: &str,
        of_spec: &str,
        purpose: Purpose,
    ) -> Result<(String, String), String> {
        let wishes = Connection {
            database: database_option.map(str::to_owned),
            collection: collection_option.map(str::to_owned),
            purpose,
            ..Connection::default()
        };
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings::from_parts(pairs, Path::new("/nonexistent")).expect("no file");
        let uri = ConnectionString::parse(format!("mongodb://h/{path}")).expect("a connection string");
        let database = database(&wishes, &settings, &uri).map_err(|error| error.to_string())?;
        let collection = collection(&wishes, &settings, of_spec, &database).map_err(|error| error.to_string())?;
        Ok((database, collection))
    }

    #[test]
    fn a_wrong_name_is_reported_with_the_setting_that_has_it() {
        let check = |options: (Option<&str>, Option<&str>), variables: &[(&str, &str)], path: &str, expected: &str| {
            let found = named(options, variables, path, "stays", Purpose::Load).expect_err("refused");
            assert!(found.starts_with(expected), "{found}");
        };
        check((Some("admin"), None), &[], "", "--db: `admin` is not a valid name of a database for data: the database");
        check((Some(""), None), &[], "ward", "--db: `` is not a valid name");
        check((None, None), &[("DB_NAME", "a.b")], "", "DB_NAME: `a.b` is not a valid name of a database for data: ");
        check((None, None), &[], &"w".repeat(64), "the path of the connection string: `www");
        check((None, Some("$x")), &[("COLLECTION_NAME", "y")], "", "--collection: `$x` is not a valid name");
        check((None, Some("")), &[], "", "--collection: `` is not a valid name of a collection: the name is empty");
        check((None, Some("a\0b")), &[], "", "--collection: `a\\0b` is not a valid name");
        check((None, None), &[("COLLECTION_NAME", "system.foo")], "", "COLLECTION_NAME: `system.foo` is not a valid");
        check((None, Some("medlift_runs")), &[], "", "--collection: Medlift records its loads in");
        let (database, long) = ("d".repeat(60), "c".repeat(200));
        let both = "database and collection together have more than 255 bytes";
        let found = named((Some(&database), None), &[], "", &long, Purpose::Load).expect_err("refused");
        assert!(found.starts_with("the spec's collection: `ccc") && found.contains(both), "{found}");
    }

    #[test]
    fn the_names_are_chosen_in_order() {
        let check =
            |options: (Option<&str>, Option<&str>), variables: &[(&str, &str)], path: &str, expected: (&str, &str)| {
                let found = named(options, variables, path, "stays", Purpose::Load).expect("accepted");
                assert_eq!(found, (expected.0.to_owned(), expected.1.to_owned()));
            };
        let variables = [("DB_NAME", "d"), ("COLLECTION_NAME", "c")];
        check((Some("o"), Some("p")), &variables, "u", ("o", "p"));
        check((None, None), &variables, "u", ("u", "c"));
        check((None, None), &variables, "admin", ("d", "c"));
        check((None, None), &[], "", ("hospital", "stays"));
        let of = |name: Option<&str>, of_spec: &str| {
            named((None, name), &[], "", of_spec, Purpose::Read).expect("accepted").1
        };
        assert_eq!((of(None, ""), of(Some("medlift_runs"), "")), (String::new(), "medlift_runs".to_owned()));
    }
}
