use std::fs;

use super::super::settle::tests::{load, plan_of};
use super::*;
use crate::report::summary::FileOfRejects;

const ROWS: &str = "Name;Age\nAnn;1\n";
const HEADER: &str = "reject_line;reject_byte_offset;reject_column;reject_rule;reject_message;Name;Age\n";

fn content(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap_or_else(|_| "absent".into())
}

/// Makes the ledger document of a load that wrote these reject files.
fn load_of(rejects: &Rejects<'_>) -> LoadDocument {
    let mut load = load();
    load.checkpoint.rejects = rejects.states();
    load
}

/// Resumes a load with these files. Returns `None` if it can be resumed, or the name of the file that is missing.
fn resumed(plan: &Plan, named: Option<&Path>, load: &LoadDocument) -> Result<Option<String>, Error> {
    match Rejects::open(plan, named)?.resume(load)? {
        Resumed::Yes => Ok(None),
        Resumed::Gone(name) => Ok(Some(name)),
    }
}

#[test]
fn each_source_has_its_file_with_one_header() {
    let (dir, plan) = plan_of(&[("a.csv", ROWS), ("b.csv", ROWS), ("c.csv", ROWS)]);
    let mut rejects = Rejects::open(&plan, None).unwrap();
    assert_eq!([0, 1, 2].map(|source| rejects.slots_of(source)), [0..1, 1..2, 2..3]);
    rejects.append(1, b"1\n").unwrap();
    rejects.append(1, b"2\n").unwrap();
    rejects.append(2, b"3\n").unwrap();
    rejects.close_before(2);
    assert!(matches!(rejects.slots[..], [Slot::Unused(_), Slot::Closed { .. }, Slot::Open(_)]));
    rejects.append(1, b"4\n").unwrap();
    rejects.close_before(2);
    assert_eq!(content(&dir, "b.csv.rejects.csv"), format!("{HEADER}1\n2\n4\n"));
    assert_eq!(content(&dir, "c.csv.rejects.csv"), format!("{HEADER}3\n"));
    let paths = ["b.csv.rejects.csv", "c.csv.rejects.csv"].map(|name| dir.path().join(name).display().to_string());
    let texts = |files: Vec<FileOfRejects>| files.into_iter().map(String::from).collect::<Vec<_>>();
    assert_eq!(rejects.files()[0].source, Some(dir.path().join("b.csv").display().to_string()));
    assert_eq!(texts(rejects.files()), paths);
    let states = rejects.states();
    let hash = |name: &str| blake3::hash(content(&dir, name).as_bytes()).to_hex().to_string();
    let expected = [(1, "b.csv.rejects.csv", 6), (2, "c.csv.rejects.csv", 2)].map(|(source, name, bytes)| {
        RejectsState::of_file(source, name.into(), HEADER.len() as u64 + bytes, hash(name))
    });
    assert_eq!(states, expected);
    let load = load_of(&rejects);
    drop(rejects);
    assert_eq!(content(&dir, "a.csv.rejects.csv"), "absent", "a reject file without rows must be removed");
    assert_eq!(texts(Rejects::open(&plan, None).unwrap().left_by(&load)), paths);
    fs::write(dir.path().join("b.csv.rejects.csv"), "x".repeat(HEADER.len() + 6)).unwrap();
    fs::write(dir.path().join("c.csv.rejects.csv"), format!("{HEADER}3\n4\n")).unwrap();
    let mut later = Rejects::open(&plan, None).unwrap();
    assert_eq!(later.left_by(&load), []);
    assert_eq!(later.notes.len(), 2, "{:?}", later.notes);
    for (note, path) in later.notes.iter().zip(&paths) {
        assert!(note.contains(path) && note.contains("does not have the rows that the load wrote"), "{note}");
    }
    drop(later);
    fs::remove_file(&paths[0]).unwrap();
    let mut later = Rejects::open(&plan, None).unwrap();
    later.left_by(&load);
    assert!(later.notes[0].contains(&paths[0]) && later.notes[0].contains("is not there"), "{:?}", later.notes);
}

