//! The view for analysts. The privacy class of each field decides what the view shows, according to the Safe Harbor
//! rule of HIPAA, 45 CFR 164.514(b)(2).
//!
//! The view lists every field that it shows. So it does not show fields that are not in the spec, for example a field
//! that another program added.
//!
//! The view does not show `_id`. Without an identity key, an `_id` is a hash of the person's data. Somebody who guesses
//! the data can compute the `_id`, and so find the person in the view.

use bson::{Bson, Document, doc};

pub use crate::server::view_name;
use crate::spec::{Field, FieldType, Identity, Node, NumberFormat, Presence, Privacy, Shape, Spec, Zone};

/// The highest age that is shown. Higher ages are shown as 90, and years that would reveal a higher age are changed.
/// Source: 45 CFR 164.514(b)(2)(i)(C).
const AGE_MAX: i32 = 89;

/// Returns the view's aggregation pipeline.
pub fn pipeline(spec: &Spec) -> Vec<Document> {
    let mut shown = doc! { "_id": 0 };
    shown.extend(shown_of(spec, &spec.shape.roots, "$", 0));
    for (left, right) in date_pairs(spec) {
        // A field of the type `date` is stored as midnight UTC, in every time zone.
        let are_times = [left, right].iter().all(|field| matches!(field.kind, FieldType::Datetime));
        let zone = if are_times { spec.source.zone } else { Zone::UTC };
        shown.insert(days_name(left, right), days_between(&path_of(left), &path_of(right), zone));
    }
    vec![doc! { "$project": shown }]
}

/// Returns a spec for the documents of the view: the fields that the view shows, with their types in the view. An
/// export of the view takes its columns from this spec.
pub fn view_spec(spec: &Spec) -> Spec {
    let shown = spec.fields.iter().filter(|field| deidentified(field, "", Zone::UTC).is_some()).cloned();
    let mut fields: Vec<Field> = shown.map(in_view).collect();
    fields.extend(date_pairs(spec).map(|(left, right)| days_field(left, right)));
    let identity = Identity { fields: Vec::new(), ..spec.identity.clone() };
    Spec {
        shape: Shape::new(&fields, spec.shape.groups.clone()),
        fields,
        identity,
        plausibility: Vec::new(),
        indexes: Vec::new(),
        patient: None,
        resources: Vec::new(),
        ..spec.clone()
    }
}

/// Returns the field with its type in the view. A date becomes a year.
fn in_view(field: Field) -> Field {
    match field.kind {
        FieldType::Date | FieldType::Datetime => {
            Field { kind: FieldType::Int32(NumberFormat::default()), presence: Presence::Nullable, ..field }
        }
        _ => field,
    }
}

/// Returns the field with the number of days between two dates.
fn days_field(left: &Field, right: &Field) -> Field {
    let name = days_name(left, right);
    Field {
        column: name.clone(),
        name,
        aliases: Vec::new(),
        kind: FieldType::Int64(NumberFormat::default()),
        presence: Presence::Nullable,
        ..left.clone()
    }
}

/// Returns one expression for each shown element of `nodes`. `path` comes before the elements' names: `$` for the
/// document, `$stay.` for a nested document, `$$item1.` for an array's items. `arrays` is the number of arrays around
/// the elements.
///
/// The expressions are nested documents, because the server stores a pipeline in this form. So the result can be
/// compared with the stored pipeline of an existing view.
fn shown_of(spec: &Spec, nodes: &[Node], path: &str, arrays: usize) -> Document {
    let shown = |node: &Node| Some((node.name().to_owned(), shown_node(spec, node, path, arrays)?));
    nodes.iter().filter_map(shown).collect()
}

/// Returns the expression that shows an element. `None` if the view does not show it.
fn shown_node(spec: &Spec, node: &Node, path: &str, arrays: usize) -> Option<Bson> {
    let path = format!("{path}{}", node.name());
    // The variables of nested arrays need different names.
    let item = format!("item{}", arrays + 1);
    match node {
        Node::Leaf { field, .. } => deidentified(&spec.fields[*field], &path, spec.source.zone),
        Node::List { field, .. } => {
            let variable = format!("$${item}");
            let shown = deidentified(&spec.fields[*field], &variable, spec.source.zone)?;
            if shown == Bson::from(variable) { Some(Bson::from(path)) } else { Some(each_item(&path, &item, shown)) }
        }
        Node::Group { repeats: None, children, .. } => {
            let shown = shown_of(spec, children, &format!("{path}."), arrays);
            (!shown.is_empty()).then(|| Bson::from(shown))
        }
        Node::Group { children, .. } => {
            let shown = shown_of(spec, children, &format!("$${item}."), arrays + 1);
            (!shown.is_empty()).then(|| each_item(&path, &item, Bson::from(shown)))
        }
    }
}

