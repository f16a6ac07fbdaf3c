//! The dry run: reports what a load would write and reject, without a database.

use std::path::Path;

use super::load::{ReadSide, RejectsMax, source_notes};
use super::plan::Plan;
use super::rejects::s3_address;
use super::settle::Account;
use super::stages::{Interrupt, encode_alone};
use super::verify::{expectation, push, stop_if_asked};
use crate::encode::Id;
use crate::error::Error;
use crate::ledger::Counts;
use crate::reject::Reason;
use crate::report::summary::{self, Count, DocumentSummary, LoadSummary};
use crate::report::times::Times;
use crate::report::{Phase, Progress};
use crate::spec::OnConflict;
use crate::verify::{Expectation, Expected, Share, VerifyError};
use crate::write::Mode;

/// Reads, cleans and encodes the sources. Reports what a load into an empty collection would do. If `rejects` is
/// given, writes the rejected rows to this file or directory. Rows that the conflict rule would refuse are counted,
/// but not written.
///
/// # Errors
/// If a source cannot be read to its end, a temporary file cannot be used, the reject file cannot be written, or the
/// user interrupts the program.
pub fn dry_run(
    plan: &Plan,
    mode: Mode,
    rejects: Option<&Path>,
    rejects_max: Option<RejectsMax>,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LoadSummary, Error> {
    if rejects.and_then(s3_address).is_some() {
        let problem = "--dry-run does not write rejects to S3; name a file or a directory with --rejects";
        return Err(Error::Usage(problem.into()));
    }
    progress.enter(Phase::Reading);
    let mut account = rejects.map(|path| Account::open(plan, Some(path))).transpose()?;
    if let Some(account) = &mut account {
        account.rejects.check_named()?;
    }
    let rules = plan.kinds.iter().map(|kind| mode.rule(kind.identity.on_conflict));
    let mut expectations: Vec<Expectation> = rules.map(|rule| expectation(plan, rule)).collect();
    let mut side = ReadSide::default();
    encode_alone(plan, interrupt, progress, |block| {
        side.count(block, plan);
        if let Some(account) = &mut account {
            account.write_rejects(&block.rejects)?;
        }
        expectations
            .iter_mut()
            .enumerate()
            .try_for_each(|(kind, expectation)| push(expectation, block, kind, Share::ALL))
    })?;
    stop_if_asked(interrupt)?;
    progress.enter(Phase::Duplicates);
    let mut summary = summarize(plan, mode, &side, expectations)?;
    let is_exceeded =
        |counts: &Counts| rejects_max.is_some_and(|max| max.is_exceeded(counts.rejected, counts.read, true));
    let counts = summary.documents().map(|found| found.counts).collect();
    if plan.limited(counts).iter().any(is_exceeded) {
        summary.outcome.push_str("; a load would stop: more rows are rejected than allowed");
    }
    if let Some(account) = &mut account {
        account.rejects.finish()?;
        summary.reject_files = account.rejects.files();
    }
    summary.times = Some(Times::new(&progress.times(), side.rows));
    Ok(summary)
}

/// Makes the summary. It lacks the reject files and the times.
fn summarize(plan: &Plan, mode: Mode, side: &ReadSide, expectations: Vec<Expectation>) -> Result<LoadSummary, Error> {
    let mut rejects = side.rejects.list(&plan.spec);
    let mut documents = Vec::new();
    for (index, (kind, expectation)) in plan.kinds.iter().zip(expectations).enumerate() {
        let rule = mode.rule(kind.identity.on_conflict);
        let expected = expectation.settle(rule).map_err(VerifyError::from)?;
        let (mut counts, digest) = count(side.of_kind(index), &expected, rule, &mut rejects)?;
        counts.of_no_kind = if index == 0 { side.of_no_kind } else { 0 };
        documents.push(DocumentSummary { counts, digest, ..DocumentSummary::of_kind(kind, plan.kinds.len()) });
    }
    let mut documents = documents.into_iter();
    let mut summary = LoadSummary {
        outcome: "dry run, nothing was written".into(),
        advice: side.advice(plan),
        document: documents.next().unwrap_or_default(),
        further: documents.collect(),
        sources: source_notes(plan, &side.notices),
        rejects,
        changes: summary::changes(&side.tallies, &plan.kinds),
        warnings: summary::warnings(&side.tallies, &plan.kinds),
        ..LoadSummary::default()
    };
    summary.add_up(&plan.spec);
    Ok(summary)
}

/// Counts the documents that a load would write, and their duplicates and conflicts.
fn count(
    (read, rejected): (u64, u64),
    expected: &Expected,
    rule: OnConflict,
    rejects: &mut Vec<Count>,
) -> Result<(Counts, String), Error> {
    let mut counts = Counts { read, rejected, ..Counts::default() };
    let mut digest = crate::encode::Digest::default();
    for document in expected.range(Id([0; 16]), None).map_err(VerifyError::from)? {
        let document = document.map_err(VerifyError::from)?;
        counts.written += 1;
        counts.duplicates += document.duplicates;
        counts.conflicts += document.conflicts;
        digest.add(document.version.digest);
    }
    if rule == OnConflict::Reject && counts.conflicts > 0 {
        let refused = std::mem::take(&mut counts.conflicts);
        (counts.rejected, counts.refused_for_conflict) = (counts.rejected + refused, refused);
        rejects.push(Count { what: Reason::Conflict.code().into(), field: String::new(), count: refused });
    }
    Ok((counts, digest.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::settle::tests::plan_of;

    /// Makes a dry run with two copies of one record, another record with the same name, and a row with a wrong age.
    fn run(on_conflict: OnConflict, mode: Mode, rejects_max: Option<RejectsMax>) -> LoadSummary {
        let rows = "Name,Age\nann,1\nann,1\nann,2\nbea,x\n";
        let (_dir, mut plan) = plan_of(&[("a.csv", rows)]);
        plan.kinds[0].identity.on_conflict = on_conflict;
        dry_run(&plan, mode, None, rejects_max, &Interrupt::default(), &Progress::default()).unwrap()
    }

    #[test]
    fn conflicts_are_rejected_or_counted_as_the_rule_says() {
        let check = |on_conflict, mode, [conflicts, rejected, for_conflict]: [u64; 3]| {
            let summary = run(on_conflict, mode, None);
            let counts = summary.document.counts;
            assert_eq!((counts.read, counts.written, counts.duplicates), (4, 1, 1), "{on_conflict:?}");
            let found = [counts.conflicts, counts.rejected, counts.refused_for_conflict];
            assert_eq!(found, [conflicts, rejected, for_conflict], "{on_conflict:?}");
            let of_conflict = summary.rejects.iter().filter(|reject| reject.what == Reason::Conflict.code());
            assert_eq!(of_conflict.map(|reject| reject.count).sum::<u64>(), for_conflict, "{on_conflict:?}");
            assert!(counts.are_conserved());
        };
        check(OnConflict::KeepFirst, Mode::Insert, [1, 1, 0]);
        check(OnConflict::KeepLast, Mode::Insert, [1, 1, 0]);
        check(OnConflict::Reject, Mode::Insert, [0, 2, 1]);
        check(OnConflict::Reject, Mode::Upsert, [1, 1, 0]);
    }

    #[test]
    fn the_outcome_says_if_a_load_would_stop() {
        let would_stop = |on_conflict, most: Option<u64>| {
            let outcome = run(on_conflict, Mode::Insert, most.map(RejectsMax::Rows)).outcome;
            assert!(outcome.starts_with("dry run"), "{outcome}");
            outcome.contains("a load would stop")
        };
        assert_eq!([None, Some(0), Some(1)].map(|most| would_stop(OnConflict::KeepFirst, most)), [false, true, false]);
        assert_eq!([Some(1), Some(2)].map(|most| would_stop(OnConflict::Reject, most)), [true, false]);
    }
}
