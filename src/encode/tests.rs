//! Tests with known results. If an `_id` or a digest changes, Medlift no longer recognises stored documents.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, RawDocumentBuf, doc};

use super::document::DOCUMENT_BYTES_MAX;
use super::stored::{Stored, dotted_fields, fields_that_differ, same_fields};
use super::{Encoded, Encoder, IdentityKey, Lineage};
use crate::clean::{Record, Value};
use crate::reject::Reason;
use crate::spec::Spec;

const EVERY_TYPE: [(&str, &str); 9] = [
    ("text", "string"),
    ("int", "int32"),
    ("long", "int64"),
    ("number", "double"),
    ("price", "decimal128"),
    ("flag", "bool"),
    ("day", "date"),
    ("time", "datetime"),
    ("none", "int32"),
];

/// Creates a spec of these fields. `head` is the TOML before them.
fn spec(head: &str, fields: &[(&str, &str)]) -> Spec {
    let field = |(name, kind): &(&str, &str)| {
        format!("[[field]]\nname = '{name}'\ntype = '{kind}'\npresence = 'nullable'\nprivacy = 'none'\n")
    };
    let fields = fields.iter().map(field).collect::<Vec<_>>().concat();
    Spec::from_toml(&format!("name = 'x'\n{head}\n{fields}"), "test").expect("a valid spec")
}

fn price() -> Decimal128 {
    "1.50".parse().expect("a decimal")
}

/// Creates a record with one value of each type, in the order of [`EVERY_TYPE`].
fn record() -> Record {
    let mut record = Record::default();
    record.push_text("Zoë");
    record.values.extend([
        Value::Int32(-7),
        Value::Int64(1 << 40),
        Value::Double(0.1),
        Value::Decimal128(price().bytes()),
        Value::Bool(true),
        Value::Datetime(86_400_000),
        Value::Datetime(-1),
        Value::Null,
    ]);
    record
}

fn encode(spec: &Spec, key: IdentityKey, record: &Record, lineage: Option<Lineage>) -> (Encoded, Vec<u8>) {
    let mut document = Vec::new();
    let encoded = Encoder::new(spec, key).encode(record, lineage, &mut document).expect("small");
    (encoded, document)
}

fn secret() -> IdentityKey {
    IdentityKey::from_secret("a deployment's secret")
}

#[test]
fn debug_output_of_a_key_shows_only_its_fingerprint() {
    assert_eq!(format!("{:?}", secret()), format!("IdentityKey({})", secret().fingerprint()));
    assert_eq!(format!("{:?}", IdentityKey::default()), "IdentityKey(none)");
}

#[test]
fn fields_share_a_nested_document_only_with_the_same_prefix() {
    let spec = spec("", &[("a.b.x", "int32"), ("c.b.y", "int32"), ("c.d.y", "int32"), ("c.e", "int32")]);
    let mut record = Record::default();
    record.values.extend((1..=4).map(Value::Int32));
    let (_, document) = encode(&spec, IdentityKey::default(), &record, None);
    let mut found = bson::deserialize_from_slice::<bson::Document>(&document).expect("BSON");
    found.remove("_id");
    assert_eq!(found, doc! { "a": { "b": { "x": 1 } }, "c": { "b": { "y": 2 }, "d": { "y": 3 }, "e": 4 } });
}

fn raw(document: bson::Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).expect("valid").into_bytes()
}

#[test]
fn ids_and_digests_of_fixed_records_never_change() {
    let nested = EVERY_TYPE.map(|(name, kind)| (format!("in.{name}"), kind));
    let nested: Vec<(&str, &str)> = nested.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    let named = "[identity]\nfields = ['long', 'text']";
    let found: Vec<String> = [spec("", &EVERY_TYPE), spec(named, &EVERY_TYPE), spec("", &nested)]
        .iter()
        .flat_map(|spec| [IdentityKey::default(), secret()].map(|key| encode(spec, key, &record(), None).0))
        .map(|encoded| format!("{} {}", encoded.id, encoded.digest))
        .collect();
    assert_eq!(found, KNOWN_IDS);
}

