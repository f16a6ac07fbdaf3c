//! Tests of objects in moto, an S3 server for tests. If moto cannot be started, they print a notice and do nothing.

use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use testkit::s3::{Fault, Moto, PAGE_KEYS, Proxy};

use super::*;
use crate::s3::Limits;

const LIMITS: Limits =
    Limits { patience: Duration::from_millis(1500), first_contact: Duration::from_millis(300), stall_seconds: 1 };

/// Makes a bucket and returns the server. Returns `None` if there is no server.
fn server(bucket: &str) -> Option<&'static Moto> {
    let moto = Moto::shared()?;
    moto.create_bucket(bucket).expect("created");
    Some(moto)
}

fn open(bucket: &str, url: &str) -> Arc<Bucket> {
    let settings = AmazonS3Builder::new().with_access_key_id("k").with_secret_access_key("s").with_endpoint(url);
    Arc::new(Bucket::new(bucket, &settings, LIMITS).expect("a client"))
}

fn pinned(bucket: &Arc<Bucket>, key: &str) -> Result<ObjectOrigin, Problem> {
    let (bucket, key) = (Arc::clone(bucket), path(key)?);
    wait_for(async move { examine(bucket, key, &Pin::default()).await }).expect("a runtime")
}

/// Returns the same object with another client, so that its bytes are read from another server.
fn through(object: &ObjectOrigin, bucket: Arc<Bucket>) -> ObjectOrigin {
    let Content { name, key, pin, .. } = &*object.content;
    let content = Content { name: name.clone(), bucket, key: key.clone(), pin: pin.clone() };
    ObjectOrigin { content: Arc::new(content), size_bytes: object.size_bytes }
}

fn read(object: &ObjectOrigin, offset: u64, length: Option<u64>) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let read = object.open_at(offset, length)?.read_to_end(&mut bytes);
    read.map_err(|error| ReadError::from_io("x", 0, error)).map(|_| bytes)
}

