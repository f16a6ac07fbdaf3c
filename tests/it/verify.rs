//! Tests of the comparison in `medlift verify` with a real mongod: equal documents, the smallest differences of each
//! type, and cursors that the server ends.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocumentBuf, doc};
use medlift::clean::{Record, Value};
use medlift::encode::{Encoded, Encoder, Id, IdentityKey, Lineage, Stored};
use medlift::spec::{
    Constraints, Field, FieldType, Identity, NumberFormat, OnConflict, Presence, Privacy, Shape, SourceFormat, Spec,
};
use medlift::verify::{
    Difference, Expectation, Expected, Kind, Options, Range, RowOfSource, Scan, Verification, compare, name_fields,
};
use mongodb::{Client, Collection};
use testkit::mongod::Server;

use crate::server::server_with_fail_points;

/// One server for all tests of this file. Each test has its own collection.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(server_with_fail_points)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let bounded = async { tokio::time::timeout(Duration::from_mins(2), test).await.expect("done in time") };
    runtime.block_on(bounded)
}

async fn client() -> Client {
    Client::with_uri_str(server().uri()).await.expect("connected")
}

async fn collection(name: &str) -> Collection<RawDocumentBuf> {
    let collection = client().await.database("verify").collection(name);
    collection.drop().await.expect("dropped");
    collection
}

/// Returns a spec with one field for each type that the tests compare.
fn spec() -> Spec {
    let field = |name: &str, kind: FieldType| Field {
        name: name.into(),
        column: name.into(),
        aliases: Vec::new(),
        kind,
        presence: Presence::Nullable,
        repeats: false,
        clean: Vec::new(),
        null_markers: Vec::new(),
        constraints: Constraints::default(),
        privacy: Privacy::None,
    };
    let fields = vec![
        field("Name", FieldType::String),
        field("stay.Room", FieldType::Int32(NumberFormat::default())),
        field("stay.Bill", FieldType::Double(NumberFormat::default())),
        field("At", FieldType::Datetime),
    ];
    Spec {
        text: String::new(),
        name: "visits".into(),
        collection: "visits".into(),
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

/// Creates a record for this row number. The identity is only the name. If a test changes another field, the `_id`
/// stays the same.
fn record(row: u64) -> Record {
    let mut record = Record::default();
    record.push_text(&format!("Patient {row}"));
    record.values.extend([Value::Int32(row as i32), Value::Double(0.0), Value::Datetime(1_700_000_000_000)]);
    record
}

fn encode(record: &Record, lineage: Option<Lineage>) -> (Encoded, Vec<u8>) {
    let mut out = Vec::new();
    let encoded = Encoder::new(&spec(), key()).encode(record, lineage, &mut out).expect("small enough");
    (encoded, out)
}

fn key() -> IdentityKey {
    IdentityKey::from_secret("a deployment's secret")
}

/// Returns the records of a source with this many rows, each with its document.
fn source(rows: u64) -> Vec<(Encoded, Vec<u8>)> {
    (1..=rows).map(|row| encode(&record(row), None)).collect()
}

fn expected(source: &[(Encoded, Vec<u8>)]) -> Expected {
    // With a memory limit of 0, sources of more than about 1,000 records are sorted on disk.
    let mut expectation = Expectation::new(0);
    for (index, (encoded, _)) in source.iter().enumerate() {
        expectation.push(encoded.id, encoded.digest, 0, index as u64 + 1).expect("room for a temporary file");
    }
    expectation.settle(OnConflict::KeepFirst).expect("room for a temporary file")
}

fn uuid(id: Id) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() })
}

fn raw(document: &[u8]) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(document.to_vec()).expect("valid BSON")
}

async fn store(collection: &Collection<RawDocumentBuf>, source: &[(Encoded, Vec<u8>)]) {
    for batch in source.chunks(10_000) {
        collection.insert_many(batch.iter().map(|(_, document)| raw(document))).await.expect("stored");
    }
}

/// Compares the collection with the source, and adds the names of differing fields to the result.
async fn verify(
    collection: &Collection<RawDocumentBuf>,
    source: &[(Encoded, Vec<u8>)],
    show_values: bool,
) -> Verification {
    let scan = Scan::new(collection);
    let options = Options { show_values, ..Options::new(key()) };
    let mut found = compare(&scan, &expected(source), &options).await.expect("compared");
    let mut wanted = found.wanted();
    for (encoded, document) in source {
        wanted.offer(encoded, document);
    }
    assert!(wanted.is_complete());
    name_fields(&scan, &mut found, &wanted, show_values).await.expect("named");
    assert_eq!(
        found.expected,
        found.equal + found.different + found.missing,
        "every expected document must be equal, different or missing"
    );
    assert_eq!(
        found.found,
        found.equal + found.different + found.extra,
        "every stored document must be equal, different or extra"
    );
    found
}

