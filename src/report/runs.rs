//! Overviews of loads and their parts, made from the ledger.

use std::collections::BTreeMap;
use std::fmt;

use bson::DateTime;
use serde::{Serialize, Serializer};

use crate::ledger::{Counts, Held, LoadDocument, Proof, State};
use crate::wording::counted;

/// The overview of a load. If the load is divided into parts, it also contains the parts.
#[derive(Debug, Serialize)]
pub struct LoadOverview {
    /// The load's id.
    pub load: String,
    /// The id of the manifest, if the load is divided into parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The collections.
    pub collections: Vec<String>,
    /// The names of the sources.
    pub sources: Vec<String>,
    /// The state of the load. If the load is divided into parts, it is never `stalled`: each part has its own state.
    pub state: LoadState,
    /// The result of the most recent verification by this load, or by a repetition of its command. In JSON, it is
    /// `verified`, `difference` or `not_verified`.
    #[serde(serialize_with = "proof_as_text")]
    pub proof: Option<Proof>,
    /// Time at which the load began.
    pub started: String,
    /// The process that executes the load. If the load is stalled, the process that executed it last. `None` if the
    /// load has ended or is divided into parts.
    #[serde(flatten)]
    pub worker: Option<Worker>,
    /// What the user can do if no process works on the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
    /// The counts of the first kind of document. If the load is divided into parts and is not complete, the sums of the
    /// counts of its parts.
    pub counts: Counts,
    /// The parts, in the order of their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartOverview>,
}

/// The state of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "&'static str")]
pub enum LoadState {
    /// The state in the ledger.
    Recorded(State),
    /// The ledger says that the load is running, but its process has ended without a report, or no longer renews its
    /// lease.
    Stalled,
}

/// The end of a load, for a user who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The load is complete.
    Complete,
    /// The load stopped or failed, its documents were dropped, or another load has replaced it.
    Incomplete,
    /// No process works on the load. The same command continues it.
    Stalled,
}

/// The process that executes a load or loads a part. If no process does so now, the last one that did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worker {
    /// Process and machine.
    #[serde(rename = "worker")]
    pub process: String,
    /// Time at which the process took the lease.
    #[serde(rename = "worker_since")]
    pub since: String,
    /// Time at which the lease ended, if it has ended.
    #[serde(rename = "worker_until", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether the process is known to have ended.
    #[serde(rename = "worker_has_ended")]
    pub has_ended: bool,
}

/// A part of a load.
#[derive(Debug, Serialize)]
pub struct PartOverview {
    /// Number of the part in the manifest.
    pub number: u32,
    /// The state of the part.
    pub state: PartState,
    /// The worker that has the part, or that had it last. `None` if no worker has begun the part.
    #[serde(flatten)]
    pub worker: Option<Worker>,
    /// Number of committed rows.
    pub read: u64,
    /// Number of documents that were written for the committed rows.
    pub written: u64,
    /// Number of committed rows that were rejected.
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
        let is_held = lease.is_some_and(|held| !held.is_over());
        match document.map(|document| document.state) {
            Some(State::Complete) => Self::Loaded,
            _ if is_held => Self::Loading,
            Some(State::Stopped | State::Failed) => Self::Stopped,
            Some(_) => Self::Stalled,
            None => Self::Waiting,
        }
    }
}

impl LoadState {
    /// Returns the name of the state for the user.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded(state) => state.name(),
            Self::Stalled => "stalled",
        }
    }
}

impl From<LoadState> for &'static str {
    fn from(state: LoadState) -> Self {
        state.name()
    }
}

impl Worker {
    fn new(held: &Held) -> Self {
        Self {
            process: held.lease.owner.to_string(),
            since: time(DateTime::from_millis(held.lease.since_ms)),
            until: held.left.is_zero().then(|| time(DateTime::from_millis(held.lease.until_ms))),
            has_ended: held.lease.owner.has_ended(),
        }
    }
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn proof_as_text<S: Serializer>(proof: &Option<Proof>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match proof {
        Some(Proof::Verified) => "verified",
        Some(Proof::Difference) => "difference",
        None => "not_verified",
    })
}

fn time(time: DateTime) -> String {
    time.try_to_rfc3339_string().unwrap_or_default()
}

impl LoadOverview {
    /// Makes the overview of a load. `lease` is its lease. `parts` are the documents of its parts, and `part_leases`
    /// their leases, by the numbers of the parts.
    pub fn new(
        load: &LoadDocument,
        lease: Option<&Held>,
        parts: &[LoadDocument],
        part_leases: &BTreeMap<u32, Held>,
    ) -> Self {
        let numbers = load.manifest.iter().flat_map(|manifest| manifest.parts.iter().copied());
        let part = |number: u32| {
            let document = parts.iter().find(|part| part.part.as_ref().is_some_and(|of| of.number == number));
            PartOverview::new(number, document, part_leases.get(&number))
        };
        let mut counts = load.counts;
        if load.state != State::Complete {
            for part in parts {
                counts.add(&part.counts);
            }
        }
        let is_plain = load.manifest.is_none();
        let is_stalled = is_plain && load.state == State::Running && lease.is_none_or(Held::is_over);
        let worker = lease.filter(|_| is_plain && load.state == State::Running).map(Worker::new);
        let mut overview = Self {
            load: load.id.to_string(),
            manifest: load.manifest.as_ref().map(|manifest| manifest.id.clone()),
            collections: load.targets().into_iter().map(|target| target.collection).collect(),
            sources: load.sources.iter().map(|source| source.name.clone()).collect(),
            state: if is_stalled { LoadState::Stalled } else { LoadState::Recorded(load.state) },
            proof: load.proof,
            started: time(load.started),
            worker,
            advice: None,
            counts,
            parts: numbers.map(part).collect(),
        };
        let is_ending = lease.is_some_and(|held| !held.is_over());
        overview.advice = overview.advise().filter(|_| !is_ending);
        overview
    }