/// The `_id` and the digest of one record under three specs, for each spec first without a key and then with a key.
/// The identity of the first spec is all fields. The identity of the second is two fields. The identity of the third
/// is all fields, and all are inside a nested document.
const KNOWN_IDS: [&str; 6] = [
    "66ab1453-3d8d-8580-89d1-c14b0981f920 c38b0a191426dfd2bfb3a84d88ef9aab",
    "ceb4cc56-c9a3-831d-b6ee-05a9714e460d 24af5ce79e0625ec1e664b135ddb66d8",
    "1a193670-02b2-8f92-aff5-0f7ebdb13d65 c38b0a191426dfd2bfb3a84d88ef9aab",
    "d49d80f2-c7dd-80ec-85e6-7b439b3e26e9 24af5ce79e0625ec1e664b135ddb66d8",
    "59418c9f-8fd0-8f8e-bc95-74905ec12f14 c22a072fec85ca2b3217730ce6a8a891",
    "3c519bec-0897-8ce9-bfec-d6fa819596fc a23241825777fc7410a15ba3058e14f0",
];

#[test]
fn fingerprints_of_keys_never_change() {
    assert_eq!(IdentityKey::default().fingerprint(), "none");
    assert_eq!(secret().fingerprint(), "0fd6f58a93f9d55d");
}

#[test]
fn an_id_is_a_uuid_of_version_8_and_of_the_variant_of_rfc_9562() {
    let spec = spec("", &[("long", "int64")]);
    for number in 0..64 {
        let record = Record { values: vec![Value::Int64(number)], ..Record::default() };
        let id = encode(&spec, IdentityKey::default(), &record, None).0.id;
        assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (8, 0b10), "{id}");
    }
}

#[test]
fn an_id_is_ordered_and_written_from_its_first_byte() {
    let id = super::Id([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
    assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0eff");
    assert_eq!(id.lead(), 0x0001_0203_0405_0607);
}

#[test]
fn a_sum_of_digests_carries_and_wraps() {
    let mut sum = super::Digest(3);
    sum.add(super::Digest(1));
    assert_eq!(sum, super::Digest(4));
    sum.add(super::Digest(u128::MAX));
    assert_eq!((sum, sum.to_string()), (super::Digest(3), format!("{:032x}", 3)));
}

#[test]
fn every_type_is_written_as_in_the_bson_specification() {
    let lineage = Lineage { run: [7; 16], row: 5 };
    let (encoded, document) = encode(&spec("", &EVERY_TYPE), secret(), &record(), Some(lineage));
    let uuid = |bytes: [u8; 16]| Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() };
    let expected = doc! {
        "_id": uuid(encoded.id.0), "text": "Zoë", "int": -7, "long": 1_i64 << 40, "number": 0.1, "price": price(),
        "flag": true, "day": DateTime::from_millis(86_400_000), "time": DateTime::from_millis(-1), "none": null,
        "_medlift": { "run": uuid([7; 16]), "row": 5_i64 },
    };
    assert_eq!(document, raw(expected));
    assert_eq!(encoded.len, document.len());
}

#[test]
fn equal_bytes_of_different_types_are_different_records_and_fields_that_differ() {
    let spec = spec("", &[("f", "int64")]);
    let values =
        [Value::Int64(0), Value::Datetime(0), Value::Double(0.0), Value::Int32(0), Value::Bool(false), Value::Null];
    let document = |value: &Value| {
        encode(&spec, IdentityKey::default(), &Record { values: vec![value.clone()], ..Record::default() }, None).1
    };
    for (place, left) in values.iter().enumerate() {
        for (other, right) in values.iter().enumerate() {
            let (left, right) = (document(left), document(right));
            let is_same = place == other;
            assert_eq!(left == right, is_same);
            assert_eq!(fields_that_differ(&left, &right).is_empty(), is_same, "{place} {other}");
            assert_eq!(same_fields(&left, &right), is_same, "{place} {other}");
        }
    }
}

#[test]
fn a_document_may_be_as_large_as_mongodb_allows_and_no_larger() {
    let spec = spec("", &[("f", "string")]);
    let around = encode(&spec, secret(), &text_record(0), None).0.len;
    let mut encoder = Encoder::new(&spec, secret());
    let mut out = b"before".to_vec();
    let reject = encoder.write(&text_record(DOCUMENT_BYTES_MAX - around + 1), None, &mut out).expect_err("too large");
    assert_eq!((reject.reason, out.as_slice()), (Reason::DocumentTooLarge, &b"before"[..]));
    assert_eq!(encoder.write(&text_record(DOCUMENT_BYTES_MAX - around), None, &mut out), Ok(DOCUMENT_BYTES_MAX));
}

fn text_record(bytes: usize) -> Record {
    let mut record = Record::default();
    record.push_text(&"x".repeat(bytes));
    record
}

#[test]
fn only_lineage_in_our_own_form_is_left_out_of_the_body() {
    let id = Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] };
    let lineage = |run: Bson| raw(doc! { "_id": id.clone(), "f": 1, "_medlift": { "run": run, "row": 1_i64 } });
    let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![2; 16] };
    let body = |document: &[u8]| Stored::parse(document).expect("ours").body.to_vec();
    assert_eq!(body(&lineage(uuid.clone().into())), b"\x10f\0\x01\0\0\0");
    let look_alike = lineage("0123456789abcdef".into());
    assert_eq!(look_alike.len(), lineage(uuid.into()).len());
    assert!(body(&look_alike).len() > 7);
    for id in
        [Bson::Int32(1), Bson::from("text"), Binary { subtype: BinarySubtype::Generic, bytes: vec![1; 16] }.into()]
    {
        assert!(Stored::parse(&raw(doc! { "_id": id, "f": 1 })).is_none());
    }
}

