//! Converts the values of stored documents to the cells of a source. If the cell that this module makes from a
//! stored value is loaded with the same spec, exactly the same value is stored.

use bson::{RawArray, RawBsonRef, RawDocument};

pub use super::dates::{date_text, datetime_text};
use super::extended_json::{write_json, write_name};
use super::fit::{Misfit, fit};
use crate::parse::DateFormat;
use crate::spec::{Decimal, FieldType, Node, NumberFormat, Spec};

/// Returns the cells of a document, one per column of the spec. Null becomes an empty text, and an array becomes JSON.
/// `dates` has a date format for each field. A field without one gets ISO 8601.
pub fn cell_texts(document: &[u8], spec: &Spec, dates: &[Option<DateFormat>]) -> Result<Vec<String>, Misfit> {
    let document = fit(document, spec)?;
    let mut texts = Vec::with_capacity(spec.fields.len());
    Cells { spec, dates }.add(document, &spec.shape.roots, &mut texts);
    Ok(texts)
}

/// Writes the cells of documents that fit the spec.
struct Cells<'s> {
    spec: &'s Spec,
    dates: &'s [Option<DateFormat>],
}

impl Cells<'_> {
    fn add(&self, document: &RawDocument, nodes: &[Node], texts: &mut Vec<String>) {
        for node in nodes {
            let value = document.get(node.name()).ok().flatten().unwrap_or(RawBsonRef::Null);
            match (node, value) {
                (Node::Group { repeats: None, children, .. }, RawBsonRef::Document(inner)) => {
                    self.add(inner, children, texts);
                }
                (Node::Leaf { field, .. }, value) => {
                    texts.push(cell_text(value, &self.spec.fields[*field].kind, self.date(*field)));
                }
                (_, value) => {
                    let mut json = Vec::new();
                    self.write_json(node, value, &mut json);
                    texts.push(String::from_utf8_lossy(&json).into_owned());
                }
            }
        }
    }

    fn date(&self, field: usize) -> DateFormat {
        self.dates.get(field).copied().flatten().unwrap_or(DateFormat::Iso)
    }

    /// Appends an element as JSON. Numbers and booleans are written as in JSON, even if the spec has another notation
    /// for them.
    fn write_json(&self, node: &Node, value: RawBsonRef<'_>, out: &mut Vec<u8>) {
        match (node, value) {
            (Node::List { field, .. }, RawBsonRef::Array(items)) => {
                write_array(items, out, |item, out| self.write_scalar(*field, item, out));
            }
            (Node::Group { children, .. }, RawBsonRef::Array(items)) => {
                write_array(items, out, |item, out| {
                    if let RawBsonRef::Document(item) = item {
                        self.write_object(children, item, out);
                    }
                });
            }
            (Node::Group { children, .. }, RawBsonRef::Document(document)) => {
                self.write_object(children, document, out);
            }
            (Node::Leaf { field, .. }, value) => self.write_scalar(*field, value, out),
            _ => out.extend_from_slice(b"null"),
        }
    }

    fn write_object(&self, nodes: &[Node], document: &RawDocument, out: &mut Vec<u8>) {
        out.push(b'{');
        for (position, node) in nodes.iter().enumerate() {
            write_name(node.name(), position, out);
            let value = document.get(node.name()).ok().flatten().unwrap_or(RawBsonRef::Null);
            self.write_json(node, value, out);
        }
        out.push(b'}');
    }

    fn write_scalar(&self, field: usize, value: RawBsonRef<'_>, out: &mut Vec<u8>) {
        let text = match value {
            RawBsonRef::Null => "null".to_owned(),
            RawBsonRef::Boolean(flag) => flag.to_string(),
            RawBsonRef::Double(number) => number.to_string(),
            RawBsonRef::Decimal128(number) => decimal_text(number),
            RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => cell_text(value, &FieldType::String, DateFormat::Iso),
            value => return write_json(&cell_text(value, &self.spec.fields[field].kind, self.date(field)), out),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

fn write_array(items: &RawArray, out: &mut Vec<u8>, write: impl Fn(RawBsonRef<'_>, &mut Vec<u8>)) {
    out.push(b'[');
    for (position, item) in items.into_iter().flatten().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn decimal_text(number: bson::Decimal128) -> String {
    Decimal::from_bson(number.bytes()).map_or_else(|| number.to_string(), |number| number.to_string())
}

fn cell_text(value: RawBsonRef<'_>, kind: &FieldType, format: DateFormat) -> String {
    match (value, kind) {
        (RawBsonRef::String(text), _) => text.to_owned(),
        (RawBsonRef::Int32(number), _) => number.to_string(),
        (RawBsonRef::Int64(number), _) => number.to_string(),
        // The text has the fewest digits that give the same double when they are read. It never has an exponent.
        (RawBsonRef::Double(number), FieldType::Double(decorated)) => with_mark(number.to_string(), decorated),
        (RawBsonRef::Decimal128(number), FieldType::Decimal128(decorated)) => {
            with_mark(decimal_text(number), decorated)
        }
        (RawBsonRef::Boolean(flag), FieldType::Bool { truthy, falsy }) => {
            let texts = if flag { truthy } else { falsy };
            texts.first().cloned().unwrap_or_else(|| flag.to_string())
        }
        (RawBsonRef::DateTime(date), FieldType::Date) => date_text(format, date.timestamp_millis()),
        (RawBsonRef::DateTime(date), _) => datetime_text(format, date.timestamp_millis()),
        _ => String::new(),
    }
}

fn with_mark(text: String, format: &NumberFormat) -> String {
    if format.decimal_comma { text.replace('.', ",") } else { text }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, RawDocumentBuf, doc};

    use super::*;
    use crate::parse::dates::{DAY_MS, YEARS_MS};
    use crate::spec::{Constraints, Field, Identity, OnConflict, Presence, Privacy, Shape, SourceFormat};

    fn spec(fields: &[(&str, FieldType)]) -> Spec {
        let field = |(name, kind): &(&str, FieldType)| Field {
            name: (*name).to_owned(),
            column: (*name).to_owned(),
            aliases: Vec::new(),
            kind: kind.clone(),
            presence: if *name == "required" { Presence::Required } else { Presence::Nullable },
            repeats: false,
            clean: Vec::new(),
            null_markers: vec!["N/A".to_owned()],
            constraints: Constraints::default(),
            privacy: Privacy::None,
        };
        let fields: Vec<Field> = fields.iter().map(field).collect();
        Spec {
            text: String::new(),
            name: "test".into(),
            collection: "test".into(),
            origin: "test".into(),
            shape: Shape::new(&fields, Vec::new()),
            fields,
            identity: Identity { fields: vec![0], on_conflict: OnConflict::KeepFirst },
            plausibility: Vec::new(),
            indexes: Vec::new(),
            patient: None,
            resources: Vec::new(),
            system: None,
            base: None,
            source: SourceFormat::default(),
            hash: String::new(),
        }
    }

    fn texts(
        document: bson::Document,
        spec: &Spec,
        dates: &[Option<DateFormat>],
    ) -> std::result::Result<Vec<String>, Misfit> {
        cell_texts(RawDocumentBuf::try_from(document).expect("valid").as_bytes(), spec, dates)
    }

    #[track_caller]
    fn check(value: impl Into<Bson>, kind: FieldType, format: DateFormat, expected: &str) {
        let found = texts(doc! { "_id": 1, "f": value.into() }, &spec(&[("f", kind)]), &[Some(format)]);
        assert_eq!(found, Ok(vec![expected.to_owned()]));
    }

    #[track_caller]
    fn check_misfit(document: bson::Document, fields: &[(&str, FieldType)], field: &str, problem: &str) {
        let misfit = texts(document, &spec(fields), &[]).expect_err("a misfit");
        assert_eq!((misfit.field.as_str(), misfit.problem.contains(problem)), (field, true), "{misfit:?}");
    }

    fn plain() -> NumberFormat {
        NumberFormat::default()
    }

    fn comma() -> NumberFormat {
        NumberFormat { decimal_comma: true, ..plain() }
    }

    #[test]
    fn numbers_are_read_again_bit_for_bit() {
        use FieldType::{Decimal128 as Decimal, Double, Int32, Int64};
        let iso = DateFormat::Iso;
        check(i32::MIN, Int32(plain()), iso, "-2147483648");
        check(i64::MAX, Int64(plain()), iso, "9223372036854775807");
        check(0.1 + 0.2, Double(plain()), iso, "0.30000000000000004");
        check(18_856.281_305_978_155, Double(comma()), iso, "18856,281305978155");
        check(-0.0, Double(plain()), iso, "-0");
        check(-2.5, Double(comma()), iso, "-2,5");
        for number in [f64::MAX, f64::MIN_POSITIVE, 5e-324, -1.5e-10, 1e22, 123_456_789.125] {
            let text = texts(doc! { "f": number }, &spec(&[("f", Double(plain()))]), &[]).expect("fits").remove(0);
            assert!(!text.contains(['e', 'E']), "{text}");
            assert_eq!(text.parse::<f64>().expect("a number").to_bits(), number.to_bits());
        }
        let decimals =
            ["0", "-0", "-0.00", "1.50", "0.000000007", "12", "-9999999999999999999999999999999999", "15E+3"];
        for text in decimals.into_iter().chain(["0.0000000000000000000000000000000000001234"]) {
            check(text.parse::<bson::Decimal128>().expect("valid"), Decimal(plain()), iso, text);
        }
        check("2.5".parse::<bson::Decimal128>().expect("valid"), Decimal(comma()), iso, "2,5");
    }

    #[test]
    fn dates_are_written_in_the_columns_format() {
        use DateFormat::{DayMonthYear, Iso, MonthDayYear};
        let date = DateTime::from_millis;
        for (days, text) in [(0, "1970-01-01"), (-1, "1969-12-31"), (19_782, "2024-02-29"), (-719_162, "0001-01-01")] {
            check(date(days * DAY_MS), FieldType::Date, Iso, text);
        }
        check(date(YEARS_MS.end - DAY_MS), FieldType::Date, Iso, "9999-12-31");
        check(date(19_782 * DAY_MS), FieldType::Date, DayMonthYear(b'/'), "29/02/2024");
        check(date(19_782 * DAY_MS), FieldType::Date, MonthDayYear(b'-'), "02-29-2024");
        check(date(0), FieldType::Datetime, Iso, "1970-01-01T00:00:00Z");
        check(date(-1), FieldType::Datetime, Iso, "1969-12-31T23:59:59.999Z");
        check(date(YEARS_MS.start), FieldType::Datetime, Iso, "0001-01-01T00:00:00Z");
        check(date(YEARS_MS.end - 1), FieldType::Datetime, Iso, "9999-12-31T23:59:59.999Z");
        check(date(YEARS_MS.start), FieldType::Date, DayMonthYear(b'/'), "01/01/0001");
        check(date(3_723_004), FieldType::Datetime, DayMonthYear(b'.'), "01.01.1970 01:02:03.004");
    }

    #[test]
    fn texts_booleans_and_nulls() {
        let iso = DateFormat::Iso;
        let yes_no = FieldType::Bool { truthy: vec!["yes".into(), "1".into()], falsy: vec!["no".into()] };
        check(true, yes_no.clone(), iso, "yes");
        check(false, yes_no.clone(), iso, "no");
        check(Bson::Null, yes_no, iso, "");
        check("O\"Neil,\nx", FieldType::String, iso, "O\"Neil,\nx");
        let mut optional = spec(&[("f", FieldType::String)]);
        optional.fields[0].presence = Presence::Optional;
        assert_eq!(texts(doc! { "f": null }, &optional, &[]), Ok(vec![String::new()]));
        check("a\tb\rc\nd\u{7f}", FieldType::String, iso, "a\tb\rc\nd\u{7f}");
        check("AB+", FieldType::Enum { values: vec!["AB+".into()], synonyms: Vec::new() }, iso, "AB+");
    }

    #[test]
    fn nested_fields_are_found_and_lineage_is_left_out() {
        let fields = [("a.b", FieldType::String), ("a.c.d", FieldType::Int32(plain())), ("e", FieldType::String)];
        let document = doc! { "_id": 1, "a": { "b": "x", "c": { "d": 5 } }, "e": null, "_medlift": { "row": 1_i64 } };
        assert_eq!(texts(document, &spec(&fields), &[]), Ok(vec!["x".into(), "5".into(), String::new()]));
        let more = doc! { "_id": 1, "a": { "b": "x", "c": { "d": 5 }, "z": 1 }, "e": null };
        check_misfit(more, &fields, "", "fields that are not in the spec");
    }

    #[test]
    fn documents_that_a_load_would_change_are_misfits() {
        let string = [("f", FieldType::String)];
        check_misfit(doc! { "f": 5 }, &string, "f", "BSON type");
        check_misfit(doc! { "g": "x" }, &string, "f", "does not have this field");
        check_misfit(doc! { "f": "x", "g": 1 }, &string, "", "not in the spec");
        check_misfit(doc! { "f": "x", "g": {} }, &string, "", "not in the spec");
        check_misfit(doc! { "f": "" }, &string, "f", "empty");
        check_misfit(doc! { "f": "n/a" }, &string, "f", "null marker");
        check_misfit(doc! { "f": " x" }, &string, "f", "white space");
        check_misfit(doc! { "required": null }, &[("required", FieldType::String)], "required", "null");
        check_misfit(doc! { "f": 1_i64 }, &[("f", FieldType::Int32(plain()))], "f", "BSON type");
        check_misfit(doc! { "f": f64::NAN }, &[("f", FieldType::Double(plain()))], "f", "NaN");
        check_misfit(doc! { "f": DateTime::from_millis(1) }, &[("f", FieldType::Date)], "f", "time of day");
        check_misfit(
            doc! { "f": DateTime::from_millis(i64::MAX) },
            &[("f", FieldType::Datetime)],
            "f",
            "year of the date",
        );
        check_misfit(doc! { "f": "a\u{1f}b" }, &string, "f", "control character");
        check_misfit(doc! { "f": "x\u{a0}" }, &string, "f", "white space");
        check_misfit(doc! { "f": f64::INFINITY }, &[("f", FieldType::Double(plain()))], "f", "infinite");
        let decimal: bson::Decimal128 = "NaN".parse().expect("a decimal");
        check_misfit(doc! { "f": decimal }, &[("f", FieldType::Decimal128(plain()))], "f", "NaN");
        check_misfit(doc! { "f": DateTime::from_millis(3_600_000) }, &[("f", FieldType::Date)], "f", "time of day");
        for ms in [YEARS_MS.start - 1, YEARS_MS.end] {
            check_misfit(
                doc! { "f": DateTime::from_millis(ms) },
                &[("f", FieldType::Datetime)],
                "f",
                "year of the date",
            );
        }
        for ms in [YEARS_MS.start - DAY_MS, YEARS_MS.end] {
            check_misfit(doc! { "f": DateTime::from_millis(ms) }, &[("f", FieldType::Date)], "f", "year of the date");
        }
        let list = FieldType::Enum { values: vec!["A".into()], synonyms: Vec::new() };
        for text in ["B", "a"] {
            check_misfit(doc! { "f": text }, &[("f", list.clone())], "f", "list");
        }
    }

    #[test]
    fn each_field_has_its_own_date_format() {
        let (iso, german) = (DateFormat::Iso, DateFormat::DayMonthYear(b'.'));
        let two = spec(&[("f", FieldType::Date), ("g", FieldType::Date)]);
        let document = || doc! { "f": DateTime::from_millis(0), "g": DateTime::from_millis(DAY_MS) };
        let written = |dates: &[Option<DateFormat>]| texts(document(), &two, dates).expect("fits");
        assert_eq!(written(&[Some(iso), Some(german)]), ["1970-01-01", "02.01.1970"]);
        assert_eq!(written(&[Some(german), None]), ["01.01.1970", "1970-01-02"]);
        assert_eq!(written(&[Some(german)]), ["01.01.1970", "1970-01-02"]);
    }

    const ARRAYS: &str = "name = 'x'\n\
        [[group]]\nname = 'rows'\nrepeats = 'row'\n\
        [[field]]\nname = 'rows.in.day'\ntype = 'date'\npresence = 'nullable'\nprivacy = 'none'\n\
        [[field]]\nname = 'rows.flag'\ntype = 'bool'\ntruthy = ['ja']\nfalsy = ['nein']\nprivacy = 'none'\n\
        [[field]]\nname = 'rows.codes'\ntype = 'string'\nrepeats = true\nprivacy = 'none'\n\
        [[field]]\nname = 'doses'\ntype = 'double'\ndecimal = ','\nrepeats = true\npresence = 'nullable'\nprivacy = 'none'\n\
        [[field]]\nname = 'exact'\ntype = 'decimal128'\nrepeats = true\npresence = 'optional'\nprivacy = 'none'\n";

    #[test]
    fn arrays_are_written_as_json() {
        let spec = Spec::from_toml(ARRAYS, "test").expect("a valid spec");
        let day = DateTime::from_millis(DAY_MS);
        let decimals = ["1.50", "15E+3"].map(|text| text.parse::<bson::Decimal128>().expect("valid"));
        let row = |day: Bson| doc! { "in": { "day": day }, "flag": true, "codes": ["a\"b", "\u{e9}"] };
        let document = doc! {
            "_id": 1, "rows": [row(day.into()), row(Bson::Null)], "doses": [0.1, Bson::Null, -0.0],
            "exact": decimals.to_vec(),
        };
        let german = DateFormat::DayMonthYear(b'.');
        let expected = [
            r#"[{"in":{"day":"02.01.1970"},"flag":true,"codes":["a\"b","é"]},{"in":{"day":null},"flag":true,"codes":["a\"b","é"]}]"#,
            "[0.1,null,-0]",
            "[1.50,15E+3]",
        ];
        assert_eq!(texts(document, &spec, &[Some(german)]), Ok(expected.map(str::to_owned).to_vec()));
        let empty = doc! { "_id": 1, "rows": [], "doses": [], "exact": [] };
        assert_eq!(texts(empty, &spec, &[]), Ok(vec!["[]".to_owned(); 3]));
    }

    #[test]
    fn arrays_that_a_load_would_change_are_misfits() {
        let spec =
            Spec::from_toml(&ARRAYS.replace("repeats = 'row'", "repeats = 'row'\npresence = 'required'"), "test")
                .expect("a valid spec");
        let check = |rows: Bson, doses: Bson, field: &str, problem: &str| {
            let misfit = texts(doc! { "rows": rows, "doses": doses, "exact": [] }, &spec, &[]).expect_err("a misfit");
            assert_eq!((misfit.field.as_str(), misfit.problem.contains(problem)), (field, true), "{misfit:?}");
        };
        let row = || doc! { "in": { "day": null }, "flag": true, "codes": ["a"] };
        let rows = |document: bson::Document| Bson::Array(vec![row().into(), document.into()]);
        let with = |name: &str, value: Bson| {
            let mut document = row();
            document.insert(name, value);
            rows(document)
        };
        let doses = || Bson::Array(Vec::new());
        check(Bson::Null, doses(), "rows", "BSON type");
        check(Bson::Array(Vec::new()), doses(), "rows", "empty");
        check(Bson::Array(vec![Bson::Int32(1)]), doses(), "rows", "not a document");
        check(with("flag", Bson::Null), doses(), "rows.flag", "null");
        check(with("codes", Bson::from("a")), doses(), "rows.codes", "BSON type");
        check(with("codes", Bson::Array(Vec::new())), doses(), "rows.codes", "empty");
        check(with("codes", Bson::Array(vec![Bson::Null])), doses(), "rows.codes", "null");
        check(with("more", Bson::Int32(1)), doses(), "", "not in the spec");
        check(with("in", doc! { "day": null, "x": 1 }.into()), doses(), "", "not in the spec");
        check(rows(doc! { "flag": true }), doses(), "rows.in.day", "does not have this field");
        check(rows(row()), Bson::Double(1.0), "doses", "BSON type");
        check(rows(row()), Bson::Array(vec![Bson::Int32(1)]), "doses", "BSON type");
        check(rows(row()), doc! { "0": 1.0 }.into(), "doses", "BSON type");
    }
}
