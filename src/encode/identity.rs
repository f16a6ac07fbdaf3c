//! The `_id` of a record, and the digest of its content.

use std::fmt;

use bson::Binary;
use bson::spec::BinarySubtype;

/// The secret key of the hashes from which `_id`s and digests are made. Without the key, nobody can compute the `_id`
/// of a person's record from the person's data. By default there is no key, and anybody can compute it.
///
/// The key matters for de-identified data. Under 45 CFR 164.514(c), a code must not be derived from information about a
/// person. A hash without a secret key would be such a code.
#[derive(Clone, Default)]
pub struct IdentityKey(Option<[u8; blake3::KEY_LEN]>);

impl IdentityKey {
    /// Derives the key from a secret text with BLAKE3's key derivation.
    pub fn from_secret(secret: &str) -> Self {
        Self(Some(blake3::derive_key("medlift 2026-11-23 record identity", secret.as_bytes())))
    }

    /// Returns a name for the key: 16 hexadecimal digits, or `none` if there is no key. Different keys have different
    /// names, and the name does not reveal the key.
    pub fn fingerprint(&self) -> String {
        self.0.map_or_else(|| "none".into(), |_| self.hash(b"fingerprint").to_hex()[..16].to_owned())
    }

    /// Returns the key of a thing to which several documents refer, for example a patient. The key is a UUID, made from
    /// the hash of `kind` and of `parts`, the texts that identify the thing.
    pub fn derive(&self, kind: &str, parts: &[&str]) -> Id {
        let mut bytes = Vec::with_capacity(128);
        for part in std::iter::once(&kind).chain(parts) {
            // The length keeps `ab` and `c` apart from `a` and `bc`.
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Id::from_hash(&self.hash(&bytes))
    }

    /// Returns the `_id` of a thing that is its bytes, for example of a refused message.
    pub(crate) fn id_of(&self, kind: &str, bytes: &[u8]) -> Id {
        Id::from_hash(&self.hash(&[kind.as_bytes(), &[0], bytes].concat()))
    }

    /// Returns the key of the patient with this identifier. All formats use this function, so the documents of a person
    /// have the same key.
    pub fn patient(&self, value: &str, authority: &str) -> Id {
        self.derive("patient", &[value, authority])
    }

    /// Returns the bytes of the key, if there is one.
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

/// The `_id` of a document: a UUID of version 8 (RFC 9562, section 5.8). `_id`s are compared byte by byte, as on the
/// server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// Returns the `_id` as a BSON UUID.
    pub(crate) fn to_binary(self) -> Binary {
        Binary { subtype: BinarySubtype::Uuid, bytes: self.0.to_vec() }
    }

    /// Makes a UUID of version 8 from the first half of a hash.
    pub(crate) fn from_hash(hash: &blake3::Hash) -> Self {
        let mut bytes = half(hash, 0);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Returns the `_id` that a BSON UUID contains.
    pub(crate) fn from_binary(value: bson::RawBsonRef<'_>) -> Option<Self> {
        let binary = value.as_binary().filter(|binary| binary.subtype == BinarySubtype::Uuid)?;
        binary.bytes.try_into().ok().map(Self)
    }

    /// Returns the first eight bytes as a number. Two different `_id`s nearly always have different numbers.
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

/// 128 bits of the hash of a document's body. The body is the document without `_id` and lineage. Digests can be added,
/// and the sum does not depend on their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Digest(pub u128);

impl Digest {
    pub(super) fn from_hash(hash: &blake3::Hash) -> Self {
        Self(u128::from_le_bytes(half(hash, 16)))
    }

    /// Adds another digest.
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