/// Returns the expression for an array whose items are shown as `shown`. `$map` fails for a value that is not an array,
/// and one such document would make the whole view unreadable. So the expression checks the type first.
pub(super) fn each_item(path: &str, item: &str, shown: Bson) -> Bson {
    let items = doc! { "$map": { "input": path, "as": item, "in": shown } };
    Bson::from(doc! { "$cond": [{ "$isArray": path }, items, null] })
}

/// Returns the expression that shows the value of a field at `path`. `None` if the view does not show the field. `zone`
/// is the time zone of the source.
fn deidentified(field: &Field, path: &str, zone: Zone) -> Option<Bson> {
    match (field.privacy, &field.kind) {
        // A whole record contains everything, whatever its class.
        (Privacy::DirectIdentifier, _) | (_, FieldType::Whole | FieldType::Resource | FieldType::PatientKey) => None,
        // In all other privacy classes, only the year of a date is shown.
        (_, FieldType::Date) => Some(year(path, Zone::UTC)),
        (_, FieldType::Datetime) => Some(year(path, zone)),
        (Privacy::QuasiIdentifier, kind) => quasi(kind, path),
        (Privacy::Clinical | Privacy::None, _) => Some(Bson::from(path)),
    }
}

/// Returns the expression for a quasi-identifier. A free text is not shown, because it may name a place that is smaller
/// than a state. A number above 89 is shown as 90, because it may be an age or a postal code. A value from a closed
/// list is shown.
fn quasi(kind: &FieldType, path: &str) -> Option<Bson> {
    match kind {
        FieldType::String => None,
        FieldType::Enum { .. } | FieldType::Bool { .. } => Some(Bson::from(path)),
        kind => Some(Bson::from(doc! { "$cond": [{ "$gt": [path, AGE_MAX] }, age_shown(kind), path] })),
    }
}

/// Returns the number that is shown instead of an age above [`AGE_MAX`], in the type of the field.
fn age_shown(kind: &FieldType) -> Bson {
    let age = AGE_MAX + 1;
    match kind {
        FieldType::Int64(_) => Bson::Int64(age.into()),
        FieldType::Double(_) => Bson::Double(age.into()),
        FieldType::Decimal128(_) => age.to_string().parse().map_or(Bson::Int32(age), Bson::Decimal128),
        _ => Bson::Int32(age),
    }
}

/// Returns the expression for the year of a date. A year that is more than 90 years ago is shown as the year 90 years
/// ago, because it may be the year of birth of a person over 89. For example, in 2026 the year 1920 is shown as 1936. A
/// year begins at midnight of the time zone.
pub(super) fn year(path: &str, zone: Zone) -> Bson {
    let year = |date: &str| match zone {
        Zone::UTC => doc! { "$year": date },
        zone => doc! { "$year": { "date": date, "timezone": zone.name() } },
    };
    let earliest = doc! { "$subtract": [year("$$NOW"), AGE_MAX + 1] };
    Bson::from(doc! { "$cond": [is_date(path), { "$max": [year(path), earliest] }, null] })
}

fn is_date(path: &str) -> Document {
    doc! { "$eq": [{ "$type": path }, "date"] }
}

/// Returns the pairs of date fields that a plausibility rule compares. The view shows the number of days between the
/// two, for example the length of a stay.
fn date_pairs(spec: &Spec) -> impl Iterator<Item = (&Field, &Field)> {
    let is_date = |field: &Field| matches!(field.kind, FieldType::Date | FieldType::Datetime);
    let pairs = spec.plausibility.iter().map(|rule| (&spec.fields[rule.left], &spec.fields[rule.right]));
    pairs.filter(move |(left, right)| is_date(left) && is_date(right))
}

fn days_name(left: &Field, right: &Field) -> String {
    format!("{} to {} (days)", flat(&left.name), flat(&right.name))
}

/// Returns the expression for the number of days between two dates. A day begins at midnight of the time zone.
pub(super) fn days_between(start: &str, end: &str, zone: Zone) -> Document {
    let both = doc! { "$and": [is_date(start), is_date(end)] };
    let mut dates = doc! { "startDate": start, "endDate": end, "unit": "day" };
    if zone != Zone::UTC {
        dates.insert("timezone", zone.name());
    }
    doc! { "$cond": [both, { "$dateDiff": dates }, null] }
}

fn path_of(field: &Field) -> String {
    format!("${}", field.name)
}

