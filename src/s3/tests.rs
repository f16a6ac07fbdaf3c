//! Tests of writing objects, with moto, an S3 server for tests. If moto cannot be started, they print a notice and do
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use testkit::s3::{Fault, Moto, Proxy};

use super::*;

/// `patience` is the time for which failed requests are repeated.
fn prefix(bucket: &str, url: &str, patience: Duration) -> Prefix {
    let limits = Limits { patience, first_contact: patience / 5, stall_seconds: 10 };
    let settings = AmazonS3Builder::new().with_access_key_id("k").with_secret_access_key("s").with_endpoint(url);
    Prefix::of(Arc::new(Bucket::new(bucket, &settings, limits).expect("a client")), "r/")
}

fn server(bucket: &str) -> Option<&'static Moto> {
    let moto = Moto::shared()?;
    moto.create_bucket(bucket).expect("created");
    Some(moto)
}

#[test]
fn segments_are_joined_to_an_object_that_did_not_exist() {
    let Some(moto) = server("joined") else { return };
    let segment = |letter: char| format!("head\n{}\n", letter.to_string().repeat(9 << 20));
    let segments = Segments { names: ["1", "2", "3"].map(str::to_owned).to_vec(), header_bytes: 5 };
    let expected: String = [&segment('a'), &segment('b')[5..], &segment('c')[5..]].concat();
    let blake3 = blake3::hash(expected.as_bytes()).to_hex().to_string();
    // The first requests fail, and are repeated.
    let proxy = Proxy::start(moto, &[Fault::Busy, Fault::Busy]).expect("a proxy");
    let prefix = prefix("joined", &proxy.url(), Duration::from_secs(30));
    for (name, letter) in [("1", 'a'), ("2", 'b'), ("3", 'c')] {
        assert_eq!(prefix.create(name, "load", segment(letter).into_bytes()), Ok(true));
    }
    assert_eq!(proxy.faults_left(), 0);
    assert_eq!(prefix.create("1", "load", b"other".to_vec()), Ok(false), "an object is not replaced");
    let (bytes, hasher) = prefix.hash(segments.clone()).expect("read").expect("all segments");
    assert_eq!((bytes, hasher.finalize().to_hex().to_string()), (expected.len() as u64, blake3.clone()));

    assert_eq!(prefix.join(segments.clone(), "all", "mark", &blake3), Ok(true));
    assert!(moto.get("joined/r/all").expect("an object") == expected.as_bytes());
    let found = prefix.find("all").expect("found").expect("an object");
    assert_eq!((found.bytes, found.mark.as_deref()), (bytes, Some("mark")));
    assert_eq!(prefix.join(segments.clone(), "all", "other", &blake3), Ok(false), "an object is not replaced");
    assert_eq!(prefix.find("all").expect("found").and_then(|found| found.mark).as_deref(), Some("mark"));
    assert_eq!(prefix.join(segments.clone(), "wrong", "mark", "another hash"), Err(Problem::Replaced));
    assert_eq!(prefix.delete("2"), Ok(()));
    assert_eq!(prefix.join(segments.clone(), "wrong", "mark", &blake3), Err(Problem::Replaced));
    assert_eq!(prefix.find("wrong"), Ok(None));
    assert!(prefix.hash(segments).expect("read").is_none());
    assert_eq!(prefix.delete("2"), Ok(()), "an object that does not exist need not be deleted");
    assert_eq!(prefix.delete_all("a"), Ok(()));
    assert_eq!(moto.keys("joined").expect("listed"), ["r/1", "r/3"]);
}

#[test]
fn a_store_that_accepts_nothing_ends_the_load_with_code_6() {
    let Some(moto) = server("accepts-nothing") else { return };
    let proxy = Proxy::start(moto, &[Fault::Busy; 40]).expect("a proxy");
    let problem = prefix("accepts-nothing", &proxy.url(), Duration::from_millis(1500))
        .create("1", "load", b"x".to_vec())
        .unwrap_err();
    assert!(matches!(&problem, Problem::PassingAction { action: "s3:PutObject", .. }), "{problem}");
    assert_eq!(problem.exit_code(), 6);
}
