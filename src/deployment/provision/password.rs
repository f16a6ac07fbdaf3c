//! Finds passwords that are too weak for a database with patient data.

/// Minimum number of characters. NIST SP 800-63B requires at least 8, or 15 if an account has no other protection than
/// the password.
pub(super) const LENGTH_MIN: usize = 12;
/// Minimum number of different characters. Excludes long passwords such as "aaaaaaaaaaaa".
pub(super) const DISTINCT_MIN: usize = 6;
/// Words that are common in published lists of leaked passwords, and words from templates.
pub(super) const COMMON: [&str; 8] =
    ["password", "passw0rd", "changeme", "change-me", "12345678", "qwerty", "letmein", "mongodb"];

/// Returns the reason why `password` is too weak for `user`. `None` if the password is strong enough.
pub(crate) fn weakness(user: &str, password: &str) -> Option<&'static str> {
    let lower = password.to_lowercase();
    let distinct: std::collections::BTreeSet<char> = password.chars().collect();
    if password.chars().count() < LENGTH_MIN {
        Some("it has fewer than 12 characters")
    } else if distinct.len() < DISTINCT_MIN {
        Some("it repeats the same few characters")
    } else if !user.is_empty() && lower.contains(&user.to_lowercase()) {
        Some("it contains the user's name")
    } else if COMMON.iter().any(|common| lower.contains(common)) {
        Some("it contains a word that is common in passwords")
    } else if password.chars().any(char::is_control) {
        Some("it contains a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str, password: &str, expected: Option<&str>) {
        let found = weakness(user, password);
        assert_eq!(found.is_some(), expected.is_some(), "{password}: {found:?}");
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{password}: {found:?}");
    }

    #[test]
    fn short_uniform_common_and_own_name_are_weak() {
        check("writer", "k4Tz-9pLmw2x", None);
        check("writer", "correct horse battery", None);
        check("writer", "k4Tz-9pLmw2", Some("fewer than 12"));
        check("writer", "abababababababab", Some("same few"));
        check("writer", "the-Writer-2026", Some("user's name"));
        check("writer", "MyPassword2026!", Some("common in passwords"));
        check("writer", "k4Tz-9pLmw\n2x", Some("control"));
    }

    #[test]
    fn limits_are_counted_in_characters() {
        check("", "abcdefghijkl", None);
        check("", "abcdefghijk", Some("fewer than 12"));
        check("", "äbcdefghijk", Some("fewer than 12"));
        check("", "äbcdefghijkl", None);
        check("", "abcdefabcdef", None);
        check("", "abcdeabcdeab", Some("same few"));
        check("Ann", "xx-ANN-yy-zz-1", Some("user's name"));
        check("", "xx-ANN-yy-zz-1", None);
        for word in COMMON {
            check("", &format!("{}-aB3-xYz-9", word.to_uppercase()), Some("common in passwords"));
        }
    }
}