#[test]
fn one_named_file_receives_the_rejects_of_all_sources_with_the_same_columns() {
    let (dir, plan) = plan_of(&[("a.csv", ROWS), ("b.csv", ROWS)]);
    let named = dir.path().join("all.csv");
    let mut rejects = Rejects::open(&plan, Some(&named)).unwrap();
    assert_eq!([0, 1].map(|source| rejects.slots_of(source)), [0..1, 0..1]);
    rejects.append(rejects.slots_of(1).start, b"1\n").unwrap();
    rejects.close_before(1);
    assert!(matches!(rejects.slots[..], [Slot::Open(_)]));
    assert_eq!(content(&dir, "all.csv"), format!("{HEADER}1\n"));
    let load = load_of(&rejects);
    drop(rejects);
    assert_eq!(resumed(&plan, Some(&named), &load).unwrap(), None);
    let other = dir.path().join("other.csv");
    fs::copy(&named, &other).unwrap();
    assert_eq!(
        resumed(&plan, Some(&other), &load).unwrap().as_deref(),
        Some("all.csv"),
        "a load with another --rejects must not be resumed"
    );

    let source = dir.path().join("b.csv");
    assert!(matches!(Rejects::open(&plan, Some(&source)), Err(Error::Usage(_))));
    let (_dir, plan) = plan_of(&[("a.csv", ROWS), ("b.csv", "Age;Name\n1;Ann\n")]);
    assert!(matches!(Rejects::open(&plan, Some(&named)), Err(Error::Stopped(_))));
}

/// Checks that a load writes its rejects to the file `expected`. Before the load, `a.csv.rejects.csv` has the content
/// `there`, and its extended attribute contains the load id `mark`. According to the ledger, an earlier load with the
/// same key wrote the content `left`.
#[track_caller]
fn check_name(there: &str, left: &str, mark: Option<&str>, expected: &str) {
    let (dir, plan) = plan_of(&[("a.csv", ROWS)]);
    let path = dir.path().join("a.csv.rejects.csv");
    fs::write(&path, there).unwrap();
    let mut is_marked = true;
    if let Some(mark) = mark {
        let file = RejectFile::open(&path).unwrap();
        file.mark(mark);
        is_marked = file.marked_by().is_some();
    }
    let mut rejects = Rejects::open(&plan, None).unwrap();
    let blake3 = blake3::hash(left.as_bytes()).to_hex().to_string();
    let state = RejectsState {
        source: 0,
        name: "a.csv.rejects.csv".into(),
        bytes: left.len() as u64,
        blake3,
        has_positions: false,
        segments: Vec::new(),
    };
    rejects.replaceable = vec![LeftFile { load: "ours".into(), state }];
    rejects.append(0, b"1\n").unwrap();
    if is_marked {
        assert_eq!(rejects.states()[0].name, expected, "{there:?}, {left:?}, {mark:?}");
        let is_left = expected != "a.csv.rejects.csv";
        assert_eq!(content(&dir, "a.csv.rejects.csv"), if is_left { there.to_owned() } else { format!("{HEADER}1\n") });
        assert_eq!(rejects.notes.len(), usize::from(is_left));
    }
}

/// Makes a load of two sources that has written one reject of each.
fn load_with_rejects() -> (tempfile::TempDir, Plan, LoadDocument) {
    let (dir, plan) = plan_of(&[("a.csv", ROWS), ("b.csv", ROWS)]);
    let mut rejects = Rejects::open(&plan, None).unwrap();
    rejects.append(0, b"1\n").unwrap();
    rejects.append(1, b"2\n").unwrap();
    let load = load_of(&rejects);
    drop(rejects);
    (dir, plan, load)
}

#[test]
fn a_repeated_load_names_the_file_of_the_first_source_too() {
    let (dir, plan, load) = load_with_rejects();
    let paths = ["a.csv.rejects.csv", "b.csv.rejects.csv"].map(|name| dir.path().join(name).display().to_string());
    let left = Rejects::open(&plan, None).unwrap().left_by(&load);
    assert_eq!(left.into_iter().map(|file| file.path).collect::<Vec<_>>(), paths);
}

#[test]
fn only_an_empty_file_or_one_of_a_load_with_the_same_key_is_overwritten() {
    check_name("", "old\n", None, "a.csv.rejects.csv");
    check_name("old\n", "old\n", None, "a.csv.rejects.csv");
    check_name("old\n", "old\n", Some("ours"), "a.csv.rejects.csv");
    check_name("old\n", "old\n", Some("theirs"), "a.csv.rejects.2.csv");
    check_name("new\n", "old\n", None, "a.csv.rejects.2.csv");
    check_name("old\nnew\n", "old\n", None, "a.csv.rejects.2.csv");
    check_name("ol", "old\n", None, "a.csv.rejects.2.csv");
    check_name("x\nnew\n", "old\n", Some("ours"), "a.csv.rejects.2.csv");
}

