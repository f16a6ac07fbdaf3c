//! After a *first load* (a load into an empty collection), the server checks the stored documents with the spec's
//! validator: either a random sample, or all documents.
//!
//! A sample is enough if the verification found that every document is equal to its record. Reason: cleaning checks the
//! same rules from which the validator is made. So an equal document violates the validator only if the validator
//! itself is wrong, and a sample shows that. In all other cases, the server checks all documents. It also checks all if
//! the sample contains a violation, if the collection is small, or if the user gave `--check-validator`.

use super::{Load, LoadTarget};
use crate::deployment::schema;
use crate::error::Error;
use crate::pipeline::stages::Interrupt;
use crate::report::summary::LoadSummary;
use crate::report::{Phase, Progress};
use crate::wording::counted;

/// Number of documents in the sample.
const SAMPLE_SIZE: u32 = 1_000;

impl Load<'_> {
    /// Counts the documents of one kind that violate the validator, and adds the count and a note to the summary. Does
    /// nothing if the collection was not empty when the load began, if the user gave `--no-verify`, or if the sources
    /// have no FHIR resource of this kind.
    pub(super) async fn check_conformity(
        &self,
        kind: usize,
        summary: &mut LoadSummary,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), Error> {
        let is_empty = self.plan.spec.is_divided() && self.document.targets()[kind].counts.read == 0;
        if !self.document.targets()[kind].first_load || !self.options.verify || is_empty {
            return Ok(());
        }
        progress.enter(Phase::Validator);
        let document = summary.document_mut(kind);
        let is_sample_enough = document.verification.as_ref().is_some_and(|proof| {
            let has_only_equal = proof.equal == proof.found;
            has_only_equal && proof.found > u64::from(SAMPLE_SIZE) && !self.options.check_validator
        });
        let (count, note) = tokio::select! {
            counted = count_violations(&self.targets[kind], is_sample_enough) => counted?,
            () = interrupt.asked() => {
                let problem = "interrupted while the server checked documents with the validator; the load is complete: \
                     check the validator with the same command and --check-validator";
                return Err(Error::Stopped(problem.into()));
            }
        };
        document.nonconforming = count;
        document.collection_notes.push(note);
        Ok(())
    }
}

/// Returns the number of documents that violate the validator, and a note for the summary. If a sample is enough and
/// contains no such document, the number is 0. In all other cases, the server checks the whole collection.
async fn count_violations(lane: &LoadTarget<'_>, is_sample_enough: bool) -> Result<(u64, String), Error> {
    let LoadTarget { target, spec, .. } = lane;
    if is_sample_enough && schema::nonconforming_in_sample(target, spec, SAMPLE_SIZE).await? == 0 {
        let note = format!(
            "the server finds no document that violates the validator in a sample of {SAMPLE_SIZE}; --check-validator \
             checks all"
        );
        return Ok((0, note));
    }
    let count = schema::nonconforming(target, spec).await?;
    let note = match count {
        0 => "the server finds no document that violates the validator".into(),
        count => {
            let documents = counted(count, "document that violates", "documents that violate");
            format!("the server finds {documents} the spec's validator; see `medlift verify`")
        }
    };
    Ok((count, note))
}
