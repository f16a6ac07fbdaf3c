//! Computes the BLAKE3 hashes of many short texts in parallel.
//!
//! BLAKE3 hashes a text in blocks of 64 bytes, and each block needs the result of the block before. A vector unit can
//! process up to 16 blocks at once, but these must be blocks of different texts. Therefore up to [`LANES`] texts are
//! hashed in parallel, one block of each text at a time. The parallel part ends before the last block of the shortest
//! text. The remaining blocks of each text are hashed alone. The hashes are the usual BLAKE3 hashes.
//!
//! The `blake3` crate has the parallel function only in its undocumented module `platform`. A test compares the hashes
//! with those of the documented function.

use blake3::platform::{Platform, le_bytes_from_words_32, words_from_le_bytes_32};
use blake3::{Hash, IncrementCounter, KEY_LEN};

use super::identity::IdentityKey;

/// Number of documents that are hashed together. Documents of similar length are hashed in parallel, up to [`LANES`] at
/// once. Among 64 documents there are usually enough of similar length, and 64 usually fit in the first-level cache.
pub(crate) const HASHED_TOGETHER: usize = 64;

/// Largest number of texts that are hashed in parallel. It is the number of 32-bit words in the widest vector register.
const LANES: usize = 16;
const BLOCK_BYTES: usize = 64;
/// Lengths of the texts that are hashed in parallel. BLAKE3 hashes a longer text as a tree. A shorter text has only one
/// block, so there is nothing to do in parallel.
const CHAINED_BYTES: std::ops::RangeInclusive<usize> = BLOCK_BYTES + 1..=16 * BLOCK_BYTES;

/// Flags and initial values from the BLAKE3 paper, section 2.2 (tables 1 and 3).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;
const INITIAL_VALUE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Hashes texts with one key, many of them in parallel.
#[derive(Debug)]
pub(super) struct Hasher {
    key: IdentityKey,
    platform: Platform,
    initial: [u32; 8],
    flags: u8,
    /// Indices of the texts that are hashed in parallel. Texts with fewer blocks come first.
    chained: Vec<usize>,
}

/// The intermediate result (chaining value) of each text that is hashed in parallel.
type Heads = [u8; LANES * KEY_LEN];

impl Hasher {
    pub(super) fn new(key: IdentityKey) -> Self {
        let (initial, flags) =
            key.bytes().map_or((INITIAL_VALUE, 0), |bytes| (words_from_le_bytes_32(bytes), KEYED_HASH));
        Self { key, platform: Platform::detect(), initial, flags, chained: Vec::new() }
    }

    pub(super) fn hash(&self, text: &[u8]) -> Hash {
        self.key.hash(text)
    }