#[test]
fn differing_fields_are_named_except_id_and_lineage() {
    let check = |left: bson::Document, right: bson::Document, expected: &[&str], is_inside: bool| {
        let (left, right) = (raw(left), raw(right));
        assert_eq!(fields_that_differ(&left, &right), expected);
        assert_eq!(same_fields(&left, &right), is_inside);
    };
    check(doc! { "_id": 1, "a": 1 }, doc! { "_id": 2, "a": 1 }, &[], true);
    check(doc! { "a": 1, "_medlift": { "row": 1 } }, doc! { "a": 1, "_medlift": { "row": 2 } }, &[], true);
    check(doc! { "a": 1, "b": 2 }, doc! { "b": 2, "a": 1 }, &["order of fields"], true);
    check(doc! { "a": 1, "b": 2 }, doc! { "a": 1, "b": 3 }, &["b"], false);
    check(doc! { "a": 1 }, doc! { "a": 1, "b": 2 }, &["b"], true);
    check(doc! { "a": 1, "b": 2 }, doc! { "b": 2 }, &["a"], false);
    check(doc! { "n": { "x": 1, "y": 1 } }, doc! { "n": { "x": 1, "y": 2 } }, &["n.y"], false);
    let deep = |value: i32| doc! { "n": { "m": { "x": 1, "y": value } } };
    check(deep(1), deep(2), &["n.m.y"], false);
    check(deep(1), doc! { "n": { "x": 1 }, "m": { "y": 1 } }, &["n.m.x", "n.m.y", "n.x", "m.y"], false);
    check(doc! { "a": {}, "b": 1 }, doc! { "b": 1 }, &["a"], false);
    check(doc! { "a": 0.0 }, doc! { "a": -0.0 }, &["a"], false);
}

#[test]
fn dotted_fields_leave_out_the_id_and_do_not_split_lineage() {
    let document = doc! { "_id": 1, "a": 1, "n": { "x": true, "y": { "z": "t" } }, "_medlift": { "row": 1_i64 } };
    let expected = doc! { "a": 1, "n.x": true, "n.y.z": "t", "_medlift": { "row": 1_i64 } };
    assert_eq!(dotted_fields(&raw(document)).as_bytes(), raw(expected));
}

