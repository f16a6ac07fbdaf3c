//! The times of a command, for its summary.

use std::fmt;

use serde::Serialize;

use super::progress::{Phase, PhaseTime};

/// The times of a command.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Times {
    /// Seconds for reading and writing. Building indexes, attaching the validator and verification are not included.
    pub seconds: f64,
    /// Rows per second while the command was reading and writing. Rows that an earlier, interrupted process had
    /// committed do not count. `None` if there were no other rows.
    pub rows_per_second: Option<f64>,
    /// Seconds from the start of the command to its result. The sum of `phases`.
    pub total_seconds: f64,
    /// The time of each phase.
    pub phases: Vec<PhaseTime>,
}

impl Times {
    /// Computes the times of a command from the times of its phases. `rows` is the number of rows that this process
    /// read and that no earlier process had committed.
    pub fn new(phases: &[PhaseTime], rows: u64) -> Self {
        let seconds = phases.iter().find(|time| has_rows(time.phase)).map_or(0.0, |time| time.seconds);
        Self {
            seconds,
            rows_per_second: (rows > 0 && seconds > 0.0).then(|| rows as f64 / seconds),
            total_seconds: phases.iter().map(|time| time.seconds).sum(),
            phases: phases.to_vec(),
        }
    }
}

/// Returns true for the phases in which a load or a dry run reads the rows that it counts.
const fn has_rows(phase: Phase) -> bool {
    matches!(phase, Phase::ReadingAndWriting | Phase::Reading)
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.phases.is_empty() {
            return Ok(());
        }
        writeln!(f, "  {:<23}{:>9.2} s", "time", self.total_seconds)?;
        // A time that would be shown as 0.00 is left out.
        for PhaseTime { phase, seconds } in self.phases.iter().filter(|time| time.seconds >= 0.005) {
            write!(f, "    {:<21}{seconds:>9.2} s", phase.name())?;
            if has_rows(*phase)
                && let Some(rate) = self.rows_per_second
            {
                write!(f, ", {rate:.0} rows/s")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
