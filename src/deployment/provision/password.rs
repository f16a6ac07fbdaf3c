//! Finds passwords that are too weak for a database with patient data, and generates strong ones.

use std::fs::File;
use std::io::{self, Read};

use crate::server::Secret;

/// Minimum number of characters. NIST SP 800-63B requires at least 8, or 15 if an account has no other protection
/// than the password. This minimum is between the two.
pub(super) const LENGTH_MIN: usize = 12;
/// Minimum number of different characters. Excludes long passwords such as "aaaaaaaaaaaa".
pub(super) const DISTINCT_MIN: usize = 6;
/// Words that are common in published lists of leaked passwords, and words from templates.
pub(super) const COMMON: [&str; 8] =
    ["password", "passw0rd", "changeme", "change-me", "12345678", "qwerty", "letmein", "mongodb"];

/// Length of a generated password.
const GENERATED_LENGTH: usize = 32;
/// The characters of generated passwords: ASCII letters and digits without `l`, `o`, `I`, `O`, `0` and `1`, which look
/// alike. File formats and shells do not treat letters and digits specially. A password of 32 such characters has 185
/// bits of entropy.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Returns the reasons why `password` is too weak for `user`. Empty if the password is strong enough.
pub(super) fn weaknesses(user: &str, password: &str) -> Vec<&'static str> {
    let lower = password.to_lowercase();
    let distinct: std::collections::BTreeSet<char> = password.chars().collect();
    let faults = [
        (password.chars().count() < LENGTH_MIN, "it has fewer than 12 characters"),
        (distinct.len() < DISTINCT_MIN, "it has fewer than 6 different characters"),
        (!user.is_empty() && lower.contains(&user.to_lowercase()), "it contains the user's name"),
        (COMMON.iter().any(|common| lower.contains(common)), "it contains a word that is common in passwords"),
        (password.chars().any(char::is_control), "it contains a control character"),
    ];
    faults.into_iter().filter_map(|(is_found, fault)| is_found.then_some(fault)).collect()
}

/// Returns a random password that is strong enough for `user`. The random bytes are from the operating system.
pub(super) fn generate(user: &str) -> io::Result<Secret> {
    let mut random = File::open("/dev/urandom")?;
    loop {
        let password = generate_once(&mut random)?;
        // A short user name may be in the password by chance. Then another password is generated.
        if weaknesses(user, &password).is_empty() {
            return Ok(password.into());
        }
    }
}

fn generate_once(random: &mut impl Read) -> io::Result<String> {
    let mut password = String::with_capacity(GENERATED_LENGTH);
    while password.len() < GENERATED_LENGTH {
        let mut bytes = [0; GENERATED_LENGTH];
        random.read_exact(&mut bytes)?;
        // `byte & 63` is a number from 0 to 63, but there are only 56 characters. The numbers from 56 on are skipped.
        // So all characters are equally likely.
        let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
        password.extend(letters.take(GENERATED_LENGTH - password.len()).map(|letter| char::from(*letter)));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str, password: &str, expected: Option<&str>) {
        let found = weaknesses(user, password);
        assert_eq!(found.len(), usize::from(expected.is_some()), "{password}: {found:?}");
        assert!(found.iter().all(|fault| fault.contains(expected.unwrap_or_default())), "{password}: {found:?}");
    }

    #[test]
    fn short_uniform_common_and_own_name_are_weak() {
        check("writer", "k4Tz-9pLmw2x", None);
        check("writer", "correct horse battery", None);
        check("writer", "k4Tz-9pLmw2", Some("fewer than 12"));
        check("writer", "abababababababab", Some("fewer than 6 different"));
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
        check("", "abcdeabcdeab", Some("fewer than 6 different"));
        check("Ann", "xx-ANN-yy-zz-1", Some("user's name"));
        check("", "xx-ANN-yy-zz-1", None);
        for word in COMMON {
            check("", &format!("{}-aB3-xYz-9", word.to_uppercase()), Some("common in passwords"));
        }
    }

    #[test]
    fn all_faults_of_a_password_are_found() {
        let found = weaknesses("ann", "ANN\n");
        let expected = [
            "it has fewer than 12 characters",
            "it has fewer than 6 different characters",
            "it contains the user's name",
            "it contains a control character",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn generated_passwords_are_random_and_strong() {
        let passwords = ["writer", "a", "Zz"].map(|user| (user, generate(user).expect("a password")));
        for (user, password) in &passwords {
            let text = password.reveal();
            assert!(weaknesses(user, text).is_empty() && text.len() == 32, "{user}");
            assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)), "{user}");
        }
        assert!(passwords[0].1 != passwords[1].1);
        // The values from 56 to 63 have no character.
        let bytes: Vec<u8> = (0..64).chain(64..128).collect();
        let text = generate_once(&mut &bytes[..]).expect("enough bytes");
        assert_eq!(text.as_bytes(), &ALPHABET[..32]);
        let text = generate_once(&mut &bytes[32..]).expect("enough bytes");
        assert_eq!(text.as_bytes(), [&ALPHABET[32..], &ALPHABET[..8]].concat());
    }
}
