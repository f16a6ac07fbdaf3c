//! Tests of origins: arguments, versions and changes.

use std::fs::{self, File};
use std::io;

use super::expand::STDIN;
use super::*;

fn names(directory: &Path, args: &[&str]) -> Result<Vec<String>, String> {
    let args: Vec<String> = args
        .iter()
        .map(|arg| if *arg == STDIN { (*arg).to_owned() } else { directory.join(arg).display().to_string() })
        .collect();
    let prefix = format!("{}/", directory.display());
    match expand(&args) {
        Ok(sources) => Ok(sources.into_iter().map(|source| source.name().replace(&prefix, "")).collect()),
        Err(error) => Err(error.to_string().replace(&prefix, "")),
    }
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.csv", "a.csv", "c.txt", "odd[1].csv", "odd1.csv", "a.csv.rejects.csv", "a.csv.rejects.2.csv"] {
        fs::write(directory.path().join(name), "x\n").unwrap();
    }
    fs::write(directory.path().join("nothing.dat"), "").unwrap();
    fs::create_dir(directory.path().join("sub.csv")).unwrap();
    directory
}

#[test]
fn arguments_become_sources() {
    let directory = directory();
    let check = |args: &[&str], expected: &[&str]| assert_eq!(names(directory.path(), args).unwrap(), expected);
    check(&["c.txt", "a.csv"], &["c.txt", "a.csv"]);
    check(&["?.csv"], &["a.csv", "b.csv"]);
    check(&["[ab].csv*"], &["a.csv", "b.csv"]);
    check(&["*.rejects.csv"], &["a.csv.rejects.csv"]);
    check(&["*.rejects.*csv"], &["a.csv.rejects.2.csv", "a.csv.rejects.csv"]);
    check(&["a.csv.rejects.csv"], &["a.csv.rejects.csv"]);
    check(&["odd[1].csv"], &["odd[1].csv"]);
    check(&["odd[0-9].csv"], &["odd1.csv"]);
    check(&["-", "a.csv"], &["standard input", "a.csv"]);
}

#[test]
fn sources_that_cannot_be_read_are_refused_by_name() {
    let directory = directory();
    let check = |args: &[&str], expected: &str| {
        let error = names(directory.path(), args).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check(&[], "no source was given");
    check(&["d.csv"], "`d.csv`: there is no such file");
    check(&["z*.csv"], "`z*.csv`: no file matches");
    check(&["sub*"], "`sub*`: no file matches");
    check(&["a[.csv"], "not a valid glob pattern");
    check(&["sub.csv"], "`sub.csv`: it is a directory");
    check(&["nothing.dat"], "`nothing.dat`: it is empty");
    check(&["-", "-"], "`standard input` is given twice");
    check(&["a.csv", "?.csv"], "`a.csv` is given twice");
}

#[test]
fn one_file_under_two_paths_is_given_twice() {
    let directory = directory();
    let place = directory.path();
    fs::hard_link(place.join("a.csv"), place.join("hard.csv")).unwrap();
    std::os::unix::fs::symlink(place.join("a.csv"), place.join("soft.csv")).unwrap();
    for (args, twice) in [
        (["a.csv", "hard.csv"], "hard.csv"),
        (["soft.csv", "a.csv"], "a.csv"),
        (["a.csv", "./a.csv"], "./a.csv"),
        (["a.csv", "sub.csv/../a.csv"], "sub.csv/../a.csv"),
        (["hard.csv", "s*.csv"], "soft.csv"),
    ] {
        let error = names(place, &args).unwrap_err();
        assert!(error.contains(&format!("`{twice}` is the same file as `{}`", args[0])), "{error}");
    }
}

#[test]
fn an_archive_is_checked_to_its_end() {
    let directory = directory();
    let text = b"a,b\n1,2\n".repeat(100_000);
    let whole = zstd::encode_all(text.as_slice(), 1).unwrap();
    let check = |bytes: &[u8]| {
        let path = directory.path().join("a.zst");
        fs::write(&path, bytes).unwrap();
        file(&path).unwrap().read_to_end()
    };
    check(&whole).unwrap();
    check(&text).unwrap();
    let error = check(&whole[..whole.len() - 3]).unwrap_err();
    assert!(matches!(error, ReadError::Truncated { .. }), "{error}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gzip, &text).unwrap();
    let mut gzip = gzip.finish().unwrap();
    let checksum = gzip.len() - 8;
    gzip[checksum] ^= 1;
    let error = check(&gzip).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
}

#[test]
fn the_hash_is_that_of_the_files_bytes() {
    let directory = directory();
    let path = directory.path().join("large");
    let bytes: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let source = file(&path).unwrap();
    assert_eq!(source.size_bytes(), Some(600_000));
    assert_eq!(source.version().unwrap(), Version::Blake3(blake3::hash(&bytes).to_hex().to_string()));
    assert_eq!(Origin::Stdin(StdinOrigin::new()).version().unwrap(), Version::ReadOnce);
}

#[test]
fn a_file_has_changed_if_its_size_or_its_time_has() {
    let directory = directory();
    let path = directory.path().join("a.csv");
    let source = file(&path).unwrap();
    let set_time = |time| File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "longer\n").unwrap();
    set_time(time);
    assert!(matches!(source.check_unchanged(), Err(ReadError::Changed { .. })), "another size must be a change");
    fs::write(&path, "y\n").unwrap();
    set_time(time + std::time::Duration::from_secs(5));
    assert!(matches!(source.check_unchanged(), Err(ReadError::Changed { .. })), "another time must be a change");
    set_time(time);
    source.check_unchanged().unwrap();
}

#[test]
fn only_a_file_has_a_size_and_can_be_read_again() {
    let directory = directory();
    let regular = file(&directory.path().join("a.csv")).unwrap();
    assert_eq!((regular.size_bytes(), regular.is_read_once()), (Some(2), false));
    let device = file(Path::new("/dev/null")).unwrap();
    assert_eq!(
        (device.size_bytes(), device.is_read_once(), device.version().unwrap()),
        (None, true, Version::ReadOnce)
    );
    device.check_unchanged().unwrap();
    assert!(Origin::Stdin(StdinOrigin::new()).is_read_once());
}

#[test]
fn a_file_is_read_from_a_byte_on() {
    let directory = directory();
    let path = directory.path().join("a.csv");
    fs::write(&path, "0123456789").unwrap();
    let check = |offset, length, expected: &str| {
        let mut text = String::new();
        file(&path).unwrap().open_at(offset, length).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    };
    check(0, None, "0123456789");
    check(7, None, "789");
    check(2, Some(3), "234");
    check(8, Some(9), "89");
    check(10, None, "");
}

fn file(path: &Path) -> Result<Origin, ReadError> {
    FileOrigin::new(path).map(Origin::File)
}

#[test]
fn rejects_go_beside_the_file_or_into_the_working_directory() {
    let directory = directory();
    let path = directory.path().join("a.csv");
    assert_eq!(file(&path).unwrap().rejects_base(), path);
    assert_eq!(Origin::Stdin(StdinOrigin::new()).rejects_base(), Path::new("stdin"));
}
