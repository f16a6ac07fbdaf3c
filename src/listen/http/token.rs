//! The bearer token with which a sender shows that it may send.

use std::fmt;

use hyper::header::HeaderValue;

use crate::error::Error;
use crate::server::Secret;

/// A shorter token could be guessed.
const CHARS_MIN: usize = 16;

/// The hash of a token. Hashes are compared in constant time, so the time of an answer says nothing about the token.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// Makes the hash of a token.
    ///
    /// # Errors
    /// The token is too short.
    pub fn new(secret: &Secret) -> Result<Self, Error> {
        if secret.reveal().chars().count() < CHARS_MIN {
            return Err(Error::Usage(format!(
                "MEDLIFT_HTTP_TOKEN is too short; give at least {CHARS_MIN} random characters, for example the output \
                 of openssl rand -hex 16"
            )));
        }
        Ok(Self(blake3::hash(secret.reveal().as_bytes())))
    }

    /// Returns true if the value of the header `Authorization` has this token.
    pub(super) fn is_in(&self, authorization: Option<&HeaderValue>) -> bool {
        let given = authorization.and_then(|value| value.to_str().ok()).and_then(|text| text.split_once(' '));
        let Some((scheme, token)) = given else { return false };
        scheme.eq_ignore_ascii_case("bearer") && blake3::hash(token.trim().as_bytes()) == self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Token::new(&Secret::from("0123456789abcdef")).expect("long enough");
        let check = |text: &str, expected: bool| {
            assert_eq!(token.is_in(Some(&HeaderValue::from_str(text).expect("a header"))), expected, "{text}");
        };
        check("Bearer 0123456789abcdef", true);
        check("bearer  0123456789abcdef", true);
        check("Bearer 0123456789abcdeF", false);
        check("Bearer 0123456789abcde", false);
        check("Bearer", false);
        check("Bearer ", false);
        check("Basic 0123456789abcdef", false);
        check("0123456789abcdef", false);
        assert!(!token.is_in(None));
        assert_eq!(format!("{token:?}"), "***");
    }

    #[test]
    fn a_short_token_is_refused() {
        let error = Token::new(&Secret::from("0123456789abcde")).expect_err("too short").to_string();
        assert!(error.contains("at least 16") && !error.contains("0123"), "{error}");
    }
}
