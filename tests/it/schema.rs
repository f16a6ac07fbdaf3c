//! Tests of the validator and the indexes on a real server.

use std::time::{Duration, Instant};

use bson::{Bson, DateTime, Document, doc};
use medlift::deployment::build_indexes;
use medlift::deployment::schema;
use medlift::deployment::schema::CollectionState;
use medlift::server::{Connection, Failure, Target};
use medlift::spec::{Index, Spec};
use testkit::mongod::Server;

use crate::connection::{block_on, connect, wishes};
use crate::program::medlift;
use crate::server::{fresh_database, shared};

pub(crate) fn admission() -> Document {
    doc! {
        "Name": "Canary Carter", "Age": 44, "Gender": "Female", "Blood Type": "A+", "Medical Condition": "Asthma",
        "Doctor": "Ann Lee", "Hospital": "Kim Inc", "Room Number": 101, "Insurance Provider": "Aetna",
        "Admission Type": "Urgent", "Medication": "Aspirin", "Test Results": "Normal", "Billing Amount": 12.5,
        "Date of Admission": DateTime::from_millis(0), "Discharge Date": DateTime::from_millis(259_200_000),
    }
}

async fn insert(target: &Target, document: Document) -> Result<(), Failure> {
    let documents = target.db().collection::<Document>(&target.collection);
    documents.insert_one(document).await.map(drop).map_err(|error| Failure::of(&error))
}

fn with(name: &str, value: impl Into<Bson>) -> Document {
    let mut document = admission();
    document.insert(name, value);
    document
}

#[test]
fn the_validator_accepts_what_the_spec_allows_and_refuses_the_rest() {
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        let spec = Spec::built_in();
        schema::attach(&target, &spec, |_| ()).await.expect("attaches");
        assert!(schema::read(&target).await.expect("reads").is_guarded_by(&spec));
        schema::attach(&target, &spec, |_| ()).await.expect("attaches again");
        for good in [admission(), with("Billing Amount", Bson::Null), with("_lineage", doc! { "row": 1_i64 })] {
            insert(&target, good).await.expect("conforms");
        }
        let mut without = admission();
        without.remove("Doctor");
        let bad = [
            without,
            with("Age", 131),
            with("Age", -1),
            with("Age", 44_i64),
            with("Age", Bson::Null),
            with("Blood Type", "a+"),
            with("Billing Amount", 3),
            with("Date of Admission", "2024-01-31"),
        ];
        for bad in bad {
            let failure = insert(&target, bad).await.expect_err("the document violates the validator");
            assert!(matches!(&failure, Failure::Other { code: Some(121), .. }), "{failure:?}");
            assert!(!failure.to_string().contains("Canary"), "{failure}");
        }
    });
}

#[test]
fn documents_stored_before_the_validator_that_violate_it_are_counted() {
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        for document in [admission(), with("Age", 131), with("Gender", "f"), admission()] {
            insert(&target, document).await.expect("no validator yet");
        }
        let spec = Spec::built_in();
        assert_eq!(schema::nonconforming(&target, &spec).await.expect("counts"), 2);
        // The sample is larger than the collection, so it contains all documents.
        assert_eq!(schema::nonconforming_in_sample(&target, &spec, 10).await.expect("counts"), 2);
        assert!(schema::nonconforming_in_sample(&target, &spec, 1).await.expect("counts") <= 1);
        schema::attach(&target, &spec, |_| ()).await.expect("attaches");
        build_indexes(&target, &spec, |_| ()).await.expect("builds");
        let state = schema::read(&target).await.expect("reads");
        assert!(!state.logs_documents());
        assert_eq!(state.indexes.len(), spec.indexes.len());
        assert!(state.missing_indexes(&spec).is_empty() && state.outdated_indexes(&spec).is_empty());
        build_indexes(&target, &spec, |_| ()).await.expect("builds nothing");
    });
}

#[test]
fn if_one_index_cannot_be_built_others_are_still_built() {
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        for document in [admission(), admission()] {
            insert(&target, document).await.expect("no unique index exists yet, so both documents must be stored");
        }
        let unique = "\n[[index]]\nname = \"one_doctor\"\nkeys = [\"Doctor\"]\nunique = true\n";
        let text = include_str!("../../specs/admissions.toml").to_owned() + unique;
        let spec = Spec::from_toml(&text, "test").expect("a spec");
        let begun = Instant::now();
        let error = build_indexes(&target, &spec, |_| ()).await.expect_err("two admissions have one doctor");
        // If the command were repeated, all attempts together would take 21 seconds.
        assert!(begun.elapsed() < Duration::from_secs(15), "a lasting failure must not be retried");
        assert!(error.to_string().contains("one_doctor") && !error.to_string().contains("Ann Lee"), "{error}");
        let state = schema::read(&target).await.expect("reads");
        // Three commands build the indexes. Only the command with the unique index fails.
        assert!(!state.indexes.is_empty() && !state.missing_indexes(&spec).is_empty());
    });
}

