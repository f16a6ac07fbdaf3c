//! The dry run: reports what a load would write and reject, without a database.

use std::path::Path;
use std::time::Instant;

use super::load::{ReadSide, RejectsMax, source_notes};
use super::plan::Plan;
use super::settle::Account;
use super::stages::{Interrupt, encode_alone};
use super::verify::{push, stop_if_asked};
use crate::encode::Id;
use crate::error::Error;
use crate::ledger::Counts;
use crate::reject::Reason;
use crate::report::Progress;
use crate::report::summary::{self, Count, DocumentSummary, LoadSummary};
use crate::spec::OnConflict;
use crate::spill::SORTER_BYTES_DEFAULT;
use crate::verify::{Expectation, Expected, VerifyError};
use crate::write::Mode;

/// Reads, cleans and encodes the sources. Reports what a load into an empty collection would do. Writes the rejected
/// rows to the file or directory `rejects`, if it is given.
///
/// # Errors
/// If a source cannot be read to its end, or the reject file cannot be written.
pub fn dry_run(
    plan: &Plan,
    mode: Mode,
    rejects: Option<&Path>,
    rejects_max: Option<RejectsMax>,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LoadSummary, Error> {
    let started = Instant::now();
    let mut account = rejects.map(|path| Account::open(plan, Some(path))).transpose()?;
    if let Some(account) = &mut account {
        account.rejects.check_named()?;
    }
    let mut expectations: Vec<Expectation> =
        plan.kinds.iter().map(|_| Expectation::new(SORTER_BYTES_DEFAULT)).collect();
    let mut side = ReadSide::default();
    encode_alone(plan, interrupt, progress, |block| {
        side.count(block);
        if let Some(account) = &mut account {
            account.write_rejects(&block.rejects)?;
        }
        expectations.iter_mut().enumerate().try_for_each(|(kind, expectation)| push(expectation, block, kind))
    })?;
    stop_if_asked(interrupt)?;
    let mut rejects = side.rejects.list(&plan.spec);
    let mut documents = Vec::new();
    for (kind, expectation) in plan.kinds.iter().zip(expectations) {
        let rule = mode.rule(kind.identity.on_conflict);
        let expected = expectation.settle(rule).map_err(VerifyError::from)?;
        let (counts, digest) = count(&side, &expected, rule, &mut rejects)?;
        documents.push(DocumentSummary { counts, digest, ..DocumentSummary::of_kind(kind, plan.kinds.len()) });
    }
    let mut documents = documents.into_iter();
    let mut summary = LoadSummary {
        outcome: "dry run, nothing was written".into(),
        document: documents.next().unwrap_or_default(),
        further: documents.collect(),
        sources: source_notes(plan, &side.notices),
        rejects,
        changes: summary::changes(&side.tallies, &plan.kinds),
        warnings: summary::warnings(&side.tallies, &plan.kinds),
        ..LoadSummary::default()
    };
    let is_exceeded = |found: &DocumentSummary| {
        rejects_max.is_some_and(|max| max.is_exceeded(found.counts.rejected, found.counts.read, true))
    };
    if summary.documents().any(is_exceeded) {
        summary.outcome.push_str("; a load would stop: more rows are rejected than allowed");
    }
    summary.seconds = started.elapsed().as_secs_f64();
    if let Some(account) = &mut account {
        account.rejects.finish()?;
        summary.reject_files = account.rejects.paths();
    }
    Ok(summary)
}

/// Counts the documents that a load would write, and their duplicates and conflicts.
fn count(
    side: &ReadSide,
    expected: &Expected,
    rule: OnConflict,
    rejects: &mut Vec<Count>,
) -> Result<(Counts, String), Error> {
    let mut counts = Counts { read: side.rows, rejected: side.rejected, ..Counts::default() };
    let mut digest = crate::encode::Digest::default();
    for document in expected.range(Id([0; 16]), None).map_err(VerifyError::from)? {
        let document = document.map_err(VerifyError::from)?;
        counts.written += 1;
        counts.duplicates += document.duplicates;
        counts.conflicts += document.conflicts;
        digest.add(document.digest);
    }
    if rule == OnConflict::Reject && counts.conflicts > 0 {
        let refused = std::mem::take(&mut counts.conflicts);
        (counts.rejected, counts.refused_for_conflict) = (counts.rejected + refused, refused);
        rejects.push(Count { what: Reason::Conflict.code().into(), field: String::new(), count: refused });
    }
    Ok((counts, digest.to_string()))
}
