use super::*;

fn spec(fields: &str) -> Spec {
    let text = format!(
        "name = \"t\"\ncollection = \"t\"\n[identity]\nfields = \"all\"\non_conflict = \"keep-first\"\n{fields}"
    );
    Spec::from_toml(&text, "test").expect("a spec")
}

fn check(fields: &str, required: &[&str], properties: &Document) {
    let schema = validator(&spec(fields)).get_document("$jsonSchema").expect("a schema").clone();
    let names: Vec<_> = schema.get_array("required").cloned().unwrap_or_default();
    assert_eq!(names, required.iter().map(|name| Bson::from(*name)).collect::<Vec<_>>());
    assert_eq!(schema.get_document("properties").expect("properties"), properties);
}

#[test]
fn types_presence_and_constraints_become_a_schema() {
    check(
        "[[field]]\nname = \"Age\"\ntype = \"int32\"\nrange = [0, 130]\nprivacy = \"none\"",
        &["Age"],
        &doc! { "Age": { "bsonType": "int", "minimum": 0_i64, "maximum": 130_i64 } },
    );
    check(
        "[[field]]\nname = \"Bill\"\ntype = \"double\"\npresence = \"nullable\"\nprivacy = \"none\"",
        &[],
        &doc! { "Bill": { "bsonType": ["double", "null"] } },
    );
    check(
        "[[field]]\nname = \"Sex\"\ntype = \"enum\"\nvalues = [\"F\", \"M\"]\npresence = \"optional\"\nprivacy = \"none\"",
        &[],
        &doc! { "Sex": { "bsonType": ["string", "null"], "enum": ["F", "M", null] } },
    );
    check(
        "[[field]]\nname = \"Code\"\ntype = \"string\"\npattern = \"[A-Z][0-9]+\"\nlength = [2, 8]\nprivacy = \"none\"",
        &["Code"],
        &doc! { "Code": { "bsonType": "string", "minLength": 2_i64, "maxLength": 8_i64, "pattern": r"\A[A-Z][0-9]++\z" } },
    );
    let bound = |text: &str| text.parse::<Decimal128>().expect("a number");
    check(
        "[[field]]\nname = \"Dose\"\ntype = \"decimal128\"\nrange = [0.1, inf]\nprivacy = \"none\"",
        &["Dose"],
        &doc! { "Dose": { "bsonType": "decimal", "minimum": bound("0.1") } },
    );
    check(
        "[[field]]\nname = \"Id\"\ntype = \"int64\"\nrange = [0.5, 9007199254740993]\nprivacy = \"none\"",
        &["Id"],
        &doc! { "Id": { "bsonType": "long", "minimum": 1_i64, "maximum": 9_007_199_254_740_993_i64 } },
    );
}

#[test]
fn a_pattern_that_the_server_cannot_check_is_omitted_and_reported() {
    let spec = spec(
        "[[field]]\nname = \"a\"\ntype = \"string\"\npattern = '\\bx+'\nprivacy = \"none\"\n\
         [[field]]\nname = \"b\"\ntype = \"string\"\npattern = 'x+'\nprivacy = \"none\"",
    );
    let schema = validator(&spec).to_string();
    assert!(schema.contains("x++") && !schema.contains("\\b"), "{schema}");
    let unchecked = unchecked_patterns(&spec);
    assert_eq!(unchecked.len(), 1);
    assert!(unchecked[0].0 == "a" && unchecked[0].1.contains("word boundaries"), "{unchecked:?}");
}

#[test]
fn dotted_names_become_nested_objects() {
    let fields = "[[field]]\nname = \"result.value\"\ntype = \"decimal128\"\nprivacy = \"none\"\n\
         [[field]]\nname = \"result.unit\"\ntype = \"string\"\npresence = \"nullable\"\nprivacy = \"none\"\n\
         [[field]]\nname = \"final\"\ntype = \"bool\"\ntruthy = [\"yes\"]\nfalsy = [\"no\"]\nprivacy = \"none\"";
    let result = doc! {
        "bsonType": "object",
        "required": ["value"],
        "properties": { "value": { "bsonType": "decimal" }, "unit": { "bsonType": ["string", "null"] } },
    };
    check(fields, &["result", "final"], &doc! { "result": result, "final": { "bsonType": "bool" } });
}

/// Makes the state of a collection with the spec's validator.
fn guarded(spec: &Spec) -> CollectionState {
    CollectionState { exists: true, validator: validator(spec), ..CollectionState::default() }
}