fn names(difference: &Difference) -> Vec<&str> {
    difference.fields.iter().map(|field| field.name.as_str()).collect()
}

#[test]
fn equal_documents_have_no_differences_with_and_without_lineage() {
    run(async {
        let collection = collection("clean").await;
        let source = source(2500);
        store(&collection, &source[..2000]).await;
        for row in 2001..=2500 {
            let (_, document) = encode(&record(row), Some(Lineage { run: [9; 16], row }));
            collection.insert_one(raw(&document)).await.expect("stored");
        }
        let found = verify(&collection, &source, false).await;
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.expected, found.found, found.equal), (2500, 2500, 2500));
        assert_eq!(found.source_digest, found.collection_digest);
        assert_ne!(found.source_digest, Verification::default().source_digest);
    });
}

#[test]
fn in_an_empty_or_absent_collection_all_documents_are_missing() {
    run(async {
        let absent = collection("absent").await;
        let found = verify(&absent, &source(3), false).await;
        assert_eq!((found.missing, found.found, found.is_clean()), (3, 0, false));
        let empty = collection("empty").await;
        empty.insert_one(RawDocumentBuf::new()).await.expect("stored");
        empty.delete_many(doc! {}).await.expect("deleted");
        assert!(verify(&empty, &[], false).await.is_clean());
        assert_eq!(verify(&empty, &source(3), false).await.missing, 3);
    });
}

/// Stores three documents, changes a field of one of them, and checks that this difference and no other is reported.
/// `field` is the name of the field, and `shown` its expected and its stored value.
async fn check_told_apart(name: &str, change: Document, field: &str, shown: (&str, &str)) {
    let collection = collection(name).await;
    let source = source(3);
    store(&collection, &source).await;
    let id = uuid(source[1].0.id);
    let updated = collection.update_one(doc! { "_id": id }, doc! { "$set": change }).await.expect("updated");
    assert_eq!(updated.matched_count, 1);
    let found = verify(&collection, &source, true).await;
    assert_eq!((found.equal, found.different, found.missing, found.extra), (2, 1, 0, 0), "{name}");
    let [difference] = found.listed.as_slice() else { panic!("one difference: {found:?}") };
    assert_eq!((difference.kind, difference.id.as_str()), (Kind::Different, source[1].0.id.to_string().as_str()));
    assert_eq!(difference.rows, [RowOfSource { source: 0, row: 2 }]);
    assert_eq!(names(difference), [field], "{name}");
    let field = &difference.fields[0];
    assert_eq!((field.expected.as_deref(), field.stored.as_deref()), (Some(shown.0), Some(shown.1)), "{name}");
    let quiet = serde_json::to_string(&verify(&collection, &source, false).await).expect("serializable");
    assert!(quiet.contains(&difference.id) && !quiet.contains("$number") && !quiet.contains("Patient"), "{quiet}");
    assert_ne!(found.source_digest, found.collection_digest);
}

