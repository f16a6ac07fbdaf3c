//! Makes documents follow merges: the field `patient` is the patient who survives.

use std::collections::{BTreeSet, HashSet};

use super::FoldError;
use super::store::Store;
use crate::encode::Id;
use crate::fold::{Kind, Merges, State};

impl Store {
    /// Returns the merges of the patients of these states, of the patients into whom they were merged, and so on.
    pub(super) async fn chains(&self, states: &[State]) -> Result<Merges, FoldError> {
        let mut merges = Merges::default();
        for (key, merge) in states.iter().filter_map(|state| Some((state.key().id, state.merge()?))) {
            merges.add(key, merge);
        }
        let known: HashSet<Id> =
            states.iter().map(State::key).filter(|key| key.kind == Kind::Patient).map(|key| key.id).collect();
        let patients: BTreeSet<Id> = states.iter().filter_map(State::patient).collect();
        self.lead_on(patients, &known, &mut merges).await?;
        Ok(merges)
    }

    /// Adds the merges of these patients, of the patients into whom they were merged, and so on. `merges` already has
    /// those of `known` patients.
    async fn lead_on(&self, from: BTreeSet<Id>, known: &HashSet<Id>, merges: &mut Merges) -> Result<(), FoldError> {
        let (mut next, mut seen) = (from, BTreeSet::new());
        while !next.is_empty() {
            let unknown: Vec<Id> = next.iter().copied().filter(|id| !known.contains(id)).collect();
            for (key, merge) in self.merges("_id", &unknown).await? {
                merges.add(key, merge);
            }
            let into: BTreeSet<Id> = next.iter().filter_map(|&id| Some(merges.of(id)?.into)).collect();
            seen.append(&mut next);
            next = into.difference(&seen).copied().collect();
        }
        Ok(())
    }

    /// Makes the documents of these patients, and of all patients who were merged into them, point to the patients who
    /// survive. The merges are stored already.
    pub(super) async fn follow_merges(&self, patients: BTreeSet<Id>) -> Result<(), FoldError> {
        if patients.is_empty() {
            return Ok(());
        }
        let mut merges = Merges::default();
        let (mut affected, mut next) = (patients.clone(), patients);
        while !next.is_empty() {
            let found = self.merges("mergedInto.patient", &next.into_iter().collect::<Vec<_>>()).await?;
            next = found.iter().map(|(key, _)| *key).filter(|key| affected.insert(*key)).collect();
            for (key, merge) in found {
                merges.add(key, merge);
            }
        }
        self.lead_on(affected.clone(), &HashSet::new(), &mut merges).await?;
        let survivors: Vec<(Id, Id)> = affected.into_iter().map(|key| (key, merges.survivor(key))).collect();
        self.redirect(&survivors).await
    }
}