/// A killed process has written rows after its last checkpoint, and the load starts from the beginning.
#[test]
fn a_load_that_starts_again_uses_the_file_of_the_killed_process() {
    let blake3 = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let check = |there: &str, committed: &str, moved: &str| {
        let (dir, plan) = plan_of(&[("a.csv", ROWS)]);
        let path = dir.path().join("a.csv.rejects.csv");
        fs::write(&path, there).unwrap();
        let file = RejectFile::open(&path).unwrap();
        file.mark("killed");
        let is_marked = file.marked_by().is_some();
        drop(file);
        let mut rejects = Rejects::open(&plan, None).unwrap();
        let (name, bytes) = ("a.csv.rejects.csv".to_owned(), committed.len() as u64);
        let state = RejectsState {
            source: 0,
            name,
            bytes,
            blake3: blake3(committed),
            has_positions: false,
            segments: Vec::new(),
        };
        rejects.replaceable = vec![LeftFile { load: "killed".into(), state }];
        rejects.load = Some("again".into());
        rejects.append(0, b"1\n").unwrap();
        rejects.append(0, b"2\n").unwrap();
        rejects.finish().unwrap();
        if is_marked {
            assert_eq!(content(&dir, "a.csv.rejects.csv"), format!("{HEADER}1\n2\n"));
            assert_eq!(content(&dir, "a.csv.rejects.2.csv"), moved);
        }
    };
    check(&format!("{HEADER}1\n2\n"), &format!("{HEADER}1\n"), "absent");
    check(&format!("{HEADER}1\n"), "", "absent");
    check(&format!("{HEADER}1\n2\nby hand\n"), HEADER, "by hand\n");
    check("other rows\n", "", "other rows\n");
}

#[test]
fn no_empty_reject_file_of_medlift_stays_behind() {
    let check = |named: Option<&str>, existing: &str, mark: Option<&str>, recorded: Option<&str>, stays: bool| {
        let (dir, plan) = plan_of(&[("a.csv", ROWS)]);
        let named = named.map(|name| dir.path().join(name));
        let path = dir.path().join(existing);
        fs::write(&path, "").unwrap();
        let file = RejectFile::open(&path).unwrap();
        if let Some(mark) = mark {
            file.mark(mark);
        }
        let is_marked = file.marked_by().is_some();
        drop(file);
        let mut rejects = Rejects::open(&plan, named.as_deref()).unwrap();
        let state = |name: &str| RejectsState {
            source: 0,
            name: name.into(),
            bytes: 0,
            blake3: String::new(),
            has_positions: false,
            segments: Vec::new(),
        };
        rejects.replaceable =
            recorded.into_iter().map(|name| LeftFile { load: "killed".into(), state: state(name) }).collect();
        rejects.load = Some("again".into());
        rejects.check_named().unwrap();
        rejects.finish().unwrap();
        drop(rejects);
        if is_marked == mark.is_some() {
            assert_eq!(path.exists(), stays, "{named:?} {existing} {mark:?} {recorded:?}");
        }
    };
    let (first, second) = ("a.csv.rejects.csv", "a.csv.rejects.2.csv");
    check(None, first, Some("killed"), None, false);
    check(None, second, None, Some(second), false);
    check(None, first, None, None, true);
    check(Some("r"), "r", Some("killed"), None, false);
    check(Some("r"), "r", None, Some("r"), false);
    check(Some("r"), "r", None, Some(second), true);
    check(Some("r"), "r", None, None, true);
}

