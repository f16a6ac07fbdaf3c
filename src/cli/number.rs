//! Parses the whole numbers of options. Reason: clap's own parser shows the error texts of Rust's standard library, and
//! these texts do not say which numbers are allowed.

use std::fmt::Display;
use std::str::FromStr;

/// Returns a parser for whole numbers from `least` to `most`.
pub(super) fn whole<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("give a whole number from {least} to {most}"))
    }
}

/// Parses a whole number. All numbers of the type `T` are allowed.
pub(super) fn any_whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "give a whole number, for example 10".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_its_limits_or_another_text_says_what_is_expected() {
        let port = whole(1_u16, u16::MAX);
        assert_eq!(["1", "65535"].map(&port), [Ok(1), Ok(65_535)]);
        for text in ["", "0", "65536", "-1", "abc", "1.5", "99999999999999999999"] {
            assert_eq!(port(text), Err("give a whole number from 1 to 65535".to_owned()), "{text}");
        }
        assert_eq!(any_whole::<u64>("7"), Ok(7));
        for text in ["", "-1", "abc", "99999999999999999999"] {
            assert!(any_whole::<u64>(text).is_err_and(|problem| problem.contains("give a whole number")), "{text}");
        }
    }
}
