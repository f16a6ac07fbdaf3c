//! Addresses of objects: `s3://bucket/key`, and patterns of keys.

use super::SCHEME;
use super::problem::Problem;

const SPECIAL: [char; 3] = ['*', '?', '['];

/// An address, divided into the bucket and the key. The key can be a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

impl<'a> Address<'a> {
    /// Divides an argument that begins with `s3://`.
    ///
    /// # Errors
    /// The bucket or the key is missing, the bucket is a pattern, or the key cannot be requested.
    pub(crate) fn parse(argument: &'a str) -> Result<Self, Problem> {
        let rest = argument.strip_prefix(SCHEME).unwrap_or(argument);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.contains(SPECIAL) {
            return Err(Problem::Address("the name of the bucket must be complete"));
        }
        if key.is_empty() || key.ends_with('/') {
            return Err(Problem::Address("the key of an object is missing"));
        }
        // Such a key cannot be requested: HTTP clients remove these parts from a path.
        if key.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(Problem::Address("a part of the key is empty, `.` or `..`"));
        }
        Ok(Self { bucket, key })
    }

    /// Divides the address of a prefix into the bucket and the prefix. The prefix is empty or ends with `/`.
    ///
    /// # Errors
    /// The same as for [`parse`](Self::parse), or the address does not end with `/`.
    pub(crate) fn parse_prefix(argument: &'a str) -> Result<(&'a str, &'a str), Problem> {
        let inner = argument.strip_suffix('/').ok_or(Problem::NoPrefix)?;
        if inner.strip_prefix(SCHEME).is_some_and(|bucket| !bucket.is_empty() && !bucket.contains(['/', '*', '?', '[']))
        {
            return Ok((&inner[SCHEME.len()..], ""));
        }
        let Self { bucket, key } = Self::parse(inner)?;
        Ok((bucket, &argument[argument.len() - key.len() - 1..]))
    }

    /// Returns the beginning of the pattern, before its first special character. Only keys with this beginning are
    /// listed.
    pub(crate) fn prefix(self) -> &'a str {
        let end = self.key.find(SPECIAL).unwrap_or(self.key.len());
        &self.key[..end]
    }

    /// Returns true if the pattern has a `/` after its first special character. Otherwise, the keys that have a `/`
    /// after the prefix need not be listed.
    pub(crate) fn is_nested(self) -> bool {
        self.key[self.prefix().len()..].contains('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bucket_and_a_key() {
        let check = |text: &str, bucket: &str, key: &str| {
            assert_eq!(Address::parse(text), Ok(Address { bucket, key }), "{text}");
        };
        check("s3://b/a.csv", "b", "a.csv");
        check("s3://b/2026/01/a b.csv", "b", "2026/01/a b.csv");
        check("s3://b/2026/*.csv.gz", "b", "2026/*.csv.gz");
        for text in ["s3://", "s3:///a", "s3://b", "s3://b/", "s3://b/x/", "s3://b*/a", "s3://b//a", "s3://b/../a"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_address_of_a_prefix_ends_with_a_slash() {
        assert_eq!(Address::parse_prefix("s3://b/"), Ok(("b", "")));
        assert_eq!(Address::parse_prefix("s3://b/rejects/"), Ok(("b", "rejects/")));
        assert_eq!(Address::parse_prefix("s3://b/2026/a b/"), Ok(("b", "2026/a b/")));
        for text in ["s3://", "s3:///", "s3://b", "s3://b/x", "s3://b*/", "s3://b//", "s3://b/x//", "s3://b/../"] {
            assert!(Address::parse_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_keys_with_the_prefix_of_the_pattern_are_listed() {
        let check = |key: &str, prefix: &str, is_nested: bool| {
            let address = Address { bucket: "b", key };
            assert_eq!((address.prefix(), address.is_nested()), (prefix, is_nested), "{key}");
        };
        check("2026/a-*.csv", "2026/a-", false);
        check("*.csv", "", false);
        check("20[0-9]6/a?.csv", "20", true);
        check("2026/**/a.csv", "2026/", true);
    }
}
