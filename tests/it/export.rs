//! Tests of `medlift export` with a real mongod: the content of the file, and what happens to documents that do not fit
//! the spec.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use medlift::export::{ExportError, ExportFormat, ExportOptions, Exported, export, open};
use medlift::parse::DateFormat;
use medlift::spec::{
    Constraints, Field, FieldType, Identity, NumberFormat, OnConflict, Presence, Privacy, Shape, SourceFormat, Spec,
};
use medlift::verify::Scan;
use mongodb::{Client, Collection};
use testkit::mongod::Server;

const CSV: ExportFormat = ExportFormat::Csv { delimiter: b',' };

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::builder().start().expect("a mongod"))
}

fn spec() -> Spec {
    let field = |name: &str, column: &str, kind: FieldType, presence: Presence| Field {
        name: name.into(),
        column: column.into(),
        aliases: Vec::new(),
        kind,
        presence,
        repeats: false,
        clean: Vec::new(),
        null_markers: Vec::new(),
        constraints: Constraints::default(),
        privacy: Privacy::None,
    };
    let comma = NumberFormat { decimal_comma: true, ..NumberFormat::default() };
    let fields = vec![
        field("Name", "Patient, name", FieldType::String, Presence::Required),
        field("stay.Room", "Room", FieldType::Int32(NumberFormat::default()), Presence::Nullable),
        field("stay.Bill", "Bill", FieldType::Double(comma), Presence::Nullable),
        field("Day", "Day", FieldType::Date, Presence::Nullable),
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

fn options(format: ExportFormat) -> ExportOptions {
    ExportOptions { format, dates: Vec::new(), limit: None, skip_foreign: false }
}

fn fitting() -> [Document; 3] {
    let day = DateTime::from_millis(1_706_659_200_000);
    [
        doc! { "_id": 1, "Name": "Ann \"A\" Lee", "stay": { "Room": 7, "Bill": 0.1 + 0.2 }, "Day": day },
        doc! { "_id": 2, "Name": "Bo\nKim", "stay": { "Room": null, "Bill": -0.0 }, "Day": null,
        "_medlift": { "row": 2_i64 } },
        doc! { "_id": 3, "Name": "Cy", "stay": { "Room": 1, "Bill": null }, "Day": DateTime::from_millis(-86_400_000) },
    ]
}

/// Stores these documents in the collection `name` and exports it to `path`. Returns the result and the file's text.
fn exported(
    name: &str,
    documents: &[Document],
    options: &ExportOptions,
    path: &Path,
) -> Result<(Exported, String), ExportError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let work = async {
        let client = Client::with_uri_str(server().uri()).await.expect("connected");
        let collection: Collection<RawDocumentBuf> = client.database("export").collection(name);
        collection.drop().await.expect("dropped");
        let raw = documents.iter().map(|document| RawDocumentBuf::try_from(document.clone()).expect("valid"));
        collection.insert_many(raw).await.expect("stored");
        export(&[(Scan::new(&collection), spec())], options, open(path)?).await
    };
    let exported =
        runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), work).await.expect("done in time") })?;
    Ok((exported, fs::read_to_string(path).expect("written")))
}

#[test]
fn a_csv_has_the_columns_of_the_source_and_values_that_can_be_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("visits.csv");
    let (found, text) = exported("csv", &fitting(), &options(CSV), &path).expect("exported");
    assert_eq!(
        text,
        "\"Patient, name\",Room,Bill,Day\n\"Ann \"\"A\"\" Lee\",7,\"0,30000000000000004\",2024-01-31\n\
         \"Bo\nKim\",,-0,\nCy,1,,1969-12-31\n"
    );
    assert_eq!(found, Exported { written: 3, ..Exported::default() });
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let german = ExportOptions {
        dates: vec![None, None, None, Some(DateFormat::DayMonthYear(b'.'))],
        limit: Some(1),
        ..options(ExportFormat::Csv { delimiter: b';' })
    };
    let (found, text) = exported("german", &fitting(), &german, &path).expect("exported");
    // The name with a comma is quoted, although `;` is the delimiter. Otherwise a reader could take the comma for the
    // delimiter.
    assert_eq!(text, "\"Patient, name\";Room;Bill;Day\n\"Ann \"\"A\"\" Lee\";7;0,30000000000000004;31.01.2024\n");
    assert_eq!(found.written, 1);
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "no temporary file must remain");
}

