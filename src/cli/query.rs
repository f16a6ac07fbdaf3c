//! The option `--query` of `medlift export`.

use bson::Document;
use medlift::error::Error;

/// Parses a filter in relaxed or canonical Extended JSON.
///
/// # Errors
/// The text is not valid. The error gives the position and does not quote the text, because it may contain a patient's
/// value.
pub(super) fn parse(text: &str) -> Result<Document, Error> {
    serde_json::from_str(text).map_err(|error| {
        let problem = if error.is_data() {
            "is not a filter: it must be an object, and its types must be valid Extended JSON"
        } else {
            "is not valid JSON: names and texts need double quotes"
        };
        Error::Usage(format!(
            "--query {problem}, for example {{\"Age\": {{\"$gte\": 65}}}}; the error is in line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, doc};

    use super::*;

    #[test]
    fn a_filter_is_extended_json() {
        let check = |text: &str, expected: Document| assert_eq!(parse(text).expect(text), expected);
        check("{}", doc! {});
        check(r#"{"Age": {"$gte": 65}, "Name": "Ann"}"#, doc! { "Age": { "$gte": 65 }, "Name": "Ann" });
        let day = Bson::from(DateTime::from_millis(0));
        check(r#"{"Day": {"$lt": {"$date": "1970-01-01T00:00:00Z"}}}"#, doc! { "Day": { "$lt": day } });
        check(r#"{"n": {"$numberLong": "5"}}"#, doc! { "n": 5_i64 });
        check(r#"{"Name": {"$regex": "^A", "$options": "i"}}"#, doc! { "Name": { "$regex": "^A", "$options": "i" } });
        check(r#"{"$or": [{"a": null}, {"b": 1.5}]}"#, doc! { "$or": [{ "a": null }, { "b": 1.5 }] });
    }

    #[test]
    fn an_invalid_filter_is_an_error_with_its_place() {
        let check = |text: &str, part: &str| {
            let problem = parse(text).expect_err("refused").to_string();
            assert!(problem.contains(part) && !problem.contains("Canary"), "{problem}");
        };
        check("{Canary: 1}", "is not valid JSON: names and texts need double quotes");
        check("{Canary: 1}", "the error is in line 1, column 2");
        check("{\"a\": 1,\n \"b\": Canary}", "line 2, column 7");
        check("", "line 1, column 0");
        check("[\"Canary\"]", "is not a filter");
        check(r#"{"d": {"$date": "Canary"}}"#, "is not a filter");
        check("{\"a\": 1} Canary", "line 1, column 10");
    }
}
