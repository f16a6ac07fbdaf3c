use std::fs;
use std::slice::from_ref;
use std::sync::Arc;

use bson::Uuid;

use super::*;
use crate::encode::IdentityKey;
use crate::ledger::{Exceptions, Options, Reading, TargetState};
use crate::pipeline::plan::Wishes;
use crate::pipeline::stages::Bench;
use crate::read::Block;
use crate::reject::Reason;
use crate::spec::{Dataset, OnConflict, Spec};
use crate::write::machine::Doubts;
use crate::write::{Chunk, KindChunk, Losers, Mode, Policy};

const SPEC: &str = "name = 'a'\ncollection = 'a'\n[identity]\nfields = ['Name']\n\
                    [[field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'Age'\ntype = 'int32'\nprivacy = 'none'\n";

/// Writes files to a new directory. Returns the directory, and a plan with the files as sources.
pub(in crate::pipeline) fn plan_of(files: &[(&str, &str)]) -> (tempfile::TempDir, Plan) {
    let dir = tempfile::tempdir().unwrap();
    let write = |(name, content): &(&str, &str)| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let wishes = Wishes { sources: files.iter().map(write).collect(), ..Wishes::default() };
    let plan = Plan::new(Spec::from_toml(SPEC, "a test").unwrap(), IdentityKey::default(), &wishes).unwrap();
    (dir, plan)
}

/// Makes the ledger document of a load that has committed nothing.
pub(in crate::pipeline) fn load() -> LoadDocument {
    let options =
        Options { mode: String::new(), identity_key: String::new(), lineage: false, reading: Reading::default() };
    let spec = Spec::from_toml(SPEC, "a test").unwrap();
    LoadDocument {
        id: Uuid::from_bytes([7; 16]),
        fence: 1,
        ..LoadDocument::new(vec![TargetState::new("")], &spec, Vec::new(), options)
    }
}

/// Makes two sources with different orders of columns. In the first source, cleaning rejects the row of Bob. The second
/// source has a blank line, so its line numbers differ from its row numbers.
fn two_sources() -> (tempfile::TempDir, Plan) {
    plan_of(&[("a.csv", "Name;Age\nAnn;1\nBob;x\nCia;3\n"), ("b.csv", "Age;Name\n4;Dot\n\n5;Eve\n")])
}

/// Makes one complete chunk of all rows. `outcome` returns the outcome of the record with a given `Name`.
fn settle_all(plan: &Plan, outcome: impl Fn(&str) -> Outcome) -> Settled {
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::Reject, empty_at_start: false, is_resumed: false };
    let mut blocks = Vec::new();
    for source in 0..plan.sources.len() {
        let mut reader = plan.open(source).unwrap();
        while let Some(mut block) = reader.next_block(Block::default()).unwrap() {
            block.sequence = blocks.len() as u64;
            blocks.push(Bench::new(plan, source, None).encode(&block, vec![Vec::new()]));
        }
    }
    let chunk = Arc::new(Chunk::new(blocks, &[policy], false).into_kinds().remove(0));
    let outcomes = chunk.entries.iter().map(|entry| outcome(&name_of(&chunk, entry))).collect();
    Settled { chunk, outcomes, losers: Losers::default(), exceptions: Exceptions::default(), doubts: Doubts::default() }
}

fn name_of(chunk: &KindChunk, entry: &Entry) -> String {
    let document = bson::RawDocument::from_bytes(chunk.document(entry)).unwrap();
    document.get_str("Name").unwrap().to_owned()
}

fn entry_of(settled: &Settled, name: &str) -> Entry {
    *settled.chunk.entries.iter().find(|entry| name_of(&settled.chunk, entry) == name).unwrap()
}

