//! Checks connection strings. A message of the driver may quote the connection string with its password, so these
//! messages are never shown.

use mongodb::options::{Acknowledgment, ConnectionString, ReadConcernLevel, ReadPreference};

use super::ServerError;

/// The possible beginnings of a connection string.
const SCHEMES: [&str; 2] = ["mongodb://", "mongodb+srv://"];

/// Returns true if `text` begins like a connection string. Ignores letter case and leading white space.
pub fn is_connection_string(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| begins_with(text.trim_start(), scheme))
}

fn begins_with(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Returns true if `text` may contain a password, so that it must not be shown. That is true for connection strings,
/// other URLs, and texts with a colon before an `@`. It is false for addresses of objects in S3, such as
/// `s3://bucket/key`.
pub fn may_hold_password(text: &str) -> bool {
    let text = text.trim();
    if is_object_address(text) {
        return false;
    }
    let before_at = text.rfind('@').map_or("", |at| &text[..at]);
    text.contains("://")
        || before_at.contains(':')
        || begins_with(text, "mongodb:")
        || begins_with(text, "mongodb+srv:")
}

/// Returns true for `s3://bucket/key`. Returns false if the bucket contains `:` or `@`, because the text may then
/// contain a password.
fn is_object_address(text: &str) -> bool {
    let bucket = text.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    bucket.is_some_and(|bucket| !bucket.contains([':', '@']))
}

/// Parses a connection string. Refuses options that are not safe enough for a load.
pub(super) fn parse(uri: &str) -> Result<ConnectionString, ServerError> {
    let uri = &with_lower_scheme(uri.trim());
    if !is_connection_string(uri) {
        return Err(refuse(driver_problem("scheme")));
    }
    refuse_blind_trust(uri)?;
    refuse_unescaped(uri)?;
    let parsed = ConnectionString::parse(uri).map_err(|error| refuse(driver_problem(&error.to_string())))?;
    refuse_weak_concerns(&parsed)?;
    Ok(parsed)
}

/// Returns the option `authSource` of a connection string. Reads it from the text, because the driver's parser ignores
/// the option if the connection string names no user.
pub(super) fn auth_source(uri: &str) -> Option<String> {
    let (_, options) = uri.trim().split_once('?')?;
    let mut pairs = options.split('&').filter_map(|pair| pair.split_once('='));
    let (_, source) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("authSource"))?;
    Some(source.replace("%24", "$"))
}

fn with_lower_scheme(uri: &str) -> String {
    match SCHEMES.into_iter().find(|scheme| begins_with(uri, scheme)) {
        Some(scheme) => scheme.to_owned() + &uri[scheme.len()..],
        None => uri.to_owned(),
    }
}

/// Refuses a password with a `/` or `?` that is not percent-encoded. The driver would read the user name and the part
/// of the password before this character as host and port. Messages show host and port.
fn refuse_unescaped(uri: &str) -> Result<(), ServerError> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (hosts, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !hosts.contains('@') && after.contains('@') {
        return Err(refuse(driver_problem("URL encoded")));
    }
    Ok(())
}

fn refuse(problem: impl Into<String>) -> ServerError {
    ServerError::Uri { problem: problem.into() }
}

/// Refuses options that disable the check of certificates. Examines the text of the connection string, because the
/// driver does not know all of these options.
fn refuse_blind_trust(uri: &str) -> Result<(), ServerError> {
    const NAMES: [&str; 3] = ["tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames"];
    let options = uri.split_once('?').map_or("", |(_, options)| options);
    let asked =
        |name: &str| options.split('&').any(|pair| pair.split('=').next().unwrap_or(pair).eq_ignore_ascii_case(name));
    match NAMES.into_iter().find(|name| asked(name)) {
        Some(name) => Err(refuse(format!(
            "{name} disables certificate checks, so that others on the network could read patient data; \
             give the authority that signed the server's certificate with --tls-ca-file instead"
        ))),
        None => Ok(()),
    }
}

fn refuse_weak_concerns(uri: &ConnectionString) -> Result<(), ServerError> {
    if let Some(concern) = &uri.write_concern {
        if !matches!(concern.w, None | Some(Acknowledgment::Majority)) {
            return Err(refuse(
                "it sets w to another value than majority, but writes must be acknowledged by a majority; remove w",
            ));
        }
        if concern.journal == Some(false) {
            return Err(refuse("it sets journal=false, but writes must be journaled; remove journal"));
        }
    }
    if uri.read_concern.as_ref().is_some_and(|concern| concern.level != ReadConcernLevel::Majority) {
        return Err(refuse(
            "it sets readConcernLevel to another value than majority, which is always used; remove readConcernLevel",
        ));
    }
    if uri.read_preference.as_ref().is_some_and(|preference| !matches!(preference, ReadPreference::Primary)) {
        return Err(refuse(
            "it sets readPreference to another value than primary, which is always used; remove readPreference",
        ));
    }
    Ok(())
}