#[test]
fn ndjson_has_relaxed_extended_json_and_contains_documents_that_do_not_fit_the_spec() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("visits.ndjson");
    let mut documents = fitting().to_vec();
    documents.push(doc! { "_id": "Dee", "Name": 5_i64 });
    let (found, text) = exported("ndjson", &documents, &options(ExportFormat::Ndjson), &path).expect("exported");
    let lines = [
        r#"{"Name":"Ann \"A\" Lee","stay":{"Room":7,"Bill":0.30000000000000004},"Day":{"$date":"2024-01-31T00:00:00Z"}}"#,
        r#"{"Name":"Bo\nKim","stay":{"Room":null,"Bill":-0.0},"Day":null}"#,
        r#"{"Name":"Cy","stay":{"Room":1,"Bill":null},"Day":{"$date":{"$numberLong":"-86400000"}}}"#,
        r#"{"_id":"Dee","Name":5}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    assert_eq!((found.written, found.foreign.count), (4, 1));
    assert_eq!(found.foreign.examples, ["an _id of another program: Name: its BSON type is not that of the spec"]);
    let skip = ExportOptions { skip_foreign: true, ..options(ExportFormat::Ndjson) };
    let (found, text) = exported("ndjson_skip", &documents, &skip, &path).expect("exported");
    assert_eq!((found.written, found.foreign.count, text.lines().count()), (3, 1, 3));
}

#[test]
fn a_csv_export_with_documents_that_do_not_fit_fails_and_keeps_the_old_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("visits.csv");
    fs::write(&path, "old").expect("written");
    let mut documents = fitting().to_vec();
    documents.extend((0..7).map(|id| doc! { "_id": format!("Bobby {id}"), "Name": "Bobby", "other": "Jackson" }));
    let error = exported("refused", &documents, &options(CSV), &path).expect_err("refused").to_string();
    assert!(
        error.contains("7 documents") && error.contains("stay.Room: the document does not have this field"),
        "{error}"
    );
    assert!(!error.contains("Bobby") && !error.contains("Jackson"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("there"), "old");
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1);
    let skip = ExportOptions { skip_foreign: true, ..options(CSV) };
    let (found, text) = exported("skipped", &documents, &skip, &path).expect("exported");
    assert_eq!((found.written, found.foreign.count, found.foreign.examples.len()), (3, 7, 5));
    assert!(!text.contains("Bobby"));
}

#[test]
fn a_link_is_followed_a_device_is_written_to_and_a_missing_directory_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let (target, link) = (directory.path().join("target.csv"), directory.path().join("link.csv"));
    fs::write(&target, "old").expect("written");
    symlink(&target, &link).expect("linked");
    exported("link", &fitting(), &options(CSV), &link).expect("exported");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(fs::read_to_string(&target).expect("there").starts_with("\"Patient, name\""));
    let (found, text) = exported("device", &fitting(), &options(CSV), Path::new("/dev/null")).expect("exported");
    assert_eq!((found.written, text.as_str()), (3, ""));
    let error = exported("nowhere", &fitting(), &options(CSV), Path::new("/nonexistent/x.csv")).expect_err("refused");
    assert!(error.to_string().starts_with("cannot write the export to /nonexistent/x.csv: "), "{error}");
}

#[test]
fn an_export_of_several_replies_has_every_document_once_and_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("visits.csv");
    let document = |id: i32| doc! { "_id": id, "Name": "x", "stay": { "Room": id, "Bill": Bson::Null }, "Day": null };
    let documents: Vec<_> = (0..20_500).rev().map(document).collect();
    let (found, text) = exported("many", &documents, &options(CSV), &path).expect("exported");
    assert_eq!(found.written, 20_500);
    assert!(text.lines().skip(1).map(str::to_owned).eq((0..20_500).map(|room| format!("x,{room},,"))));
    let limited = ExportOptions { limit: Some(9000), ..options(CSV) };
    assert_eq!(exported("limited", &documents, &limited, &path).expect("exported").1.lines().count(), 9001);
}
