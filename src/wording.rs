//! Words in messages that depend on a number.

/// Returns the number and its words: `one` after the number 1, otherwise `many`. For example, `1 row is` or `2 rows
/// are`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_one_has_the_singular() {
        let words = [0, 1, 2, 11, 21].map(|count| counted(count, "row is", "rows are"));
        assert_eq!(words, ["0 rows are", "1 row is", "2 rows are", "11 rows are", "21 rows are"]);
    }
}