#[test]
fn a_repeated_load_says_only_what_is_true_about_another_file() {
    let (dir, plan, load) = load_with_rejects();
    let note = |named: &Path| {
        let mut later = Rejects::open(&plan, Some(named)).unwrap();
        assert_eq!(later.left_by(&load), []);
        later.notes.concat()
    };
    let other = dir.path().join("other.csv");
    for content in [None, Some(""), Some("rows of a person\n")] {
        if let Some(content) = content {
            fs::write(&other, content).unwrap();
        }
        let found = note(&other);
        assert!(found.contains("nothing was written to") && found.contains("name a.csv.rejects.csv"), "{found}");
        assert!(!found.contains("the load wrote;"), "{found}");
    }
    let directory = dir.path().join("elsewhere");
    fs::create_dir(&directory).unwrap();
    assert!(note(&directory).contains("is not there"));
    let path = directory.join("a.csv.rejects.csv");
    fs::write(&path, "rows of another load\n").unwrap();
    let file = RejectFile::open(&path).unwrap();
    file.mark("another");
    let is_marked = file.marked_by().is_some();
    drop(file);
    assert_eq!(note(&directory).contains("belongs to another load (another)"), is_marked);
}

#[test]
fn a_named_file_with_other_rows_stops_the_load_before_it_begins() {
    let (dir, plan) = plan_of(&[("a.csv", ROWS)]);
    let named = dir.path().join("all.csv");
    fs::write(&named, "by hand\n").unwrap();
    let mut rejects = Rejects::open(&plan, Some(&named)).unwrap();
    assert!(matches!(rejects.check_named(), Err(Error::RejectFile { .. })));
    assert!(matches!(rejects.append(0, b"1\n"), Err(Error::RejectFile { .. })));
    drop(rejects);
    assert_eq!(content(&dir, "all.csv"), "by hand\n");
}

#[test]
fn a_load_is_resumed_only_if_its_reject_files_are_unchanged() {
    let (dir, plan, load) = load_with_rejects();
    let path = dir.path().join("b.csv.rejects.csv");
    let whole = fs::read(&path).unwrap();
    assert_eq!(resumed(&plan, None, &load).unwrap(), None);
    for changed in [&whole[1..], b"x", &[&b"x"[..], &whole[1..]].concat()] {
        fs::write(&path, changed).unwrap();
        assert!(matches!(resumed(&plan, None, &load), Err(Error::RejectFile { .. })));
    }
    fs::write(&path, "").unwrap();
    assert_eq!(
        resumed(&plan, None, &load).unwrap().as_deref(),
        Some("b.csv.rejects.csv"),
        "an emptied file must be reported as missing"
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(
        resumed(&plan, None, &load).unwrap().as_deref(),
        Some("b.csv.rejects.csv"),
        "a deleted file must be reported as missing"
    );

    // Rows that the load did not write are moved when the load ends.
    fs::write(&path, [&whole[..], b"by hand\n"].concat()).unwrap();
    let mut rejects = Rejects::open(&plan, None).unwrap();
    assert!(matches!(rejects.resume(&load).unwrap(), Resumed::Yes));
    rejects.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(content(&dir, "b.csv.rejects.2.csv"), "by hand\n");
    assert_eq!(rejects.notes.len(), 1);
    drop(rejects);

    // A missing file is harmless if it had no rows. A file of another load is not continued.
    let mut without_rows = load.clone();
    without_rows.checkpoint.rejects[1].bytes = 0;
    fs::remove_file(&path).unwrap();
    assert_eq!(resumed(&plan, None, &without_rows).unwrap(), None);
    fs::write(&path, &whole).unwrap();
    let file = RejectFile::open(&path).unwrap();
    file.mark("another load");
    let is_marked = file.marked_by().is_some();
    drop(file);
    assert_eq!(resumed(&plan, None, &load).is_err(), is_marked);
    // If the user now names a directory, a file of another load in it is not an error. The load begins again.
    let resumed = resumed(&plan, Some(dir.path()), &load).unwrap();
    assert_eq!(resumed.as_deref(), is_marked.then_some("b.csv.rejects.csv"));
}

#[test]
fn only_a_few_reject_files_are_open_at_the_same_time() {
    let names: Vec<String> = (0..20).map(|number| format!("{number:02}.csv")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), ROWS)).collect();
    let (dir, plan) = plan_of(&files);
    let mut rejects = Rejects::open(&plan, None).unwrap();
    for row in ["1\n", "2\n"] {
        for slot in 0..20 {
            rejects.append(slot, row.as_bytes()).unwrap();
            let open = rejects.slots.iter().filter(|slot| matches!(slot, Slot::Open(_))).count();
            assert!(open <= OPEN_MAX, "{open} are open");
        }
    }
    for name in names {
        assert_eq!(content(&dir, &format!("{name}.rejects.csv")), format!("{HEADER}1\n2\n"));
    }
}
