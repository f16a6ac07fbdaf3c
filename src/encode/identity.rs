//! The `_id` of a record and the digest of its content.

use std::fmt;

use bson::Binary;
use bson::spec::BinarySubtype;

/// Keys the identity hash, so that an `_id` cannot be computed from data about a person.
///
/// Under 45 CFR 164.514(c), an unkeyed hash of a person's data is derived from the person. With a secret of the
/// deployment it is not.
#[derive(Clone, Default)]
pub struct IdentityKey(Option<[u8; blake3::KEY_LEN]>);

impl IdentityKey {
    /// Derives the key from a deployment's secret with BLAKE3's key derivation.
    pub fn from_secret(secret: &str) -> Self {
        Self(Some(blake3::derive_key("medlift 2026-11-23 record identity", secret.as_bytes())))
    }

    /// A name for the key: 16 hex digits that differ between keys and do not reveal the key, or `none` without a key.
    pub fn fingerprint(&self) -> String {
        self.0.map_or_else(|| "none".into(), |_| self.hash(b"fingerprint").to_hex()[..16].to_owned())
    }

    /// The key itself, if there is one.
    pub(super) fn bytes(&self) -> Option<&[u8; blake3::KEY_LEN]> {
        self.0.as_ref()
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> blake3::Hash {
        match &self.0 {
            Some(key) => blake3::keyed_hash(key, bytes),
            None => blake3::hash(bytes),
        }
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", self.fingerprint())
    }
}

/// A document's `_id`: a UUID of version 8 (RFC 9562, section 5.8). The order is that of the server: byte by byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// Returns the `_id` as a BSON UUID.
    pub(crate) fn to_binary(self) -> Binary {
        Binary { subtype: BinarySubtype::Uuid, bytes: self.0.to_vec() }
    }

    pub(super) fn from_hash(hash: &blake3::Hash) -> Self {
        let mut bytes = half(hash, 0);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Its first eight bytes, which are enough to order nearly all `_id`s.
    pub fn lead(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().expect("an _id has 16 bytes"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 128 bits of the hash of a document's body (everything except `_id` and lineage). A sum of digests does not depend on
/// their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub u128);

impl Digest {
    pub(super) fn from_hash(hash: &blake3::Hash) -> Self {
        Self(u128::from_le_bytes(half(hash, 16)))
    }

    /// Adds another document to an order-independent sum.
    pub fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn half(hash: &blake3::Hash, from: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[from..from + 16]);
    bytes
}