/// Replaces the dots in a name by spaces. A computed field with dots in its name would become nested documents.
fn flat(name: &str) -> String {
    name.replace('.', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_view_shows_no_identifier() {
        let pipeline = pipeline(&Spec::built_in());
        let shown = pipeline[0].get_document("$project").expect("a projection");
        let names: Vec<&str> = shown.keys().map(String::as_str).collect();
        let expected = [
            "_id",
            "Age",
            "Gender",
            "Blood Type",
            "Medical Condition",
            "Insurance Provider",
            "Admission Type",
            "Medication",
            "Test Results",
            "Billing Amount",
            "Date of Admission",
            "Discharge Date",
            "Date of Admission to Discharge Date (days)",
        ];
        assert_eq!(names, expected);
        assert_eq!(shown.get_i32("_id").ok(), Some(0));
    }

    #[test]
    fn the_view_of_messages_shows_no_text_of_a_sender_except_the_event() {
        let spec = crate::spec::Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind");
        let pipeline = pipeline(&spec);
        let shown = pipeline[0].get_document("$project").expect("a projection");
        let names: Vec<&str> = shown.keys().map(String::as_str).collect();
        assert_eq!(names, ["_id", "type", "event", "sentAt", "sentAtPrecision", "eventAt", "eventAtPrecision"]);
    }

    #[test]
    fn the_spec_of_the_view_has_its_columns_in_its_order() {
        let spec = Spec::built_in();
        let view = view_spec(&spec);
        let shown = pipeline(&spec)[0].get_document("$project").expect("a projection").clone();
        let columns: Vec<&str> = view.columns().iter().map(|column| column.column).collect();
        let expected: Vec<&str> = shown.keys().map(String::as_str).filter(|name| *name != "_id").collect();
        assert_eq!(columns, expected);
        let kind = |name: &str| view.fields.iter().find(|field| field.name == name).expect("a field").kind.name();
        let kinds = ["Age", "Date of Admission", "Date of Admission to Discharge Date (days)"].map(kind);
        assert_eq!(kinds, ["int32", "int32", "int64"]);
    }

    const TYPES: [(&str, &str); 9] = [
        ("string", ""),
        ("enum", "values = [\"x\"]"),
        ("bool", "truthy = [\"1\"]\nfalsy = [\"0\"]"),
        ("int32", ""),
        ("int64", ""),
        ("double", ""),
        ("decimal128", ""),
        ("date", ""),
        ("datetime", ""),
    ];

    fn field(name: &str, (kind, more): (&str, &str), class: &str) -> String {
        format!("[[field]]\nname = \"{name}\"\ntype = \"{kind}\"\n{more}\nprivacy = \"{class}\"\n")
    }

    fn shown(fields: &str) -> Document {
        let spec = Spec::from_toml(&format!("name = \"t\"\n{fields}"), "test").expect("a spec");
        pipeline(&spec)[0].get_document("$project").expect("a projection").clone()
    }

    #[test]
    fn the_view_of_resources_shows_codes_and_years_but_no_resource_and_no_id() {
        let dataset = crate::spec::Dataset::built_in("fhir-r4").expect("a built-in spec");
        for spec in &dataset.kinds {
            let shown = pipeline(spec)[0].get_document("$project").expect("a projection").clone();
            let names: Vec<&str> = shown.keys().map(String::as_str).collect();
            assert_eq!(names, ["_id", "source", "type", "lastUpdated", "_search"], "{}", spec.name);
        }
        let condition = dataset.kind_of("Condition").expect("a kind");
        let shown = pipeline(condition)[0].get_document("$project").expect("a projection").clone();
        let search = shown.get_document("_search").expect("search parameters");
        assert!(
            search.contains_key("code") && search.contains_key("onset") && !search.contains_key("subject"),
            "{search}"
        );
    }

    #[test]
    fn every_class_and_type_is_shown_reduced_or_hidden() {
        let whole = Bson::from("$f");
        let capped = |age: Bson| Bson::from(doc! { "$cond": [{ "$gt": ["$f", 89] }, age, "$f"] });
        let ages = [Bson::Int32(90), Bson::Int64(90), Bson::Double(90.0), Bson::Decimal128("90".parse().expect("90"))];
        let capped = ages.map(capped);
        let earliest = doc! { "$subtract": [{ "$year": "$$NOW" }, 90] };
        let year = doc! { "$max": [{ "$year": "$f" }, earliest] };
        let year = Bson::from(doc! { "$cond": [{ "$eq": [{ "$type": "$f" }, "date"] }, year, null] });
        for kind in TYPES {
            for class in ["direct-identifier", "quasi-identifier", "clinical", "none"] {
                let expected = match (class, kind.0) {
                    ("direct-identifier", _) | ("quasi-identifier", "string") => None,
                    (_, "date" | "datetime") => Some(&year),
                    ("quasi-identifier", "int32") => Some(&capped[0]),
                    ("quasi-identifier", "int64") => Some(&capped[1]),
                    ("quasi-identifier", "double") => Some(&capped[2]),
                    ("quasi-identifier", "decimal128") => Some(&capped[3]),
                    _ => Some(&whole),
                };
                let found = shown(&field("f", kind, class));
                assert_eq!(found.get("f"), expected, "{class} {}", kind.0);
                assert_eq!(
                    (found.get("_id"), found.len()),
                    (Some(&Bson::Int32(0)), 1 + usize::from(expected.is_some()))
                );
            }
        }
    }

    #[test]
    fn days_between_compared_dates_are_shown() {
        let rule = |left: &str, right: &str| {
            format!(
                "[[plausibility]]\nname = \"{left}_{right}\"\nleft = \"{left}\"\nright = \"{right}\"\nseverity = \"warn\"\n"
            )
        };
        let fields = field("stay.in", ("date", ""), "none")
            + &field("stay.out", ("datetime", ""), "none")
            + &field("least", ("int32", ""), "none")
            + &field("most", ("int32", ""), "none");
        let found = shown(&(fields + &rule("stay.in", "stay.out") + &rule("least", "most")));
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["_id", "stay", "least", "most", "stay in to stay out (days)"]);
        let date = |path: &str| doc! { "$eq": [{ "$type": path }, "date"] };
        let days = doc! { "$dateDiff": { "startDate": "$stay.in", "endDate": "$stay.out", "unit": "day" } };
        let both = doc! { "$and": [date("$stay.in"), date("$stay.out")] };
        let expected = Bson::from(doc! { "$cond": [both, days, null] });
        assert_eq!(found.get("stay in to stay out (days)"), Some(&expected));
        assert_eq!(view_name("stays"), "stays_deidentified");
    }

    #[test]
    fn years_and_days_begin_at_midnight_of_the_zone_but_a_day_is_a_day() {
        let zone = Zone::from_text("Europe/Berlin").expect("a zone");
        let year = year("$f", zone).to_string();
        assert_eq!(year.matches(r#""timezone": "Europe/Berlin""#).count(), 2, "{year}");
        let days = days_between("$a", "$b", zone).to_string();
        assert!(days.contains(r#""timezone": "Europe/Berlin""#), "{days}");
        assert!(!days_between("$a", "$b", Zone::UTC).to_string().contains("timezone"));
        for (kind, count) in [("date", 0), ("datetime", 2)] {
            let text = format!("name = \"t\"\n{}", field("f", (kind, ""), "none"));
            let mut spec = Spec::from_toml(&text, "test").expect("a spec");
            spec.source.zone = zone;
            assert_eq!(format!("{:?}", pipeline(&spec)).matches("Europe/Berlin").count(), count, "{kind}");
        }
    }

    #[test]
    fn nested_fields_stay_nested_and_hidden_groups_are_absent() {
        let text = ("string", "");
        let fields = field("result.value", text, "clinical")
            + &field("result.unit", text, "none")
            + &field("patient.name", text, "direct-identifier");
        assert_eq!(shown(&fields), doc! { "_id": 0, "result": { "value": "$result.value", "unit": "$result.unit" } });
    }

    #[test]
    fn the_items_of_arrays_are_shown_by_the_same_rules() {
        let group = |name: &str| format!("[[group]]\nname = \"{name}\"\nrepeats = \"{name}\"\n");
        let list = ("string", "repeats = true");
        let fields = group("names")
            + &group("hidden")
            + &group("names.periods")
            + &field("names.family", ("string", ""), "direct-identifier")
            + &field("names.use", ("string", ""), "none")
            + &field("names.periods.start", ("date", ""), "quasi-identifier")
            + &field("names.tags", list, "clinical")
            + &field("hidden.value", ("string", ""), "direct-identifier")
            + &field("codes", list, "clinical")
            + &field("places", list, "quasi-identifier")
            + &field("ages", ("int32", "repeats = true"), "quasi-identifier");
        let found = shown(&fields);
        let each = |path: &str, item: &str, shown: Bson| {
            doc! { "$cond": [{ "$isArray": path }, { "$map": { "input": path, "as": item, "in": shown } }, null] }
        };
        let periods = each("$$item1.periods", "item2", Bson::from(doc! { "start": year("$$item2.start", Zone::UTC) }));
        let names = doc! { "use": "$$item1.use", "periods": periods, "tags": "$$item1.tags" };
        let capped = doc! { "$cond": [{ "$gt": ["$$item1", 89] }, 90, "$$item1"] };
        let expected = doc! {
            "_id": 0,
            "names": each("$names", "item1", Bson::from(names)),
            "codes": "$codes",
            "ages": each("$ages", "item1", Bson::from(capped)),
        };
        assert_eq!(found, expected);
    }
}
