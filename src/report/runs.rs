//! Overviews of loads and their parts, made from the ledger.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ledger::{Counts, Held, LoadDocument, State};

/// A load. If it is divided into parts, also its parts.
#[derive(Debug, Serialize)]
pub struct LoadOverview {
    /// The load's id.
    pub load: String,
    /// The id of the manifest, if the load is divided into parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The collections.
    pub collections: Vec<String>,
    /// `running`, `stopped`, `failed`, `complete`, `dropped` or `superseded`. A load whose process was killed is
    /// `running`.
    pub state: State,
    /// Time at which the load began.
    pub started: String,
    /// The counts of the first kind of document. If the load is divided into parts and is not complete, the sums of the
    /// counts of its parts. `medlift runs list` does not read the parts, so it shows 0 rows for such a load.
    pub counts: Counts,
    /// The parts, in the order of their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartOverview>,
}

/// A part of a load.
#[derive(Debug, Serialize)]
pub struct PartOverview {
    /// Number of the part in the manifest.
    pub number: u32,
    /// The state of the part.
    pub state: PartState,
    /// The worker that has the part, or that had it last: process and machine. `None` if no worker has begun the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Number of committed rows.
    pub read: u64,
    /// Number of documents that were written for these rows.
    pub written: u64,
    /// Number of these rows that were rejected.
    pub rejected: u64,
    /// Committed rows per second. `None` before the first commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<f64>,
}

/// The state of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// No worker has begun the part.
    Waiting,
    /// A worker is loading the part.
    Loading,
    /// The worker of the part has ended without a report, or no longer renews its lease. The next free worker continues
    /// the part.
    Stalled,
    /// The worker of the part stopped because of an error, or was asked to stop. The next free worker continues the
    /// part.
    Stopped,
    /// The part is loaded.
    Loaded,
}

impl PartState {
    const ALL: [Self; 5] = [Self::Loaded, Self::Loading, Self::Stalled, Self::Stopped, Self::Waiting];

    /// Returns the name of the state for the user.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::Loaded => "loaded",
        }
    }

    fn of(document: Option<&LoadDocument>, lease: Option<&Held>) -> Self {
        let is_held = lease.is_some_and(|held| !held.left.is_zero() && !held.lease.owner.has_ended());
        match document.map(|document| document.state) {
            Some(State::Complete) => Self::Loaded,
            _ if is_held => Self::Loading,
            Some(State::Stopped | State::Failed) => Self::Stopped,
            Some(_) => Self::Stalled,
            None => Self::Waiting,
        }
    }
}

impl LoadOverview {
    /// Makes the overview of a load. `parts` are the documents of its parts. `leases` are their leases, by the numbers
    /// of the parts.
    pub fn new(load: &LoadDocument, parts: &[LoadDocument], leases: &BTreeMap<u32, Held>) -> Self {
        let numbers = load.manifest.iter().flat_map(|manifest| manifest.parts.iter().copied());
        let part = |number: u32| {
            let document = parts.iter().find(|part| part.part.as_ref().is_some_and(|of| of.number == number));
            PartOverview::new(number, document, leases.get(&number))
        };
        let mut counts = load.counts;
        if load.state != State::Complete {
            for part in parts {
                counts.add(&part.counts);
            }
        }
        Self {
            load: load.id.to_string(),
            manifest: load.manifest.as_ref().map(|manifest| manifest.id.clone()),
            collections: load.targets().into_iter().map(|target| target.collection).collect(),
            state: load.state,
            started: load.started.try_to_rfc3339_string().unwrap_or_default(),
            counts,
            parts: numbers.map(part).collect(),
        }
    }

    /// Removes the parts from the overview.
    #[must_use]
    pub fn without_parts(self) -> Self {
        Self { parts: Vec::new(), ..self }
    }

    /// Returns true if the load has ended. A load that stopped or failed has not ended if it is divided into parts,
    /// because other workers may continue it.
    pub fn has_ended(&self) -> bool {
        match self.state {
            State::Complete | State::Dropped | State::Superseded => true,
            State::Stopped | State::Failed => self.parts.is_empty(),
            State::Running => false,
        }
    }
}

impl PartOverview {
    fn new(number: u32, document: Option<&LoadDocument>, lease: Option<&Held>) -> Self {
        let counts = document.map(|document| document.counts).unwrap_or_default();
        let seconds = document.map_or(0.0, |document| {
            let (from, to) = (document.started.timestamp_millis(), document.updated.timestamp_millis());
            to.saturating_sub(from) as f64 / 1000.0
        });
        Self {
            number,
            state: PartState::of(document, lease),
            worker: lease.map(|held| held.lease.owner.to_string()),
            read: counts.read,
            written: counts.written,
            rejected: counts.rejected,
            rows_per_second: (counts.read > 0 && seconds > 0.0).then(|| counts.read as f64 / seconds),
        }
    }
}

impl fmt::Display for LoadOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { read, written, already_present, duplicates, rejected, .. } = self.counts;
        let state = self.state.name();
        writeln!(f, "load {}, {state}, into {}, since {}", self.load, self.collections.join(", "), self.started)?;
        if let Some(manifest) = &self.manifest {
            writeln!(f, "  manifest {manifest}")?;
        }
        writeln!(
            f,
            "  {read} rows read: {written} written, {already_present} already present, {duplicates} duplicates, {rejected} rejected"
        )?;
        if self.parts.is_empty() {
            return Ok(());
        }
        let count = |state: PartState| self.parts.iter().filter(|part| part.state == state).count();
        let counts: Vec<String> = PartState::ALL
            .iter()
            .filter(|state| count(**state) > 0)
            .map(|state| format!("{} {}", count(*state), state.name()))
            .collect();
        writeln!(f, "  {} parts: {}", self.parts.len(), counts.join(", "))?;
        self.parts.iter().try_for_each(|part| write!(f, "{part}"))
    }
}

impl fmt::Display for PartOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {:<6} {:<8}", self.number, self.state.name())?;
        if self.state != PartState::Waiting {
            write!(f, " {:>12} rows", self.read)?;
        }
        if let Some(rate) = self.rows_per_second {
            write!(f, " {rate:>9.0} rows/s")?;
        }
        if let Some(worker) = &self.worker {
            write!(f, "  {worker}")?;
        }
        writeln!(f)
    }
}
