//! Reads the passwords that the stack generated at its first start.

use testkit::{Error, Result};

/// The passwords and the token that the stack generated, by the name of their variable.
#[derive(Debug)]
pub(super) struct Passwords(pub(super) Vec<(String, String)>);

impl Passwords {
    /// Reads lines that contain a name and a password.
    pub(super) fn parse(lines: &str) -> Self {
        let pairs = lines.lines().filter_map(|line| line.trim().split_once(' '));
        let is_secret = |name: &str| name.ends_with("_PASS") || name.ends_with("_TOKEN");
        Self(pairs.filter(|(name, _)| is_secret(name)).map(|(name, word)| (name.into(), word.into())).collect())
    }

    /// Returns the password of a user. `user` is the default name, such as `reader` for `READER_PASS`.
    pub(super) fn of(&self, user: &str) -> Result<&str> {
        let variable = format!("{}_PASS", user.to_uppercase());
        let found = self.0.iter().find(|(name, _)| *name == variable).map(|(_, password)| password.as_str());
        found.ok_or_else(|| Error::failed(format!("the stack has not generated {variable}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_by_the_users_name() {
        let passwords = Passwords::parse("READER_PASS abc\nsomething else\nADMIN_PASS def\nMEDLIFT_HTTP_TOKEN ghi\n");
        assert_eq!(passwords.of("reader").ok(), Some("abc"));
        assert!(passwords.of("writer").is_err());
        assert_eq!(passwords.0.len(), 3);
    }
}
