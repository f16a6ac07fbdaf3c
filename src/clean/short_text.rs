//! Stores short texts as numbers. Comparing numbers is faster, because comparing texts needs a function call.

/// A text of at most 16 bytes, as three numbers: its length, its first bytes and its last bytes. The first and last
/// bytes may overlap. Two texts are equal exactly if all three numbers are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShortText {
    len: usize,
    first: u64,
    last: u64,
}

impl ShortText {
    /// Converts a text. Returns `None` if the text is longer than 16 bytes.
    #[inline]
    pub(super) fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (first, last) = match *bytes {
            [] => (0, 0),
            [one] => (u64::from(one), 0),
            [one, two] => (u64::from(one), u64::from(two)),
            [one, two, three] => (u64::from(u16::from_le_bytes([one, two])), u64::from(three)),
            _ if bytes.len() <= 8 => (
                u64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
                u64::from(u32::from_le_bytes(*bytes.last_chunk()?)),
            ),
            _ if bytes.len() <= 16 => {
                (u64::from_le_bytes(*bytes.first_chunk()?), u64::from_le_bytes(*bytes.last_chunk()?))
            }
            _ => return None,
        };
        Some(Self { len: bytes.len(), first, last })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_texts_are_equal_exactly_if_their_numbers_are(left in "[ab]{0,18}|.{0,6}", right in "[ab]{0,18}|.{0,6}") {
            let (short_left, short_right) = (ShortText::new(&left), ShortText::new(&right));
            prop_assert_eq!(short_left.is_some(), left.len() <= 16);
            prop_assert_eq!(short_left, ShortText::new(&left.clone()));
            if left.len() <= 16 && right.len() <= 16 {
                prop_assert_eq!(short_left == short_right, left == right);
            }
        }
    }

    #[test]
    fn every_byte_of_a_short_text_counts() {
        for len in 1..=16 {
            let text = "a".repeat(len);
            for place in 0..len {
                let mut other = text.clone();
                other.replace_range(place..=place, "b");
                assert_ne!(ShortText::new(&text), ShortText::new(&other), "{other}");
            }
        }
    }
}
