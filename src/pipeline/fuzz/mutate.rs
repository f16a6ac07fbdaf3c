//! Makes a source from others: joins pieces of them, and changes bytes.

/// A small generator of random numbers (`SplitMix64`). With the same seed, it makes the same numbers on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Returns the positions of a piece of a text of this length. Most pieces are short.
    fn piece(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 20 };
        start..(start + self.below(most + 1)).min(length)
    }
}

/// Returns a new source of at most `bytes_max` bytes.
pub(super) fn source(corpus: &[Vec<u8>], tokens: &[&str], bytes_max: usize, random: &mut Random) -> Vec<u8> {
    let mut source = random.pick(corpus).clone();
    for _ in 0..=random.below(8) {
        change(&mut source, corpus, tokens, random);
    }
    source.truncate(bytes_max);
    source
}

fn change(source: &mut Vec<u8>, corpus: &[Vec<u8>], tokens: &[&str], random: &mut Random) {
    let at = random.below(source.len() + 1);
    match random.below(8) {
        0 | 1 => drop(source.splice(at..at, random.pick(tokens).bytes())),
        2 => {
            let piece = random.piece(source.len());
            drop(source.splice(piece, random.pick(tokens).bytes()));
        }
        3 => drop(source.drain(random.piece(source.len()))),
        4 => {
            let piece = source[random.piece(source.len())].to_vec();
            drop(source.splice(at..at, piece));
        }
        5 => {
            let other = random.pick(corpus);
            let piece = other[random.piece(other.len())].to_vec();
            drop(source.splice(at..at, piece));
        }
        6 => {
            if let Some(byte) = source.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        _ => {
            if let Some(byte) = source.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}