fn problem<T: std::fmt::Debug>(result: Result<T, ReadError>) -> Problem {
    match result.expect_err("an error") {
        ReadError::Object { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn ranges_are_read_in_order_and_continued_where_they_were_cut() {
    let Some(moto) = server("ranges") else { return };
    let bytes: Vec<u8> =
        (0..(36_u32 << 20) + 123).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    moto.put("ranges/a.csv", &bytes).expect("stored");
    let object = pinned(&open("ranges", &moto.url()), "a.csv").expect("pinned");
    assert_eq!((object.name(), object.size_bytes()), ("s3://ranges/a.csv", bytes.len() as u64));
    let faults = [Fault::Cut(3_000_000), Fault::Busy, Fault::Stall(100_000), Fault::Cut(0), Fault::Cut(9_000_000)];
    let proxy = Proxy::start(moto, &faults).expect("a proxy");
    let disturbed = through(&object, open("ranges", &proxy.url()));
    assert!(read(&disturbed, 0, None).expect("read") == bytes, "the bytes must be those of the object");
    assert_eq!(proxy.faults_left(), 0);
    let end = bytes.len() as u64;
    for (offset, length) in
        [(5, Some(100)), (17 << 20, Some(1 << 20)), (end - 7, None), (end - 7, Some(9)), (end, None)]
    {
        let expected = &bytes[offset as usize..length.map_or(end, |length| end.min(offset + length)) as usize];
        assert!(read(&object, offset, length).expect("read") == expected, "{offset} {length:?}");
    }
}

#[test]
fn a_store_that_fails_for_too_long_ends_the_load_with_code_6() {
    let Some(moto) = server("busy") else { return };
    moto.put("busy/a.csv", b"a,b\n1,2\n").expect("stored");
    let object = pinned(&open("busy", &moto.url()), "a.csv").expect("pinned");
    let proxy = Proxy::start(moto, &[Fault::Busy; 40]).expect("a proxy");
    let busy = open("busy", &proxy.url());
    for problem in [problem(read(&through(&object, Arc::clone(&busy)), 3, None)), pinned(&busy, "a.csv").unwrap_err()] {
        let Problem::Passing { cause, .. } = &problem else { panic!("{problem}") };
        assert_eq!((cause.as_str(), problem.exit_code()), ("SlowDown", 6));
    }
    let absent = pinned(&open("busy", "http://127.0.0.1:1"), "a.csv").unwrap_err();
    assert!(matches!(&absent, Problem::Unreachable { cause, .. } if cause.contains("refused")), "{absent}");
    assert_eq!(absent.exit_code(), 3);
    let gone = problem(read(&through(&object, open("busy", "http://127.0.0.1:1")), 0, None));
    assert!(matches!(gone, Problem::Passing { offset: 0, .. }), "{gone}");
}

#[test]
fn an_object_is_pinned_until_it_is_replaced() {
    let Some(moto) = server("pinned") else { return };
    moto.put("pinned/a.csv", b"old").expect("stored");
    let bucket = open("pinned", &moto.url());
    let object = pinned(&bucket, "a.csv").expect("pinned");
    assert!(matches!(object.version(), Version::Object { version_id: None, .. }), "{:?}", object.version());
    moto.put("pinned/a.csv", b"new").expect("stored");
    assert_eq!(problem(read(&object, 0, None)), Problem::Replaced);
    moto.delete("pinned/a.csv").expect("deleted");
    assert_eq!(problem(read(&object, 0, None)), Problem::Replaced);
    assert_eq!(pinned(&bucket, "a.csv").unwrap_err(), Problem::NoObject);

    moto.enable_versions("pinned").expect("enabled");
    moto.put("pinned/a.csv", b"first").expect("stored");
    let first = pinned(&bucket, "a.csv").expect("pinned");
    moto.put("pinned/a.csv", b"second").expect("stored");
    assert_eq!(read(&first, 0, None).expect("the old version is still stored"), b"first");
    let second = pinned(&bucket, "a.csv").expect("pinned");
    assert!(matches!(second.version(), Version::Object { version_id: Some(_), .. }), "{:?}", second.version());
    assert_ne!(first.version(), second.version());
}

#[test]
fn a_pattern_is_compared_with_all_pages_of_the_list() {
    let Some(moto) = server("many") else { return };
    for number in 0..2 * PAGE_KEYS {
        moto.put(&format!("many/2026/{number:04}.txt"), b"x").expect("stored");
    }
    for name in ["2026/b.csv", "2026/a.csv", "2026/a.csv.rejects.csv", "2026/01/c.csv", "2025/d.csv", "2026/01/"] {
        moto.put(&format!("many/{name}"), if name.ends_with('/') { b"" } else { b"x" }).expect("stored");
    }
    let bucket = open("many", &moto.url());
    let keys = |pattern: &str| {
        let address = Address { bucket: "many", key: pattern };
        let (prefix, is_nested) = (address.prefix().to_owned(), address.is_nested());
        let (bucket, pattern) = (Arc::clone(&bucket), glob::Pattern::new(pattern).expect("a pattern"));
        let found = wait_for(async move { matches(bucket, prefix, is_nested, pattern).await }).expect("a runtime");
        found.map(|found| found.iter().map(|object| object.content.key.to_string()).collect::<Vec<_>>())
    };
    let check = |pattern: &str, expected: &[&str]| assert_eq!(keys(pattern).expect(pattern), expected, "{pattern}");
    check("2026/*.csv", &["2026/a.csv", "2026/b.csv"]);
    check("2026/a*.rejects.csv", &["2026/a.csv.rejects.csv"]);
    check("2026/**/*.csv", &["2026/01/c.csv", "2026/a.csv", "2026/b.csv"]);
    check("202[56]/[ad].csv", &["2025/d.csv", "2026/a.csv"]);
    check("2026/00[01]9.txt", &["2026/0009.txt", "2026/0019.txt"]);
    let none = Problem::NoMatch { prefix: "2026/".to_owned(), listed: 2 * PAGE_KEYS + 3 };
    assert_eq!(keys("2026/*.parquet").unwrap_err(), none);
}
