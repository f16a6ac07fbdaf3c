//! Invents names of people and hospitals from syllables. Medlift contains no list of names of real people.

use super::random::Random;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 5] = b"aeiou";
const SYLLABLES: u64 = 80;
/// Endings of names. A name has two syllables of two letters each, and then one of these endings. Each number below
/// [`NAMES`] gives another combination, and therefore another name.
const ENDS: [&str; 8] = ["", "n", "r", "s", "l", "nd", "rt", "ck"];

/// Number of different names.
pub(super) const NAMES: u64 = SYLLABLES * SYLLABLES * ENDS.len() as u64;

const COMPANY_FORMS: [&str; 4] = ["Inc", "Ltd", "PLC", "LLC"];

/// Writes the name with this number, which must be below [`NAMES`]. It begins with a capital.
pub(super) fn push_name(number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let (syllables, end) = (number / ENDS.len() as u64, number % ENDS.len() as u64);
    for syllable in [syllables / SYLLABLES, syllables % SYLLABLES] {
        out.push(CONSONANTS[(syllable / VOWELS.len() as u64) as usize]);
        out.push(VOWELS[(syllable % VOWELS.len() as u64) as usize]);
    }
    out.extend_from_slice(ENDS[end as usize].as_bytes());
    out[start].make_ascii_uppercase();
}

fn push_any_name(random: &mut Random, out: &mut Vec<u8>) {
    push_name(random.below(NAMES), out);
}

/// Writes a first and a last name.
pub(super) fn push_doctor(random: &mut Random, out: &mut Vec<u8>) {
    push_any_name(random, out);
    out.push(b' ');
    push_any_name(random, out);
}

/// Writes the name of a hospital in one of four forms: `Kalon Inc`, `Kalon-Mirer`, `Kalon and Sons` or `Kalon Mirer and
/// Zupas`.
pub(super) fn push_hospital(random: &mut Random, out: &mut Vec<u8>) {
    let form = random.below(4);
    push_any_name(random, out);
    match form {
        0 => {
            out.push(b' ');
            out.extend_from_slice(random.one_of(&COMPANY_FORMS).as_bytes());
        }
        1 => {
            out.push(b'-');
            push_any_name(random, out);
        }
        2 => out.extend_from_slice(b" and Sons"),
        _ => {
            out.push(b' ');
            push_any_name(random, out);
            out.extend_from_slice(b" and ");
            push_any_name(random, out);
        }
    }
}

/// Changes each letter of `text` at random to upper or lower case.
pub(super) fn mix_case(random: &mut Random, text: &mut [u8]) {
    let mut bits = random.bits();
    for letter in text.iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
        if bits & 1 == 0 {
            letter.make_ascii_lowercase();
        } else {
            letter.make_ascii_uppercase();
        }
        bits = bits.rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn different_numbers_give_different_names() {
        let name = |number| {
            let mut name = Vec::new();
            push_name(number, &mut name);
            name
        };
        assert_eq!((0..NAMES).map(name).collect::<HashSet<_>>().len() as u64, NAMES);
    }
}