#[test]
fn a_validator_must_be_strict_and_refuse_documents() {
    let spec = Spec::built_in();
    let word = |word: Option<&str>| word.map(str::to_owned);
    for action in [None, Some("error"), Some("warn"), Some("errorAndLog"), Some("")] {
        for level in [None, Some("strict"), Some("moderate"), Some("off"), Some("")] {
            let (validation_action, validation_level) = (word(action), word(level));
            let state = CollectionState { validation_action, validation_level, ..guarded(&spec) };
            let expected = matches!(action, None | Some("error")) && matches!(level, None | Some("strict"));
            assert_eq!(state.is_guarded_by(&spec), expected, "{action:?} {level:?}");
            assert_eq!(state.logs_documents(), action == Some("warn"), "{action:?}");
            let bare = CollectionState { validator: Document::new(), ..state.clone() };
            assert!(!bare.is_guarded_by(&spec) && !bare.logs_documents());
            assert!(!CollectionState { exists: false, ..state }.is_guarded_by(&spec));
        }
    }
    let mut other = spec.clone();
    other.shape.roots.pop();
    assert!(!guarded(&other).is_guarded_by(&spec));
}

#[test]
fn the_validator_is_attached_with_level_strict_and_action_error() {
    let spec = Spec::built_in();
    for command in ["create", "collMod"] {
        let expected = doc! {
            command: "stays", "validator": validator(&spec), "validationLevel": "strict", "validationAction": "error",
        };
        assert_eq!(attach_command(command, "stays", &spec), expected);
    }
    assert!(validator(&spec).to_string().contains(r#""title": "admissions""#), "{}", validator(&spec));
}

#[test]
fn an_index_suffices_by_keys_and_uniqueness_and_conflicts_by_name_or_keys() {
    let index = |name: &str, key: (&str, i32), unique| Index {
        name: name.to_owned(),
        keys: vec![(key.0.to_owned(), key.1)],
        unique,
    };
    let wanted = index("i", ("a", 1), false);
    let mut spec = Spec::built_in();
    spec.indexes = vec![wanted.clone()];
    let check = |actual: &[Index], missing: bool, outdated: bool, clashes: Option<&str>| {
        let state = CollectionState { indexes: actual.to_vec(), ..CollectionState::default() };
        let found = (!state.missing_indexes(&spec).is_empty(), !state.outdated_indexes(&spec).is_empty());
        assert_eq!(found, (missing, outdated), "{actual:?}");
        let clash = actual.iter().find_map(|index| clash(index, &wanted));
        assert_eq!(clash.as_deref(), clashes, "{actual:?}");
    };
    check(&[], true, false, None);
    check(std::slice::from_ref(&wanted), false, false, None);
    check(&[index("other", ("a", 1), false)], false, false, None);
    check(&[index("other", ("b", 1), false)], true, false, None);
    check(&[index("other", ("a", -1), false)], true, false, None);
    check(&[index("i", ("b", 1), false)], true, true, Some("another index of that name"));
    check(&[index("i", ("a", 1), true)], true, true, Some("another index of that name"));
    check(&[index("j", ("a", 1), true)], true, false, Some("the index `j` with the same keys, which is unique"));
    let unique = index("u", ("a", 1), true);
    let found = clash(&wanted, &unique);
    assert_eq!(found.as_deref(), Some("the index `i` with the same keys, which is not unique"));
}

#[test]
fn every_type_has_its_bson_type() {
    for (kind, expected) in [
        ("\"string\"", "string"),
        ("\"enum\"\nvalues = [\"x\"]", "string"),
        ("\"int32\"", "int"),
        ("\"int64\"", "long"),
        ("\"double\"", "double"),
        ("\"decimal128\"", "decimal"),
        ("\"bool\"\ntruthy = [\"1\"]\nfalsy = [\"0\"]", "bool"),
        ("\"date\"", "date"),
        ("\"datetime\"", "date"),
    ] {
        let spec = spec(&format!("[[field]]\nname = \"f\"\ntype = {kind}\nprivacy = \"none\""));
        assert_eq!(bson_type(&spec.fields[0].kind), expected);
    }
}

#[test]
fn only_unlimited_bounds_are_omitted() {
    let check = |range: Range, least: Option<Bson>, most: Option<Bson>| assert_eq!(bounds(Some(range)), (least, most));
    let long = |bound| Some(Bson::Int64(bound));
    check(Range::Whole(i64::MIN, i64::MAX), None, None);
    check(Range::Whole(i64::MIN + 1, i64::MAX - 1), long(i64::MIN + 1), long(i64::MAX - 1));
    check(Range::Whole(0, 0), long(0), long(0));
    let double = |bound| Some(Bson::Double(bound));
    check(Range::Double(-0.5, 2.5), double(-0.5), double(2.5));
    check(Range::Double(f64::NEG_INFINITY, f64::INFINITY), None, None);
    check(Range::Double(f64::MIN, f64::MAX), double(f64::MIN), double(f64::MAX));
    let half = Decimal { negative: true, coefficient: 5, exponent: -1 };
    let decimal = Some(Bson::Decimal128("-0.5".parse().expect("a number")));
    check(Range::Decimal(None, Some(half)), None, decimal.clone());
    check(Range::Decimal(Some(half), None), decimal, None);
    assert_eq!(bounds(None), (None, None));
}

#[test]
fn attaching_is_repeated_after_temporary_failures_and_if_the_collection_now_exists() {
    let check =
        |code: i32, expected: bool| assert_eq!(may_attach_later(&Failure::of_code(code, "", None)), expected, "{code}");
    check(NAMESPACE_EXISTS, true);
    check(12_587, true);
    check(112, true);
    check(13, false);
    check(26, false);
    assert_eq!(NAMESPACE_EXISTS, 48);
}

#[test]
fn a_required_nested_field_makes_its_parent_required() {
    let field = |name: &str, presence: &str| {
        format!("[[field]]\nname = \"{name}\"\ntype = \"int64\"\npresence = \"{presence}\"\nprivacy = \"none\"\n")
    };
    let fields = field("a.b.c", "nullable")
        + &field("a.b.d", "optional")
        + &field("a.e", "required")
        + &field("f.g", "optional");
    let open = doc! { "bsonType": ["long", "null"] };
    let inner = doc! { "bsonType": "object", "properties": { "c": open.clone(), "d": open.clone() } };
    let a = doc! { "bsonType": "object", "required": ["e"], "properties": { "b": inner, "e": { "bsonType": "long" } } };
    let f = doc! { "bsonType": "object", "properties": { "g": open } };
    check(&fields, &["a"], &doc! { "a": a, "f": f });
}

#[test]
fn arrays_have_schemas_for_their_items() {
    let field = |name: &str, more: &str| {
        format!("[[field]]\nname = \"{name}\"\ntype = \"string\"\nprivacy = \"none\"\n{more}\n")
    };
    let group = |name: &str, presence: &str| {
        format!("[[group]]\nname = \"{name}\"\nrepeats = \"{name}\"\npresence = \"{presence}\"\n")
    };
    let fields = group("a.names", "required")
        + &group("periods", "optional")
        + &field("a.names.family", "")
        + &field("a.names.given", "repeats = true")
        + &field("periods.start", "presence = \"nullable\"")
        + &field("tags", "presence = \"nullable\"\nrepeats = true\nlength = [1, 9]");
    let given = doc! { "bsonType": "array", "items": { "bsonType": "string" }, "minItems": 1_i64 };
    let name = doc! {
        "bsonType": "object",
        "required": ["family", "given"],
        "properties": { "family": { "bsonType": "string" }, "given": given },
    };
    let names = doc! { "bsonType": "array", "items": name, "minItems": 1_i64 };
    let period = doc! { "bsonType": "object", "properties": { "start": { "bsonType": ["string", "null"] } } };
    let tag = doc! { "bsonType": ["string", "null"], "minLength": 1_i64, "maxLength": 9_i64 };
    let properties = doc! {
        "a": { "bsonType": "object", "required": ["names"], "properties": { "names": names } },
        "periods": { "bsonType": "array", "items": period },
        "tags": { "bsonType": "array", "items": tag },
    };
    check(&fields, &["a"], &properties);
}

#[test]
fn a_validator_of_another_program_is_described_by_its_title_or_its_fields() {
    let spec = Spec::built_in();
    let check = |found: Document, expected: Option<&str>| {
        let state = CollectionState { validator: found, ..CollectionState::default() };
        assert_eq!(state.other_validator(&spec).as_deref(), expected);
    };
    check(doc! {}, None);
    check(validator(&spec), None);
    check(doc! { "$jsonSchema": { "title": "wards", "properties": { "a": {} } } }, Some("the validator `wards`"));
    check(doc! { "$jsonSchema": { "properties": { "a": {}, "b": {} } } }, Some("a validator of `a`, `b`"));
    check(doc! { "a": 1, "b": 1, "c": 1, "d": 1, "e": 1 }, Some("a validator of `a`, `b`, `c`, `d`, `e`"));
    check(doc! { "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1 }, Some("a validator of `a`, `b`, `c`, `d`, `e`, …"));
}