#[test]
fn each_reject_is_in_its_sources_file_with_its_line_and_cells() {
    let (dir, plan) = two_sources();
    let mut account = Account::open(&plan, None).unwrap();
    let refused = Outcome::Refused(Refusal::Conflict);
    let mut settled = settle_all(&plan, |name| if name == "Eve" { refused } else { Outcome::Written });
    settled.losers.refused.push((entry_of(&settled, "Cia"), Refusal::Sibling));
    assert!(account.prepare(from_ref(&settled)).unwrap(), "`prepare` must report that the files are new");
    assert!(!account.prepare(from_ref(&settled)).unwrap());
    let after = account.settle(from_ref(&settled), &load()).unwrap();

    let lines = |name: &str| -> Vec<String> {
        fs::read_to_string(dir.path().join(name)).unwrap().lines().map(str::to_owned).collect()
    };
    let [of_a, of_b] = ["a.csv.rejects.csv", "b.csv.rejects.csv"].map(lines);
    let starts = |lines: &[String], expected: &[&str]| {
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{lines:?}");
    };
    starts(&of_a, &["reject_line;", "3;15;Age;", "4;21;;refused_by_server;"]);
    starts(&of_b, &["reject_line;", "4;16;;conflict;"]);
    assert!(of_a[0].ends_with(";Name;Age") && of_a[1].ends_with(";Bob;x") && of_a[2].ends_with(";Cia;3"), "{of_a:?}");
    assert!(of_b[0].ends_with(";Age;Name") && of_b[1].ends_with(";5;Eve"), "{of_b:?}");

    let counts =
        Counts { read: 5, written: 3, rejected: 3, refused_by_server: 1, refused_for_conflict: 1, ..Counts::default() };
    assert_eq!(after.counts, counts);
    let files: Vec<_> = after.checkpoint.rejects.iter().map(|state| (state.source, state.name.as_str())).collect();
    assert_eq!(files, [(0, "a.csv.rejects.csv"), (1, "b.csv.rejects.csv")]);
    assert_eq!((after.checkpoint.blocks, after.exceptions), (2, 0));
}

#[test]
fn a_file_is_prepared_for_every_kind_of_reject() {
    let (_dir, plan) = plan_of(&[("a.csv", "Name,Age\nAnn,1\n"), ("b.csv", "Name,Age\nBob,2\n")]);
    let mut settled = settle_all(&plan, |_| Outcome::Written);
    assert!(
        !Account::open(&plan, None).unwrap().prepare(from_ref(&settled)).unwrap(),
        "without rejects, no file must be prepared"
    );
    settled.losers.refused.push((entry_of(&settled, "Bob"), Refusal::Conflict));
    assert!(Account::open(&plan, None).unwrap().prepare(from_ref(&settled)).unwrap());
    let refused = settle_all(&plan, |name| match name {
        "Bob" => Outcome::Refused(Refusal::Validation),
        _ => Outcome::Written,
    });
    let mut account = Account::open(&plan, None).unwrap();
    assert!(account.prepare(from_ref(&refused)).unwrap());
    assert_eq!(account.rejects.states()[0].source, 1);
}

/// Commits one record with this outcome. Checks the counts, and whether the sum of digests contains the record's
/// digest.
#[track_caller]
fn check_outcome(outcome: Outcome, counts: Counts, in_sum: bool) {
    let (_dir, plan) = plan_of(&[("a.csv", "Name,Age\nAnn,1\n")]);
    let mut account = Account::open(&plan, None).unwrap();
    let settled = settle_all(&plan, |_| outcome);
    account.prepare(from_ref(&settled)).unwrap();
    let after = account.settle(from_ref(&settled), &load()).unwrap();
    assert_eq!(after.counts, Counts { read: 1, ..counts }, "{outcome:?}");
    let sum = if in_sum { entry_of(&settled, "Ann").digest } else { Digest::default() };
    let expected = if outcome == Outcome::ReplacedOwn { String::new() } else { sum.to_string() };
    assert_eq!(after.digest, expected, "{outcome:?}");
}

#[test]
fn every_outcome_has_its_count_and_its_part_in_the_digest() {
    let none = Counts::default();
    check_outcome(Outcome::Written, Counts { written: 1, ..none }, true);
    check_outcome(Outcome::Replaced, Counts { written: 1, replaced: 1, ..none }, true);
    check_outcome(Outcome::Present, Counts { already_present: 1, ..none }, true);
    check_outcome(Outcome::Duplicate, Counts { duplicates: 1, ..none }, false);
    check_outcome(Outcome::Conflict, Counts { conflicts: 1, ..none }, false);
    check_outcome(Outcome::ReplacedOwn, Counts { conflicts: 1, ..none }, false);
    let by_server = Counts { rejected: 1, refused_by_server: 1, ..none };
    check_outcome(Outcome::Refused(Refusal::Validation), by_server, false);
    check_outcome(Outcome::Refused(Refusal::UniqueIndex), by_server, false);
    let for_conflict = Counts { rejected: 1, refused_for_conflict: 1, ..none };
    check_outcome(Outcome::Refused(Refusal::Conflict), for_conflict, false);
    check_outcome(Outcome::Pending, none, false);
}