/// Creates a spec with lists, and with a repeating group that contains all types, a list and another group.
fn spec_of_arrays(head: &str) -> Spec {
    let field = |name: &str, kind: &str, more: &str| {
        format!("[[field]]\nname = '{name}'\ntype = '{kind}'\npresence = 'nullable'\nprivacy = 'none'\n{more}\n")
    };
    let rows = EVERY_TYPE.map(|(name, kind)| field(&format!("rows.{name}"), kind, "")).concat();
    let fields = [
        field("id", "int32", ""),
        rows,
        field("rows.in.list", "int32", "repeats = true"),
        field("rows.deep.x", "int32", ""),
        field("more.codes", "string", "repeats = true"),
    ];
    let groups = "[[group]]\nname = 'rows'\nrepeats = 'row'\n[[group]]\nname = 'rows.deep'\nrepeats = 'deep'\n";
    Spec::from_toml(&format!("name = 'x'\n{head}\n{groups}{}", fields.concat()), "test").expect("a valid spec")
}

/// Creates a record with two items in `rows` and three in `codes`. In the first item of `rows`, all values are null and
/// the arrays are empty. In the second item, the list contains a number and a null, and `deep` has one item.
fn record_of_arrays() -> Record {
    let Record { values: row, text, .. } = record();
    let mut record = Record { text, ..Record::default() };
    record.push_text("A");
    let code = record.values[0].clone();
    let nulls = vec![Value::Null; row.len()];
    record.items = [
        [nulls, vec![Value::Items(0..0), Value::Items(0..0)]].concat(),
        [row, vec![Value::Items(22..24), Value::Items(24..25)]].concat(),
        vec![Value::Int32(1), Value::Null],
        vec![Value::Int32(9)],
        vec![code.clone(), Value::Null, code],
    ]
    .concat();
    record.values = vec![Value::Null; 13];
    record.values[0] = Value::Int32(7);
    record.values[1] = Value::Items(0..22);
    record.values[12] = Value::Items(25..28);
    record
}

#[test]
fn arrays_are_written_as_in_the_bson_specification() {
    let (encoded, document) = encode(&spec_of_arrays(""), secret(), &record_of_arrays(), None);
    let id = Binary { subtype: BinarySubtype::Uuid, bytes: encoded.id.0.to_vec() };
    let null = Bson::Null;
    let first = doc! {
        "text": &null, "int": &null, "long": &null, "number": &null, "price": &null, "flag": &null, "day": &null,
        "time": &null, "none": &null, "in": { "list": [] }, "deep": [],
    };
    let second = doc! {
        "text": "Zoë", "int": -7, "long": 1_i64 << 40, "number": 0.1, "price": price(), "flag": true,
        "day": DateTime::from_millis(86_400_000), "time": DateTime::from_millis(-1), "none": null,
        "in": { "list": [1, null] }, "deep": [{ "x": 9 }],
    };
    let expected = doc! { "_id": id, "id": 7, "rows": [first, second], "more": { "codes": ["A", Bson::Null, "A"] } };
    assert_eq!(document, raw(expected));
}

#[test]
fn elements_of_a_long_array_have_decimal_names() {
    let spec = spec_of_arrays("");
    let mut record = record_of_arrays();
    record.values[12] = Value::Items(28..1228);
    record.items.extend(vec![Value::Null; 1200]);
    let (_, document) = encode(&spec, secret(), &record, None);
    let found = bson::deserialize_from_slice::<bson::Document>(&document).expect("BSON");
    let codes = found.get_document("more").and_then(|more| more.get_array("codes")).expect("an array");
    assert_eq!(codes, &vec![Bson::Null; 1200]);
    let mut again = found.clone();
    again.remove("_id");
    let again = raw(again);
    assert_eq!(
        Stored::parse(&document).expect("ours").body,
        &again[4..again.len() - 1],
        "the names of the elements must be the numbers 0 to 1199"
    );
}

#[test]
fn ids_and_digests_of_arrays_never_change() {
    let found: Vec<String> = ["", "[identity]\nfields = ['rows']", "[identity]\nexcept = ['rows']"]
        .iter()
        .map(|head| encode(&spec_of_arrays(head), IdentityKey::default(), &record_of_arrays(), None).0)
        .map(|encoded| format!("{} {}", encoded.id, encoded.digest))
        .collect();
    assert_eq!(found, KNOWN_IDS_OF_ARRAYS);
}