    /// Returns the advice for a load on which no process works.
    fn advise(&self) -> Option<&'static str> {
        let is_in_parts = self.manifest.is_some();
        let is_idle = self.parts.iter().all(|part| part.state != PartState::Loading);
        match self.state {
            LoadState::Stalled => {
                Some("to continue the load, run the same command again, but without --drop and --reload")
            }
            LoadState::Recorded(State::Running) if is_in_parts && is_idle => {
                Some("no worker is at work; start workers with `medlift load --manifest FILE`")
            }
            LoadState::Recorded(_) => None,
        }
    }

    /// Removes the parts from the overview.
    #[must_use]
    pub fn without_parts(self) -> Self {
        Self { parts: Vec::new(), ..self }
    }

    /// Returns how the load ended. Returns `None` if it has not ended. If a load is divided into parts, other workers
    /// can continue it. Such a load therefore counts as not ended, even if a worker stopped or failed, or if no worker
    /// is at work.
    pub const fn end(&self) -> Option<End> {
        let is_plain = self.manifest.is_none();
        match self.state {
            LoadState::Recorded(State::Complete) => Some(End::Complete),
            LoadState::Recorded(State::Dropped | State::Superseded) => Some(End::Incomplete),
            LoadState::Recorded(State::Stopped | State::Failed) if is_plain => Some(End::Incomplete),
            LoadState::Stalled => Some(End::Stalled),
            LoadState::Recorded(State::Stopped | State::Failed | State::Running) => None,
        }
    }

    /// Returns the overview as text. The names of sources are shortened, so that their line has at most `width`
    /// characters.
    pub fn text(&self, width: usize) -> String {
        let Counts { read, written, already_present, duplicates, rejected, .. } = self.counts;
        let rows = counted(read, "row", "rows");
        let duplicates = counted(duplicates, "duplicate", "duplicates");
        let mut lines = vec![
            format!("load {}, {}", self.load, self.outcome()),
            format!("  into {}, since {}", self.collections.join(", "), self.started),
            self.source_line(width),
        ];
        lines.extend(self.manifest.iter().map(|manifest| format!("  manifest {manifest}")));
        lines.extend(self.worker.iter().map(|worker| format!("  {worker}")));
        lines.extend(self.advice.iter().map(|advice| format!("  {advice}")));
        lines.push(format!(
            "  {rows} read: {written} written, {already_present} already present, {duplicates}, {rejected} rejected"
        ));
        if !self.parts.is_empty() {
            let count = |state: PartState| self.parts.iter().filter(|part| part.state == state).count();
            let counts = PartState::ALL.iter().map(|state| (count(*state), state.name()));
            let counts: Vec<String> =
                counts.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
            lines.push(format!("  {}: {}", counted(self.parts.len() as u64, "part", "parts"), counts.join(", ")));
            lines.extend(self.parts.iter().map(|part| format!("    {part}")));
        }
        lines.join("\n") + "\n"
    }

    /// Returns the state. For a complete load, also says whether it was verified.
    fn outcome(&self) -> String {
        let proof = match (self.state, self.proof) {
            (LoadState::Recorded(State::Complete), Some(Proof::Difference)) => ", verification found a difference",
            (LoadState::Recorded(State::Complete), Some(Proof::Verified)) => ", verified",
            (LoadState::Recorded(State::Complete), None) => ", not verified",
            _ => "",
        };
        format!("{}{proof}", self.state.name())
    }

    /// Returns the line that names the sources. If it is too long, the beginning of the name is left out, because paths
    /// differ most at their ends.
    fn source_line(&self, width: usize) -> String {
        let Some(first) = self.sources.first() else { return "  from unknown sources".to_owned() };
        let more = match self.sources.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let fixed = "  from ".len() + more.len();
        let letters = first.chars().count();
        if fixed + letters <= width {
            return format!("  from {first}{more}");
        }
        let left_out = letters.saturating_sub(width.saturating_sub(fixed + 1).max(1));
        let end: String = first.chars().skip(left_out).collect();
        format!("  from …{end}{more}")
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
            worker: lease.map(Worker::new),
            read: counts.read,
            written: counts.written,
            rejected: counts.rejected,
            rows_per_second: (counts.read > 0 && seconds > 0.0).then(|| counts.read as f64 / seconds),
        }
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, since, until, has_ended } = self;
        write!(f, "{process}, since {since}")?;
        match until {
            Some(until) => write!(f, " until {until}"),
            None if *has_ended => write!(f, "; the process has ended"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PartOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<6} {:<8}", self.number, self.state.name())?;
        if self.state != PartState::Waiting {
            write!(f, " {:>12} rows", self.read)?;
        }
        if let Some(rate) = self.rows_per_second {
            write!(f, " {rate:>9.0} rows/s")?;
        }
        match &self.worker {
            Some(worker) => write!(f, "  {worker}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
