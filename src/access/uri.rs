//! What a connection string may ask for. The driver's own messages quote it, and it may hold a password: none is shown.

use mongodb::options::{Acknowledgment, ConnectionString, ReadConcernLevel, ReadPreference};

use super::AccessError;

/// Parses a connection string and refuses what would make a load less than proven.
pub(super) fn parse(uri: &str) -> Result<ConnectionString, AccessError> {
    refuse_blind_trust(uri)?;
    let parsed = ConnectionString::parse(uri).map_err(|error| refuse(driver_problem(&error.to_string())))?;
    refuse_weak_concerns(&parsed)?;
    Ok(parsed)
}

fn refuse(problem: impl Into<String>) -> AccessError {
    AccessError::Uri { problem: problem.into() }
}

/// Looks at the text itself: the driver built here does not know all of these options, and must not have the last word.
fn refuse_blind_trust(uri: &str) -> Result<(), AccessError> {
    const NAMES: [&str; 3] = ["tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames"];
    let options = uri.split_once('?').map_or("", |(_, options)| options);
    let asked =
        |name: &str| options.split('&').any(|pair| pair.split('=').next().unwrap_or(pair).eq_ignore_ascii_case(name));
    match NAMES.into_iter().find(|name| asked(name)) {
        Some(name) => Err(refuse(format!(
            "{name} would switch certificate checks off, and anybody on the way could read patient data; \
             name the authority that signed the server's certificate with --tls-ca-file instead"
        ))),
        None => Ok(()),
    }
}

fn refuse_weak_concerns(uri: &ConnectionString) -> Result<(), AccessError> {
    if let Some(concern) = &uri.write_concern {
        if !matches!(concern.w, None | Some(Acknowledgment::Majority)) {
            return Err(refuse(
                "it asks for w other than majority; a load counts only what a majority has acknowledged: drop w",
            ));
        }
        if concern.journal == Some(false) {
            return Err(refuse("it asks for journal=false; a load counts only what is in the journal: drop it"));
        }
    }
    if uri.read_concern.as_ref().is_some_and(|concern| concern.level != ReadConcernLevel::Majority) {
        return Err(refuse(
            "it asks for a readConcernLevel other than majority, at which everything here is read: drop it",
        ));
    }
    if uri.read_preference.as_ref().is_some_and(|preference| !matches!(preference, ReadPreference::Primary)) {
        return Err(refuse("it asks for a readPreference other than primary, where everything here is read: drop it"));
    }
    Ok(())
}

fn driver_problem(message: &str) -> &'static str {
    let has = |part: &str| message.contains(part);
    if has("scheme") {
        "it must begin with mongodb:// or mongodb+srv://"
    } else if has("URL encoded") || has("unescaped %") {
        "user name and password must be percent-encoded in it; give them with --username and -p instead"
    } else if has("port") || has("host") || has("IP literal") {
        "its host or port is wrong, or a character of the password is not percent-encoded; the form is mongodb://host:27017/database"
    } else if has("database name") {
        "its database name holds a character that a name may not hold"
    } else if has("repeated") {
        "it gives an option twice"
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
                assert!(!problem.contains("pa55"), "the password shows in {problem:?}");
            }
            (problem, _) => panic!("{uri}: {problem:?}, expected {part:?}"),
        }
    }

    #[test]
    fn only_a_journaled_majority_is_accepted() {
        check("mongodb://h/?w=majority&journal=true&readConcernLevel=majority&wTimeoutMS=5000&retryWrites=true", None);
        check("mongodb://h/?w=1", Some("w other than majority"));
        check("mongodb://h/?w=0", Some("w other than majority"));
        check("mongodb://h/?w=rack", Some("w other than majority"));
        check("mongodb://h/?journal=false", Some("journal=false"));
        check("mongodb://h/?readConcernLevel=local", Some("readConcernLevel"));
        check("mongodb://h/?readConcernLevel=available", Some("readConcernLevel"));
        check("mongodb://h/?readPreference=secondary", Some("readPreference"));
    }

    #[test]
    fn certificate_checks_stay_on() {
        check("mongodb://h/?tls=true&tlsInsecure=true", Some("tlsInsecure would switch"));
        check("mongodb://h/?tls=true&TLSALLOWINVALIDCERTIFICATES=true", Some("tlsAllowInvalidCertificates would"));
        check("mongodb://h/?tls=true&tlsAllowInvalidHostnames=true", Some("tlsAllowInvalidHostnames would"));
    }

    #[test]
    fn a_wrong_string_is_explained_without_being_quoted() {
        check("localhost:27017", Some("must begin with mongodb://"));
        check("http://u:pa55@h/", Some("must begin with mongodb://"));
        check("mongodb://u:pa55/word@h/", Some("percent-encoded"));
        check("mongodb://u:pa55%zz@h/", Some("percent-encoded"));
        check("mongodb://u:pa55@h:notaport/", Some("host or port"));
        check("mongodb://u:pa55@h/?nonsense=pa55", Some("option"));
        check("mongodb://u:pa55?word@h/", Some(""));
        check("mongodb://u:pa55@h/a$b", Some("database name"));
    }
}