#[test]
fn chunks_are_added_and_after_a_replacement_the_digest_stays_unknown() {
    let (_dir, plan) = plan_of(&[("a.csv", "Name,Age\nAnn,1\nBob,2\n")]);
    let mut account = Account::open(&plan, None).unwrap();
    let mut settled = settle_all(&plan, |_| Outcome::Written);
    settled.doubts = Doubts { stored: 1, repeats: 2 };
    (settled.losers.duplicates, settled.losers.conflicts) = (3, 4);
    let once = account.settle(from_ref(&settled), &load()).unwrap();
    let counts = Counts {
        read: 2,
        written: 2,
        duplicates: 3,
        conflicts: 4,
        in_doubt: 1,
        repeats_in_doubt: 2,
        ..Counts::default()
    };
    assert_eq!(once.counts, counts);
    let mut sum = Digest::default();
    settled.chunk.entries.iter().for_each(|entry| sum.add(entry.digest));
    assert_eq!(once.digest, sum.to_string());
    let twice = account.settle(from_ref(&settled), &once).unwrap();
    assert_eq!((twice.counts.written, twice.counts.in_doubt, twice.counts.repeats_in_doubt), (4, 2, 4));
    settled.chunk.entries.iter().for_each(|entry| sum.add(entry.digest));
    assert_eq!(twice.digest, sum.to_string());

    // Another process resumes the load.
    let mut resumed = Account::open(&plan, None).unwrap();
    assert!(matches!(resumed.resume(&once).unwrap(), Resumed::Yes));
    assert_eq!(resumed.settle(from_ref(&settled), &once).unwrap().digest, twice.digest);
    let replaced = settle_all(&plan, |name| if name == "Ann" { Outcome::ReplacedOwn } else { Outcome::Written });
    let replaced = resumed.settle(from_ref(&replaced), &twice).unwrap();
    assert_eq!(replaced.digest, "");
    assert_eq!(resumed.settle(from_ref(&settled), &replaced).unwrap().digest, "");
    let mut again = Account::open(&plan, None).unwrap();
    assert!(matches!(again.resume(&replaced).unwrap(), Resumed::Yes));
    assert_eq!(
        again.settle(from_ref(&settled), &replaced).unwrap().digest,
        "",
        "the digest must stay unknown after a resume"
    );
}

#[test]
fn refused_rows_are_counted_by_their_reason() {
    let (_dir, plan) = two_sources();
    let mut account = Account::open(&plan, None).unwrap();
    let settled = settle_all(&plan, |name| match name {
        "Dot" => Outcome::Refused(Refusal::Validation),
        "Eve" => Outcome::Refused(Refusal::Conflict),
        _ => Outcome::Written,
    });
    account.settle(from_ref(&settled), &load()).unwrap();
    let mut listed: Vec<_> =
        account.refused.list(&plan.spec).into_iter().map(|count| (count.what, count.count)).collect();
    listed.sort();
    let expected = [Reason::Conflict, Reason::FailedValidation].map(|reason| (reason.code().to_owned(), 1));
    assert_eq!(listed, expected);
}