fn driver_problem(message: &str) -> &'static str {
    let has = |part: &str| message.contains(part);
    if has("scheme") {
        "it must begin with mongodb:// or mongodb+srv://"
    } else if has("URL encoded") || has("unescaped %") {
        "its user name and password must be percent-encoded; or give them with --username and -p instead"
    } else if has("port") || has("host") || has("IP literal") {
        "its host or port is wrong, or a character of the password is not percent-encoded; the form is mongodb://host:27017/database"
    } else if has("database name") {
        "its database name contains a character that is not permitted"
    } else if has("repeated") {
        "it contains an option twice"
    } else if has("option") {
        "it has an option that is unknown or has a wrong value"
    } else {
        "it is not valid; the form is mongodb://host:27017/database?option=value"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, part: Option<&str>) {
        let problem = parse(uri).err().map(|error| error.to_string());
        match (problem, part) {
            (None, None) => {}
            (Some(problem), Some(part)) if problem.contains(part) => {
                assert!(!problem.contains("pa55"), "the message must not contain the password: {problem:?}");
            }
            (problem, _) => panic!("{uri}: {problem:?}, expected {part:?}"),
        }
    }

    #[test]
    fn only_write_concern_majority_with_journal_is_accepted() {
        check("mongodb://h/?w=majority&journal=true&readConcernLevel=majority&wTimeoutMS=5000&retryWrites=true", None);
        check("mongodb://h/?w=1", Some("w to another value than majority"));
        check("mongodb://h/?w=0", Some("w to another value than majority"));
        check("mongodb://h/?w=rack", Some("w to another value than majority"));
        check("mongodb://h/?journal=false", Some("journal=false"));
        check("mongodb://h/?readConcernLevel=local", Some("readConcernLevel"));
        check("mongodb://h/?readConcernLevel=available", Some("readConcernLevel"));
        check("mongodb://h/?readPreference=primary", None);
        check("mongodb://h/?w=majority&journal=true", None);
        for preference in ["primaryPreferred", "secondary", "secondaryPreferred", "nearest"] {
            check(&format!("mongodb://h/?readPreference={preference}"), Some("readPreference"));
        }
        for level in ["linearizable", "snapshot"] {
            check(&format!("mongodb://h/?readConcernLevel={level}"), Some("readConcernLevel"));
        }
    }

    #[test]
    fn certificate_checks_stay_on() {
        check("mongodb://h/?tls=true&tlsInsecure=true", Some("tlsInsecure disables"));
        check("mongodb://h/?tls=true&TLSALLOWINVALIDCERTIFICATES=true", Some("tlsAllowInvalidCertificates disables"));
        check("mongodb://h/?tls=true&tlsAllowInvalidHostnames=true", Some("tlsAllowInvalidHostnames disables"));
    }

    #[test]
    fn the_auth_source_is_found_without_a_user() {
        let check = |uri: &str, expected: Option<&str>| assert_eq!(auth_source(uri).as_deref(), expected, "{uri}");
        check("mongodb://h/", None);
        check("mongodb://h/?tls=true", None);
        check("mongodb://h/d?tls=true&AuthSource=ward ", Some("ward"));
        check("mongodb://h/?authSource=%24external", Some("$external"));
    }

    #[test]
    fn blanks_and_letter_case_of_the_scheme_do_not_matter() {
        check("  MONGODB://u:pa55@h/ ", None);
        check("Mongodb://h", None);
        check("\tmongodb://h\n", None);
        assert!(is_connection_string(" MongoDB+SRV://h") && !is_connection_string("mongodb:/h"));
    }

    #[test]
    fn texts_that_may_contain_a_password_are_recognised() {
        let check = |text: &str, expected: bool| assert_eq!(may_hold_password(text), expected, "{text}");
        for text in
            ["mongodb://h", " MONGODB://u:p@h", "http://u:p@h", "mongodb:/u:p@h", "u:p@h", "//u:p@h", "mongodb:u:p"]
                .into_iter()
                .chain(["ann@example.org:pw@h", "u:p@w@h", "MONGODB+SRV:u", "x://y", "s3://id:pa55@b/a", "s3://id@b"])
        {
            check(text, true);
        }
        for text in
            ["a.csv", "ann@example.org", "2024-01-31T10:00", "-", "", "DD/MM/YYYY", "é:", "a@b:c", "s3://b/x:y@z.csv"]
        {
            check(text, false);
        }
    }

    #[test]
    fn the_message_about_a_wrong_string_does_not_quote_it() {
        check("mongodb://u:12/pa55@h", Some("percent-encoded"));
        check("mongodb://u:12?pa55@h", Some("percent-encoded"));
        check("mongodb:/u:pa55@h", Some("must begin with mongodb://"));
        check("localhost:27017", Some("must begin with mongodb://"));
        check("http://u:pa55@h/", Some("must begin with mongodb://"));
        check("mongodb://u:pa55/word@h/", Some("percent-encoded"));
        check("mongodb://u:pa55%zz@h/", Some("percent-encoded"));
        check("mongodb://u:pa55@h:notaport/", Some("host or port"));
        check("mongodb://u:pa55@h/?nonsense=pa55", Some("option"));
        check("mongodb://u:pa55?word@h/", Some(""));
        check("mongodb://u:pa55@h/a$b", Some("database name"));
    }

    #[test]
    fn each_wrong_part_of_a_string_has_its_own_explanation() {
        check("mongodb://h:notaport/", Some("its host or port is wrong"));
        check("mongodb://h/?w=majority&w=majority", Some("contains an option twice"));
        check("mongodb://h/?ssl", Some("an option that is unknown or has a wrong value"));
        check("mongodb://h/a$b", Some("its database name contains a character"));
        check("mongodb://u:pa55@h/?tls=true&x=1;tlsInsecure=true", Some("unknown"));
        check("mongodb://u:p@h/d?tlsInsecure", Some("tlsInsecure disables"));
        assert!(
            !is_connection_string("mongodb")
                && is_connection_string("mongodb://")
                && is_connection_string("Mongodb+srv://")
        );
    }
}
