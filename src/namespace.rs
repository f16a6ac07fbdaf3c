//! The rules for the names of databases and collections. Most of them are MongoDB's own. Two rules are Medlift's: no
//! data is stored in the collections of the ledger, or in the databases `admin`, `local` and `config`.
//!
//! The server checks its own rules too, but only when a command uses the name. Its error does not say which option,
//! variable or file has the name.

/// Name of the ledger's first collection. It contains one document per load.
pub const LEDGER_COLLECTION: &str = "medlift_runs";

/// The databases of MongoDB itself. Medlift does not load data into them.
pub const RESERVED_DATABASES: [&str; 3] = ["admin", "local", "config"];

/// Maximum length of `database.collection`, in bytes.
const FULL_NAME_BYTES_MAX: usize = 255;

/// The fault of a collection's name for which [`is_too_long`] returns true.
pub const TOO_LONG: &str = "database and collection together have more than 255 bytes";

const DATABASE_BYTES_MAX: usize = 63;

/// Returns the reason why a database for data cannot have this name. `None` if it can.
pub fn database_fault(name: &str) -> Option<&'static str> {
    Some(match name {
        "" => "the name is empty",
        _ if RESERVED_DATABASES.contains(&name) => "the database belongs to MongoDB itself",
        _ if name.contains(['/', '\\', ' ', '"', '$', '.', '\0']) => {
            "the name contains one of / \\ . \" $, a blank or NUL"
        }
        _ if name.len() > DATABASE_BYTES_MAX => "the name has more than 63 bytes",
        _ => return None,
    })
}

/// Returns the reason why a collection cannot have this name. `None` if it can. The name may still be too long for some
/// databases ([`is_too_long`]), or be reserved for the ledger ([`is_of_ledger`]).
pub fn collection_fault(name: &str) -> Option<&'static str> {
    Some(match name {
        "" => "the name is empty",
        _ if name.contains(['$', '\0']) => "a collection's name cannot contain `$` or NUL",
        _ if name.starts_with("system.") => "names that begin with `system.` are reserved for the server",
        _ if name.contains(".system.") => "names that contain `.system.` are reserved for the server",
        _ if name.starts_with('.') => "a collection's name cannot begin with a dot",
        // The shortest name of a database has one byte. A name that is too long there is too long in every database.
        _ if is_too_long("d", name) => TOO_LONG,
        _ => return None,
    })
}

/// Returns true if the name of the collection is too long in this database.
pub const fn is_too_long(database: &str, collection: &str) -> bool {
    database.len() + ".".len() + collection.len() > FULL_NAME_BYTES_MAX
}

/// Returns true if this is the name of a collection of the ledger, for example `medlift_runs.leases`.
pub fn is_of_ledger(collection: &str) -> bool {
    collection.strip_prefix(LEDGER_COLLECTION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ledger_has_its_names() {
        let found =
            ["medlift_runs", "medlift_runs.leases", "medlift_runs2", "medlift", "x.medlift_runs", ""].map(is_of_ledger);
        assert_eq!(found, [true, true, false, false, false, false]);
    }

    /// The integration tests compare these rules with those of a real server.
    #[test]
    fn lengths_are_in_bytes() {
        let long = |letter: &str, count: usize| letter.repeat(count);
        let collections = [("d", 253), ("d", 254), ("é", 126), ("é", 127)];
        let found = collections.map(|(letter, count)| collection_fault(&long(letter, count)).is_some());
        assert_eq!(found, [false, true, false, true]);
        let databases = [("d", 63), ("d", 64), ("é", 31), ("é", 32)];
        let found = databases.map(|(letter, count)| database_fault(&long(letter, count)).is_some());
        assert_eq!(found, [false, true, false, true]);
        assert!(!is_too_long("db", &long("x", 252)) && is_too_long("db", &long("x", 253)));
    }
}