#[test]
fn the_smallest_differences_of_numbers_and_dates_are_found() {
    run(async {
        let room = r#"{"$numberInt":"2"}"#;
        let zero = r#"{"$numberDouble":"0.0"}"#;
        let at = r#"{"$date":{"$numberLong":"1700000000000"}}"#;
        check_told_apart("long", doc! { "stay.Room": 2_i64 }, "stay.Room", (room, r#"{"$numberLong":"2"}"#)).await;
        check_told_apart("double", doc! { "stay.Room": 2.0 }, "stay.Room", (room, r#"{"$numberDouble":"2.0"}"#)).await;
        check_told_apart("zero", doc! { "stay.Bill": -0.0 }, "stay.Bill", (zero, r#"{"$numberDouble":"-0.0"}"#)).await;
        let ulp = doc! { "stay.Bill": f64::from_bits(1) };
        check_told_apart("ulp", ulp, "stay.Bill", (zero, r#"{"$numberDouble":"5e-324"}"#)).await;
        let later = doc! { "At": bson::DateTime::from_millis(1_700_000_000_001) };
        check_told_apart("ms", later, "At", (at, r#"{"$date":{"$numberLong":"1700000000001"}}"#)).await;
    });
}

#[test]
fn a_removed_an_added_and_a_moved_field_are_named() {
    run(async {
        let collection = collection("shape").await;
        let source = source(3);
        store(&collection, &source).await;
        let update = async |row: usize, change: Document| {
            collection.update_one(doc! { "_id": uuid(source[row].0.id) }, change).await.expect("updated");
        };
        update(0, doc! { "$unset": { "At": 1 } }).await;
        update(1, doc! { "$set": { "stay.Note": "x" } }).await;
        let mut moved = bson::deserialize_from_slice::<Document>(&source[2].1).expect("valid");
        let at = moved.remove("At").expect("there");
        let (id, name) = (moved.remove("_id").expect("there"), moved.remove("Name").expect("there"));
        let stay = moved.remove("stay").expect("there");
        let moved = doc! { "_id": id, "At": at, "Name": name, "stay": stay };
        let moved = RawDocumentBuf::try_from(moved).expect("valid");
        collection.replace_one(doc! { "_id": uuid(source[2].0.id) }, moved).await.expect("replaced");
        let found = verify(&collection, &source, false).await;
        let named = |row: usize| {
            let id = source[row].0.id.to_string();
            found.listed.iter().find(|difference| difference.id == id).map(names).expect("listed")
        };
        assert_eq!((named(0), named(1), named(2)), (vec!["At"], vec!["stay.Note"], vec!["order of fields"]));
    });
}

#[test]
fn documents_with_other_types_of_ids_are_extra_and_their_ids_are_not_shown() {
    run(async {
        let collection = collection("foreign").await;
        let source = source(50);
        store(&collection, &source).await;
        let object_id = ObjectId::new();
        let foreign: Vec<Bson> = vec![
            Bson::MinKey,
            Bson::Int32(7),
            Bson::String("Bobby Jackson".into()),
            Bson::Document(doc! { "a": 1 }),
            Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![255; 16] }),
            Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 15] }),
            Bson::Binary(Binary { subtype: BinarySubtype::Md5, bytes: vec![0; 16] }),
            Bson::Binary(Binary { subtype: BinarySubtype::UserDefined(200), bytes: vec![0; 40] }),
            Bson::ObjectId(object_id),
            Bson::Boolean(true),
            Bson::DateTime(bson::DateTime::from_millis(0)),
            Bson::MaxKey,
        ];
        for id in &foreign {
            let document = RawDocumentBuf::try_from(doc! { "_id": id, "Name": "x" }).expect("valid");
            collection.insert_one(document).await.expect("stored");
        }
        let all = |byte: u8| uuid(Id([byte; 16]));
        for id in [all(0), all(255)] {
            let document = RawDocumentBuf::try_from(doc! { "_id": id }).expect("valid");
            collection.insert_one(document).await.expect("stored");
        }
        let found = verify(&collection, &source, false).await;
        let foreign = foreign.len() as u64;
        assert_eq!((found.equal, found.extra, found.foreign), (50, foreign + 2, foreign), "{found:?}");
        assert_eq!((found.found, found.missing, found.different), (50 + foreign + 2, 0, 0));
        let listed: Vec<&str> = found.listed.iter().map(|difference| difference.id.as_str()).collect();
        assert_eq!(listed.len() as u64, foreign + 2);
        assert!(listed.contains(&format!("ObjectId('{object_id}')").as_str()), "{listed:?}");
        assert!(!listed.join(" ").contains("Bobby"), "{listed:?}");
        let shown = verify(&collection, &source, true).await;
        assert!(shown.listed.iter().any(|difference| difference.id == "\"Bobby Jackson\""), "{shown:?}");
    });
}

#[test]
fn counts_stay_exact_if_the_list_of_differences_is_cut_off() {
    run(async {
        let collection = collection("capped").await;
        let source = source(600);
        store(&collection, &source[..400]).await;
        let scan = Scan::new(&collection);
        let options = Options { differences_max: 5, ..Options::new(key()) };
        let found = compare(&scan, &expected(&source[200..]), &options).await.expect("compared");
        assert_eq!((found.equal, found.missing, found.extra), (200, 200, 200));
        let listed = |kind: Kind| found.listed.iter().filter(|difference| difference.kind == kind).count();
        assert_eq!((listed(Kind::Missing), listed(Kind::Extra), found.listed.len()), (5, 5, 10));
        assert_eq!((found.records, found.expected), (400, 400));
        // The list contains the first differences in `_id` order, although ranges of `_id`s are compared in parallel.
        let mut missing: Vec<String> = source[400..].iter().map(|(encoded, _)| encoded.id.to_string()).collect();
        missing.sort();
        let first = found.listed.iter().filter(|difference| difference.kind == Kind::Missing);
        assert!(first.map(|difference| &difference.id).eq(&missing[..5]), "{:?}", found.listed);
        let all = compare(&scan, &expected(&source[200..]), &Options { differences_max: 400, ..options }).await;
        let ids: Vec<String> = all.expect("compared").listed.into_iter().map(|difference| difference.id).collect();
        assert!(ids.len() == 400 && ids.is_sorted(), "{ids:?}");
    });
}

#[test]
fn duplicates_and_conflicts_in_the_source_are_resolved_before_the_comparison() {
    run(async {
        let collection = collection("settled").await;
        let mut other = record(1);
        other.values[1] = Value::Int32(99);
        let source: Vec<_> =
            [record(1), record(2), record(2), other].iter().map(|record| encode(record, None)).collect();
        store(&collection, &source[..2]).await;
        let found = verify(&collection, &source, false).await;
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.records, found.expected, found.duplicates, found.conflicts), (4, 2, 1, 1));
    });
}

/// During the scan, the server ends cursors and connections. The scan must still read each of 20,000 documents exactly
/// once. All failures are in one test, because a fail point applies to the whole server.
#[test]
fn a_scan_continues_after_its_cursor_or_connection_ended() {
    let server = server_with_fail_points();
    run(async {
        let client = Client::with_uri_str(server.uri()).await.expect("connected");
        let collection: Collection<RawDocumentBuf> = client.database("verify").collection("resumed");
        let source = source(20_000);
        store(&collection, &source).await;
        let mut ids: Vec<_> = source.iter().map(|(encoded, _)| encoded.id).collect();
        ids.sort();
        let failures = [
            ("getMore", doc! { "errorCode": 43 }, true),
            ("getMore", doc! { "closeConnection": true }, true),
            ("getMore", doc! { "errorCode": 11602 }, true),
            ("getMore", doc! { "errorCode": 237 }, true),
            ("find", doc! { "errorCode": 11601 }, true),
            ("getMore, find", doc! { "errorCode": 43 }, true),
            ("getMore", doc! { "errorCode": 13 }, false),
        ];
        for (command, mut failure, survives) in failures {
            failure.insert("failCommands", command.split(", ").collect::<Vec<_>>());
            let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 2 }, "data": failure.clone() };
            client.database("admin").run_command(point).await.expect("a fail point");
            let mut scan = Scan::new(&collection).range(Range::default());
            let mut seen = Vec::new();
            let ended = loop {
                match scan.next_batch().await {
                    Ok(Some(batch)) => seen.extend(batch.documents().map(|d| Stored::parse(d).expect("ours").id)),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error.to_string()),
                }
            };
            assert_eq!(ended.is_ok(), survives, "{failure}: {ended:?}");
            assert!(!survives || seen == ids, "{failure}: {} of {}", seen.len(), ids.len());
        }
        let whole = verify(&collection, &source, false).await;
        assert!(whole.is_clean(), "{whole:?}");
    });
}

