//! Verifies the collections of a manifest. Several workers can each verify a share of the `_id`s.

use super::Display;
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::ledger::require_collection;
use crate::pipeline::manifest::Manifest;
use crate::pipeline::stages::Interrupt;
use crate::pipeline::verify::{self, VerifyOptions};
use crate::report::Bar;
use crate::report::fold::StateProof;
use crate::server::Target;
use crate::verify::Verification;

/// The result for one collection: the name of the kind of document, the collection, and the comparison.
pub type CollectionProof = (String, Target, Verification);

/// Compares the collections of all tables with the documents that the sources give. Reads all sources, but compares
/// only the `_id`s in the share of this worker (`options.share`). The first worker also verifies the patients, visits
/// and results that were folded from HL7 v2 messages.
///
/// # Errors
/// The same as for [`verify::verify`].
pub async fn verify(
    manifest: &Manifest,
    target: &Target,
    key: &IdentityKey,
    workers: usize,
    options: &VerifyOptions,
    display: Display,
    interrupt: &Interrupt,
) -> Result<(Vec<CollectionProof>, Option<StateProof>), Error> {
    let (mut proofs, mut state) = (Vec::new(), None);
    for table in &manifest.tables {
        let plan = tokio::task::block_in_place(|| table.plan(0..table.sources.len(), key.clone(), workers))?;
        let target = table.target(target);
        let progress = display.progress(plan.size_bytes());
        let expected = verify::expect_all(&plan, options, interrupt, &progress)?;
        for (kind, (spec, target)) in plan.targets(&target).enumerate() {
            if !plan.spec.is_divided() {
                require_collection(&target).await?;
            }
            let progress = display.progress(plan.size_bytes());
            let _bar = Bar::start(&progress, display.quiet);
            let options = VerifyOptions { kind, expected: expected.clone(), ..options.clone() };
            let proof = verify::verify(&plan, &target, &options, interrupt, &progress).await?;
            proofs.push((spec.name.clone(), target, proof));
        }
        // The state (patients, visits and results) cannot be compared in shares. So only the first worker compares it.
        if options.share.index == 0 && state.is_none() {
            let progress = display.progress(None);
            let _bar = Bar::start(&progress, display.quiet);
            state = verify::verify_state(&plan, &target, options.differences_max, &progress).await?;
        }
    }
    Ok((proofs, state))
}
