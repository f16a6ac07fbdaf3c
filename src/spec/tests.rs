use super::*;

/// The seed's document structure, in its order.
const SEED: [(&str, &str); 15] = [
    ("Name", "string"),
    ("Age", "int32"),
    ("Gender", "enum"),
    ("Blood Type", "enum"),
    ("Medical Condition", "string"),
    ("Doctor", "string"),
    ("Hospital", "string"),
    ("Room Number", "int32"),
    ("Insurance Provider", "string"),
    ("Admission Type", "enum"),
    ("Medication", "string"),
    ("Test Results", "enum"),
    ("Billing Amount", "double"),
    ("Date of Admission", "date"),
    ("Discharge Date", "date"),
];

#[test]
fn built_in_spec_is_the_seeds_document() {
    let spec = Spec::built_in();
    let fields: Vec<(&str, &str)> = spec.fields.iter().map(|field| (&*field.name, field.kind.name())).collect();
    assert_eq!(fields, SEED);
    let nullable: Vec<&str> =
        spec.fields.iter().filter(|field| field.presence != Presence::Required).map(|field| &*field.name).collect();
    assert_eq!(nullable, ["Billing Amount"]);
    assert_eq!(spec.identity.fields, (0..15).collect::<Vec<_>>());
    assert_eq!((spec.collection.as_str(), spec.plausibility.len(), spec.indexes.len()), ("admissions", 1, 3));
    assert_eq!(spec.indexes[1].keys, [("Medical Condition".to_owned(), 1), ("Date of Admission".to_owned(), -1)]);
    assert_eq!(spec.hash.len(), 64);
}
