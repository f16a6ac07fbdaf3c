//! Limits the number of bulk commands that all workers together send at the same time.
//!
//! A *token* is the right of a worker to have one bulk command under way (sent, but not yet answered). Each token is a
//! lease in the ledger. If a worker is killed, the leases of its tokens expire, and other workers can take the tokens.

use crate::error::Error;
use crate::ledger::{Claim, Ledger, token_key};
use crate::pipeline::stages::Interrupt;

/// The tokens that a worker has while it loads one part.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Claim>);

impl Tokens {
    /// Takes at most `wanted` tokens. The manifest has `of` tokens, and the token with the number `first` is tried
    /// first. If other workers have all tokens, waits until one is free.
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
                let key = token_key(manifest, number);
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
