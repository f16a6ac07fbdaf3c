//! Bounds the bulk commands that all workers together have under way.
//!
//! A *token* is the right to have one bulk command under way. Each token is a lease in the ledger. If a worker is
//! killed, its tokens therefore become free again.

use crate::error::Error;
use crate::ledger::{Claim, Ledger};
use crate::pipeline::stages::Interrupt;

/// The tokens of one worker, for the time of one part.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Claim>);

impl Tokens {
    /// Takes at most `wanted` of the `of` tokens of a manifest. If all of them are taken, waits until one is free.
    /// `first` is the number of the token that is tried first.
    ///
    /// # Errors
    /// The ledger cannot be used, or the user interrupts the program.
    pub(super) async fn take(
        ledger: &Ledger,
        manifest: &str,
        of: u32,
        wanted: usize,
        first: u32,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let mut taken = Vec::new();
        while taken.is_empty() {
            for number in (0..of).map(|number| (first + number) % of) {
                let key = format!("writer {manifest} {number}");
                let claim = Claim::take(ledger, &key).await.map_err(|error| Error::of_ledger("write", error))?;
                taken.extend(claim.ok());
                if taken.len() == wanted {
                    break;
                }
            }
            if interrupt.is_asked() {
                return Err(Error::Interrupted);
            }
            if taken.is_empty() {
                tokio::time::sleep(super::POLL).await;
            }
        }
        Ok(Self(taken))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) async fn release(self) {
        for claim in self.0 {
            claim.release().await;
        }
    }
}