#[test]
fn a_validator_that_only_warns_or_is_off_is_found_and_corrected() {
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        let spec = Spec::built_in();
        schema::attach(&target, &spec, |_| ()).await.expect("attaches");
        let warn = doc! { "collMod": &target.collection, "validationAction": "warn" };
        target.db().run_command(warn).await.expect("warns");
        let state = schema::read(&target).await.expect("reads");
        assert!(state.logs_documents() && !state.is_guarded_by(&spec));
        schema::attach(&target, &spec, |_| ()).await.expect("attaches");
        assert!(!schema::read(&target).await.expect("reads").logs_documents());
        for level in ["moderate", "off"] {
            target
                .db()
                .run_command(doc! { "collMod": &target.collection, "validationLevel": level })
                .await
                .expect("set");
            let state = schema::read(&target).await.expect("reads");
            assert_eq!((state.validation_level.as_deref(), state.is_guarded_by(&spec)), (Some(level), false));
            schema::attach(&target, &spec, |_| ()).await.expect("attaches");
            assert!(schema::read(&target).await.expect("reads").is_guarded_by(&spec));
        }
    });
}

#[test]
fn a_load_into_a_collection_whose_validator_only_warns_is_refused() {
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        schema::attach(&target, &Spec::built_in(), |_| ()).await.expect("attaches");
        let warn = doc! { "collMod": &target.collection, "validationAction": "warn" };
        target.db().run_command(warn).await.expect("warns");
    });
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample.csv");
    let load = || medlift(["load", sample, "--uri", &server.uri()]).run();
    let refused = load().expect_code(1).stderr;
    assert!(refused.contains("the validator of hospital.admissions only warns"), "{refused}");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        assert_eq!(target.documents().count_documents(doc! {}).await.expect("counts"), 0);
        schema::attach(&target, &Spec::built_in(), |_| ()).await.expect("attaches");
    });
    load().expect_code(0);
}

/// Cleaning and the validator must accept the same values for `\d`, `\w`, `length` and fields with dotted names.
#[test]
fn patterns_lengths_and_nested_fields_mean_the_same_to_the_server() {
    let text = r#"
        name = "samples"
        collection = "samples"
        [identity]
        fields = "all"
        on_conflict = "keep-first"
        [[field]]
        name = "sample.code"
        type = "string"
        pattern = '\w+-\d{2}'
        length = [4, 6]
        privacy = "none"
        [[field]]
        name = "sample.note"
        type = "string"
        presence = "nullable"
        privacy = "none"
    "#;
    let spec = Spec::from_toml(text, "test").expect("a spec");
    let pattern = spec.fields[0].constraints.pattern.clone().expect("a pattern");
    let server = Server::builder().start().expect("starts");
    block_on(async {
        let target = connect(&wishes(&server.uri())).await.expect("connects");
        schema::attach(&target, &spec, |_| ()).await.expect("attaches");
        for code in ["ab-12", "é-12", "é-١٢", "a-12\n", "a-1", "abcd-12", "ééé-12", "-12", "x a-12"] {
            let allowed = pattern.is_match(code) && (4..=6).contains(&code.chars().count());
            let inserted = insert(&target, doc! { "sample": { "code": code, "note": null } }).await;
            assert_eq!(inserted.is_ok(), allowed, "{code:?}: {inserted:?}");
        }
        assert!(insert(&target, doc! { "sample": { "note": "no code" } }).await.is_err());
        assert!(insert(&target, doc! { "other": 1 }).await.is_err());
    });
}

#[test]
fn a_missing_collection_a_collection_and_a_view_have_different_states() {
    let database = fresh_database("listed");
    let wanted = |collection: &str| Connection {
        database: Some(database.clone()),
        collection: Some(collection.to_owned()),
        ..wishes(&shared().uri())
    };
    block_on(async {
        let data = connect(&wanted("data")).await.expect("connects");
        assert_eq!(schema::read(&data).await.expect("reads"), CollectionState::default());
        assert_eq!(schema::uuid(&data).await.expect("reads"), None);
        let index = doc! { "key": { "a": 1, "b": -1 }, "name": "ab", "unique": true };
        for command in [
            doc! { "create": "data", "validator": { "a": 1 }, "validationLevel": "moderate", "validationAction": "warn" },
            doc! { "createIndexes": "data", "indexes": [index] },
            doc! { "create": "seen", "viewOn": "data", "pipeline": [] },
        ] {
            data.db().run_command(command).await.expect("made");
        }
        let keys = vec![("a".to_owned(), 1), ("b".to_owned(), -1)];
        let expected = CollectionState {
            exists: true,
            validator: doc! { "a": 1 },
            validation_action: Some("warn".to_owned()),
            validation_level: Some("moderate".to_owned()),
            indexes: vec![Index { name: "ab".to_owned(), keys, unique: true }],
            ..CollectionState::default()
        };
        assert_eq!(schema::read(&data).await.expect("reads"), expected);
        let first = schema::uuid(&data).await.expect("reads");
        assert!(first.is_some() && schema::uuid(&data).await.expect("reads") == first);
        data.db().run_command(doc! { "drop": "data" }).await.expect("dropped");
        data.db().run_command(doc! { "create": "data" }).await.expect("made");
        assert_ne!(schema::uuid(&data).await.expect("reads"), first);
        let seen = connect(&wanted("seen")).await.expect("connects");
        let expected = CollectionState { exists: true, is_view: true, ..CollectionState::default() };
        assert_eq!(schema::read(&seen).await.expect("reads"), expected);
    });
}
