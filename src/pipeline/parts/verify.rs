//! Verifies the collections of a manifest. Several workers can each verify a share of the `_id`s.

use crate::encode::IdentityKey;
use crate::error::Error;
use crate::ledger::LEDGER_COLLECTION;
use crate::pipeline::manifest::Manifest;
use crate::pipeline::stages::Interrupt;
use crate::pipeline::verify::{self, VerifyOptions};
use crate::report::{Bar, Progress};
use crate::server::{self, Target, leases_of};
use crate::verify::Verification;

/// The result for one collection: the name of the kind of document, the collection, and the comparison.
pub type CollectionProof = (String, Target, Verification);

/// Compares the collections of all tables with the documents that the sources give. Reads all sources, but compares
/// only the `_id`s in the share of this worker (`options.share`).
///
/// # Errors
/// The same as for [`verify::verify`].
pub async fn verify(
    manifest: &Manifest,
    target: &Target,
    key: &IdentityKey,
    workers: usize,
    options: &VerifyOptions,
    display: (bool, bool),
    interrupt: &Interrupt,
) -> Result<Vec<CollectionProof>, Error> {
    let (quiet, verbose) = display;
    let mut proofs = Vec::new();
    for table in &manifest.tables {
        let plan = tokio::task::block_in_place(|| table.plan(0..table.sources.len(), key.clone(), workers))?;
        let target = table.target(target);
        for (kind, (spec, target)) in plan.targets(&target).enumerate() {
            server::require_collection(&target, &[LEDGER_COLLECTION, &leases_of(LEDGER_COLLECTION)]).await?;
            let mut progress = Progress::new(verbose);
            progress.bytes_total = plan.size_bytes();
            let _bar = Bar::start(&progress, quiet);
            let options = VerifyOptions { kind, ..options.clone() };
            let proof = verify::verify(&plan, &target, &options, interrupt, &progress).await?;
            proofs.push((spec.name.clone(), target, proof));
        }
    }
    Ok(proofs)
}