/// Two kinds of documents from the rows of one table.
const TWO_KINDS: &str = "name = 'x'\n\
    [[document]]\nname = 'a'\n[[document.field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
    [[document]]\nname = 'b'\n[[document.field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
    [[document.field]]\nname = 'Age'\ntype = 'int32'\nprivacy = 'none'\n";

#[test]
fn a_row_has_one_reject_line_even_if_several_of_its_documents_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    fs::write(&path, "Name,Age\nAnn,1\nBob,x\nCia,3\nDot,4\n").unwrap();
    let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
    let dataset = Dataset::from_toml(TWO_KINDS, "a test").unwrap();
    let plan = Plan::new(dataset, IdentityKey::default(), &wishes).unwrap();
    let block = plan.open(0).unwrap().next_block(Block::default()).unwrap().unwrap();
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::Reject, empty_at_start: false, is_resumed: false };
    let kinds = || {
        let block = Bench::new(&plan, 0, None).encode(&block, vec![Vec::new(), Vec::new()]);
        let fields: Vec<Option<usize>> = block.rejects.iter().map(|row| row.reject.field).collect();
        assert_eq!(fields, [Some(2)], "a field's index must count the fields of all kinds");
        Chunk::new(vec![block], &[policy, policy], false).into_kinds()
    };
    let settled = |refused: [&[&str]; 2]| -> Vec<Settled> {
        let settle = |(chunk, refused): (KindChunk, &[&str])| {
            let chunk = Arc::new(chunk);
            let is_refused = |entry| refused.contains(&name_of(&chunk, entry).as_str());
            let outcome =
                |entry| if is_refused(entry) { Outcome::Refused(Refusal::Validation) } else { Outcome::Written };
            let outcomes = chunk.entries.iter().map(outcome).collect();
            let (losers, exceptions, doubts) = (Losers::default(), Exceptions::default(), Doubts::default());
            Settled { chunk, outcomes, losers, exceptions, doubts }
        };
        kinds().into_iter().zip(refused).map(settle).collect()
    };
    let begin = LoadDocument { further: vec![TargetState::new("b")], ..load() };
    let check = |refused: [&[&str]; 2], rows: &[&str], rejected: [u64; 2]| {
        let mut account = Account::open(&plan, None).unwrap();
        let settled = settled(refused);
        assert!(account.prepare(&settled).unwrap(), "{refused:?}");
        let after = account.settle(&settled, &begin).unwrap();
        account.rejects.finish().unwrap();
        let text = fs::read_to_string(dir.path().join("a.csv.rejects.csv")).unwrap();
        let found: Vec<&str> = text.lines().skip(1).map(|line| &line[line.rfind(',').unwrap() - 3..]).collect();
        assert_eq!(found, rows, "{refused:?}");
        let counts: Vec<(u64, u64)> =
            after.targets().iter().map(|state| (state.counts.read, state.counts.rejected)).collect();
        assert_eq!(counts, rejected.map(|rejected| (4, rejected)), "{refused:?}");
        assert!(after.targets().iter().all(|state| state.counts.are_conserved()));
        fs::remove_file(dir.path().join("a.csv.rejects.csv")).unwrap();
    };
    check([&[], &[]], &["Bob,x"], [1, 1]);
    check([&[], &["Cia"]], &["Bob,x", "Cia,3"], [1, 2]);
    check([&["Cia"], &["Cia", "Dot"]], &["Bob,x", "Cia,3", "Dot,4"], [2, 3]);
}

#[test]
fn a_reject_file_is_prepared_for_refusals_of_any_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    fs::write(&path, "Name,Age\nAnn,1\n").unwrap();
    let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
    let plan = Plan::new(Dataset::from_toml(TWO_KINDS, "a test").unwrap(), IdentityKey::default(), &wishes).unwrap();
    let block = plan.open(0).unwrap().next_block(Block::default()).unwrap().unwrap();
    let block = Bench::new(&plan, 0, None).encode(&block, vec![Vec::new(), Vec::new()]);
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::Reject, empty_at_start: false, is_resumed: false };
    let settle = |(chunk, outcome): (KindChunk, Outcome)| {
        let (losers, exceptions, doubts) = (Losers::default(), Exceptions::default(), Doubts::default());
        Settled { chunk: Arc::new(chunk), outcomes: vec![outcome], losers, exceptions, doubts }
    };
    let kinds = Chunk::new(vec![block], &[policy, policy], false).into_kinds();
    let outcomes = [Outcome::Written, Outcome::Refused(Refusal::Validation)];
    let settled: Vec<Settled> = kinds.into_iter().zip(outcomes).map(settle).collect();
    assert!(Account::open(&plan, None).unwrap().prepare(&settled).unwrap());
}