/// The `_id` and the digest for three identities: all fields, only `rows`, and all fields except `rows`.
const KNOWN_IDS_OF_ARRAYS: [&str; 3] = [
    "d9e308a6-4e39-8f91-ab68-b54e85340eff 65a2b96c42432bd6ebb191982a614536",
    "3e75ad92-ae44-8b01-9d96-a31e43824059 65a2b96c42432bd6ebb191982a614536",
    "e0bbccd9-e443-858f-a902-6845f53e45e7 65a2b96c42432bd6ebb191982a614536",
];

#[test]
fn an_array_is_one_element_of_the_identity() {
    let field = "[[field]]\nname = 'codes'\ntype = 'int32'\nrepeats = true\nprivacy = 'none'\n";
    let other = "[[field]]\nname = 'x'\ntype = 'int32'\nprivacy = 'none'\n";
    let spec = |head: &str, fields: &str| Spec::from_toml(&format!("name = 'x'\n{head}\n{fields}"), "test").unwrap();
    let id = |spec: &Spec, codes: &[i32]| {
        let items: Vec<Value> = codes.iter().map(|code| Value::Int32(*code)).collect();
        let values = vec![Value::Items(0..items.len() as u32), Value::Int32(1)];
        encode(spec, secret(), &Record { values, items, ..Record::default() }, None).0.id
    };
    let alone = spec("", field);
    let named = spec("[identity]\nfields = ['codes']", &format!("{field}{other}"));
    let excepted = spec("[identity]\nexcept = ['codes']", &format!("{field}{other}"));
    assert_eq!(
        id(&alone, &[1, 2]),
        id(&named, &[1, 2]),
        "a list that is the body and a list that is one element give the same id"
    );
    for other in [&[2, 1][..], &[1], &[], &[1, 2, 2]] {
        assert_ne!(id(&named, &[1, 2]), id(&named, other));
        assert_eq!(id(&excepted, &[1, 2]), id(&excepted, other));
    }
}

#[test]
fn differences_inside_arrays_are_named_by_item() {
    let check = |left: bson::Bson, right: bson::Bson, expected: &[&str]| {
        let (left, right) = (raw(doc! { "_id": 1, "n": left }), raw(doc! { "_id": 1, "n": right }));
        assert_eq!(fields_that_differ(&left, &right), expected);
        assert_eq!(same_fields(&left, &right), expected.is_empty());
        for name in expected {
            let found = [&left, &right].map(|document| {
                super::value_at(bson::RawDocument::from_bytes(document).expect("BSON"), name).is_some()
            });
            assert_ne!(found, [false, false], "{name}");
        }
    };
    let array = |items: &[i32]| Bson::from(items.to_vec());
    check(array(&[1, 2]), array(&[1, 2]), &[]);
    check(array(&[1, 2]), array(&[1, 3]), &["n[1]"]);
    check(array(&[1, 2]), array(&[2, 1]), &["n[0]", "n[1]"]);
    check(array(&[1, 2]), array(&[1]), &["n"]);
    check(array(&[]), Bson::Null, &["n"]);
    let rows = |family: &str, given: &[&str]| {
        Bson::Array(vec![doc! { "f": "x" }.into(), doc! { "f": family, "g": { "h": given.to_vec() } }.into()])
    };
    check(rows("a", &["b"]), rows("c", &["b"]), &["n[1].f"]);
    check(rows("a", &["b"]), rows("a", &["b", "c"]), &["n[1].g.h"]);
    check(rows("a", &["b", "d"]), rows("x", &["b", "c"]), &["n[1].f", "n[1].g.h[1]"]);
    let ordered = |document: bson::Document| Bson::Array(vec![document.into()]);
    check(ordered(doc! { "a": 1, "b": 2 }), ordered(doc! { "b": 2, "a": 1 }), &["n"]);
    check(ordered(doc! { "a": 1 }), ordered(doc! { "a": 1, "b": 2 }), &["n[0].b"]);
}

#[test]
fn dotted_fields_do_not_split_an_array() {
    let document = doc! { "_id": 1, "n": { "rows": [{ "x": 1 }] } };
    assert_eq!(dotted_fields(&raw(document)).as_bytes(), raw(doc! { "n.rows": [{ "x": 1 }] }));
}