    /// Computes the hashes of `count` texts: `hashes[0]` becomes the hash of `text(0)`, and so on.
    pub(super) fn hash_all<'a>(&mut self, count: usize, text: impl Fn(usize) -> &'a [u8], hashes: &mut Vec<Hash>) {
        hashes.clear();
        hashes.resize(count, Hash::from_bytes([0; KEY_LEN]));
        let mut chained = std::mem::take(&mut self.chained);
        chained.clear();
        for (index, hash) in hashes.iter_mut().enumerate() {
            if CHAINED_BYTES.contains(&text(index).len()) {
                chained.push(index);
            } else {
                *hash = self.hash(text(index));
            }
        }
        chained.sort_unstable_by_key(|&index| blocks_before_last(text(index).len()));
        for group in chained.chunks(LANES) {
            self.hash_group(&text, group, hashes);
        }
        self.chained = chained;
    }

    /// Hashes up to [`LANES`] texts. `group` contains their indices. No text may have fewer blocks than the first.
    fn hash_group<'a>(&self, text: &impl Fn(usize) -> &'a [u8], group: &[usize], hashes: &mut [Hash]) {
        let mut lanes = [&[][..]; LANES];
        for (lane, &index) in lanes.iter_mut().zip(group) {
            *lane = text(index);
        }
        let shared = blocks_before_last(lanes[0].len());
        let mut heads: Heads = [0; LANES * KEY_LEN];
        CHAIN[shared - 1](self, &lanes[..group.len()], &mut heads);
        for ((&index, lane), head) in group.iter().zip(lanes).zip(heads.as_chunks().0) {
            hashes[index] = self.end(head, &lane[shared * BLOCK_BYTES..]);
        }
    }

    /// Hashes the first `BYTES` bytes of each text in parallel. `BYTES` is a multiple of the block length.
    fn chain<const BYTES: usize>(&self, lanes: &[&[u8]], heads: &mut Heads) {
        let mut inputs = [first::<BYTES>(lanes[0]); LANES];
        for (input, lane) in inputs.iter_mut().zip(lanes) {
            *input = first(lane);
        }
        let inputs = &inputs[..lanes.len()];
        self.platform.hash_many(inputs, &self.initial, 0, IncrementCounter::No, self.flags, CHUNK_START, 0, heads);
    }

    /// Hashes the rest of one text. `head` is the intermediate result, and `rest` the bytes after it. `rest` is not
    /// empty.
    fn end(&self, head: &[u8; KEY_LEN], rest: &[u8]) -> Hash {
        let mut words = words_from_le_bytes_32(head);
        let blocks = blocks_before_last(rest.len());
        for block in &rest.as_chunks().0[..blocks] {
            self.platform.compress_in_place(&mut words, block, BLOCK_BYTES as u8, 0, self.flags);
        }
        let last = &rest[blocks * BLOCK_BYTES..];
        let mut block = [0; BLOCK_BYTES];
        block[..last.len()].copy_from_slice(last);
        self.platform.compress_in_place(&mut words, &block, last.len() as u8, 0, self.flags | CHUNK_END | ROOT);
        Hash::from_bytes(le_bytes_from_words_32(&words))
    }
}

type Chain = fn(&Hasher, &[&[u8]], &mut Heads);

/// [`Hasher::chain`] for 1 to 15 blocks. The number of bytes must be a constant, because the crate hashes only arrays
/// of a fixed length in parallel.
const CHAIN: [Chain; 15] = [
    Hasher::chain::<64>,
    Hasher::chain::<128>,
    Hasher::chain::<192>,
    Hasher::chain::<256>,
    Hasher::chain::<320>,
    Hasher::chain::<384>,
    Hasher::chain::<448>,
    Hasher::chain::<512>,
    Hasher::chain::<576>,
    Hasher::chain::<640>,
    Hasher::chain::<704>,
    Hasher::chain::<768>,
    Hasher::chain::<832>,
    Hasher::chain::<896>,
    Hasher::chain::<960>,
];

fn first<const BYTES: usize>(lane: &[u8]) -> &[u8; BYTES] {
    lane.first_chunk().expect("every text is at least as long as the first one")
}

/// Returns the number of blocks before the last one. The last block may be incomplete but is never empty.
fn blocks_before_last(len: usize) -> usize {
    (len - 1) / BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(key: &IdentityKey, lens: &[usize]) {
        let bytes: Vec<u8> = (0..lens.iter().sum()).map(|place: usize| (place * 31 % 251) as u8).collect();
        let mut start = 0;
        let next = |len: &usize| {
            start += len;
            start - len..start
        };
        let texts: Vec<&[u8]> = lens.iter().map(next).map(|range| &bytes[range]).collect();
        let mut hashes = Vec::new();
        Hasher::new(key.clone()).hash_all(texts.len(), |index| texts[index], &mut hashes);
        let one_by_one: Vec<Hash> = texts.into_iter().map(|text| key.hash(text)).collect();
        assert_eq!(hashes, one_by_one);
    }

    #[test]
    fn the_hash_of_every_length_is_the_usual_one() {
        let lens: Vec<usize> = (0..1100).collect();
        check(&IdentityKey::default(), &lens);
        check(&IdentityKey::from_secret("a secret"), &lens);
    }

    proptest! {
        #[test]
        fn a_hash_does_not_depend_on_the_other_texts(
            lens in proptest::collection::vec(prop_oneof![0..1100_usize, 380..460_usize], 0..70),
            secret in proptest::option::of("[a-z]{1,8}"),
        ) {
            check(&secret.map_or_else(IdentityKey::default, |secret| IdentityKey::from_secret(&secret)), &lens);
        }
    }
}