#[test]
fn a_row_whose_second_document_is_too_large_leaves_none_of_the_first_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let spec = TWO_KINDS.replace("'Age'\ntype = 'int32'", "'Note'\ntype = 'string'");
    let encode = |rows: &str| {
        fs::write(&path, format!("Name,Note\n{rows}")).unwrap();
        let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
        let plan = Plan::new(Dataset::from_toml(&spec, "a test").unwrap(), IdentityKey::default(), &wishes).unwrap();
        let (mut reader, mut bench) = (plan.open(0).unwrap(), Bench::new(&plan, 0, None));
        let (mut ids, mut rejects) = (vec![Vec::new(), Vec::new()], 0);
        while let Some(block) = reader.next_block(Block::default()).unwrap() {
            let encoded = bench.encode(&block, vec![Vec::new(), Vec::new()]);
            rejects += encoded.rejects.len();
            for (ids, kind) in ids.iter_mut().zip(&encoded.kinds) {
                ids.extend(kind.entries.iter().map(|entry| (entry.id, kind.document(entry).to_vec())));
            }
        }
        (ids, rejects)
    };
    let large = "x".repeat(16 << 20);
    let (found, rejects) = encode(&format!("Ann,1\nBob,{large}\nCia,3\n"));
    assert_eq!(rejects, 1);
    assert!(found == encode("Ann,1\nCia,3\n").0);
}

/// Two kinds that read the column `Code` by different rules, and the column `Name` by the same rules.
const TWO_READINGS: &str = "name = 'x'\n\
    [[document]]\nname = 'a'\n[[document.field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
    [[document.field]]\nname = 'Code'\ntype = 'string'\nclean = ['lower_case']\nnull_markers = ['-']\n\
    presence = 'nullable'\nprivacy = 'none'\n\
    [[document]]\nname = 'b'\n[[document.field]]\nname = 'Name'\ntype = 'string'\nprivacy = 'none'\n\
    [[document.field]]\nname = 'Code'\ntype = 'string'\nclean = ['upper_case']\nprivacy = 'none'\n";

#[test]
fn a_reject_has_the_original_cell_if_the_kinds_read_it_by_different_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    fs::write(&path, "Name,Code\n,x\n Ann ,aB\nBob,-\n").unwrap();
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::Reject, empty_at_start: false, is_resumed: false };
    let plan_of = |path: &Path| {
        let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
        Plan::new(Dataset::from_toml(TWO_READINGS, "a test").unwrap(), IdentityKey::default(), &wishes).unwrap()
    };
    let kinds_of = |plan: &Plan| {
        let block = plan.open(0).unwrap().next_block(Block::default()).unwrap().unwrap();
        let block = Bench::new(plan, 0, None).encode(&block, vec![Vec::new(), Vec::new()]);
        Chunk::new(vec![block], &[policy, policy], false).into_kinds()
    };
    let documents = |kinds: &[KindChunk]| -> Vec<Vec<u8>> {
        kinds.iter().flat_map(|kind| kind.entries.iter().map(|entry| kind.document(entry).to_vec())).collect()
    };
    let plan = plan_of(&path);
    let kinds = kinds_of(&plan);
    let expected = documents(&kinds);
    let settle = |chunk: KindChunk| {
        let outcomes = vec![Outcome::Refused(Refusal::Validation); chunk.entries.len()];
        let (losers, exceptions, doubts) = (Losers::default(), Exceptions::default(), Doubts::default());
        Settled { chunk: Arc::new(chunk), outcomes, losers, exceptions, doubts }
    };
    let settled: Vec<Settled> = kinds.into_iter().map(settle).collect();
    let mut account = Account::open(&plan, None).unwrap();
    assert!(account.prepare(&settled).unwrap());
    account.settle(&settled, &LoadDocument { further: vec![TargetState::new("b")], ..load() }).unwrap();
    account.rejects.finish().unwrap();
    let rejects = dir.path().join("a.csv.rejects.csv");
    let text = fs::read_to_string(&rejects).unwrap();
    assert!(text.contains(",Ann,aB\n") && text.contains(",Bob,-\n"), "{text}");
    let corrected = dir.path().join("corrected.csv");
    fs::write(&corrected, text.lines().filter(|line| !line.ends_with(",x")).collect::<Vec<_>>().join("\n")).unwrap();
    assert!(documents(&kinds_of(&plan_of(&corrected))) == expected, "the reject file must give the same documents");
}