/// A resumed scan queries from the last `_id` that it read, and skips the document with this `_id`. If somebody deleted
/// that document in the meantime, the scan must not skip the next document instead.
#[test]
fn a_resumed_scan_reads_the_document_after_one_that_was_deleted() {
    let server = server_with_fail_points();
    run(async {
        let client = Client::with_uri_str(server.uri()).await.expect("connected");
        let collection: Collection<RawDocumentBuf> = client.database("verify").collection("deleted");
        let source = source(10_000);
        store(&collection, &source).await;
        let mut ids: Vec<_> = source.iter().map(|(encoded, _)| encoded.id).collect();
        ids.sort();
        let mut scan = Scan::new(&collection).range(Range::default());
        let mut seen = Vec::new();
        let mut is_first = true;
        while let Some(batch) = scan.next_batch().await.expect("readable") {
            seen.extend(batch.documents().map(|document| Stored::parse(document).expect("ours").id));
            if std::mem::take(&mut is_first) {
                let last = seen.last().copied().expect("a batch is never empty");
                collection.delete_one(doc! { "_id": uuid(last) }).await.expect("deleted");
                let data = doc! { "failCommands": ["getMore"], "errorCode": 43 };
                let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
                client.database("admin").run_command(point).await.expect("a fail point");
            }
        }
        assert!(seen == ids, "{} of {}", seen.len(), ids.len());
    });
}
