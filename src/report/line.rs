//! The text of the line that shows the progress of a command.

use std::time::Duration;

use indicatif::HumanCount;

use super::progress::{Phase, Snapshot};
use crate::server::Trouble;

/// A part of the line. If the line is too long, the parts with the largest `rank` are left out first.
struct Part {
    rank: u8,
    text: String,
}

/// The largest rank of a part.
const RANK_MAX: u8 = 6;

/// Returns the text of the line, with at most `width` characters.
pub(super) fn line(shot: &Snapshot, width: usize) -> String {
    let [long, brief] = heads(shot);
    let parts = parts(shot);
    let text = |head: &str, rank_max: u8| {
        let shown = parts.iter().filter(|part| part.rank <= rank_max).map(|part| part.text.as_str());
        let shown = shown.collect::<Vec<_>>().join(", ");
        if shown.is_empty() { head.to_owned() } else { format!("{head}: {shown}") }
    };
    let shortened = (0..RANK_MAX).rev().flat_map(|rank_max| [text(&long, rank_max), text(&brief, rank_max)]);
    let fits = |text: &String| text.chars().count() <= width;
    std::iter::once(text(&long, RANK_MAX))
        .chain(shortened)
        .find(fits)
        .unwrap_or_else(|| brief.chars().take(width).collect())
}

/// Returns the beginning of the line: a long form, and a short form for narrow terminals.
fn heads(shot: &Snapshot) -> [String; 2] {
    let name = shot.phase.name();
    let brief = match shot.phase {
        Phase::WaitingForOtherLoad => "waiting",
        Phase::ReadingAndWriting => "writing",
        _ => name,
    };
    match &shot.trouble {
        None => [name.to_owned(), brief.to_owned()],
        Some(Trouble { is_gone, left }) => {
            let state = if *is_gone { "gone" } else { "not ready" };
            let trouble = format!("server {state}, retrying for {} more", in_words(*left));
            [format!("{name}: {trouble}"), trouble]
        }
    }
}

/// Returns the parts of the line in the order in which they are shown.
fn parts(shot: &Snapshot) -> Vec<Part> {
    let (count, unit) = match (shot.phase, shot.documents_total) {
        (Phase::Fold, _) => (shot.documents, "messages"),
        (Phase::Export, _) | (_, Some(_)) => (shot.documents, "documents"),
        _ => (shot.rows, "rows"),
    };
    let mut parts = Vec::new();
    let mut add = |rank, text| parts.push(Part { rank, text });
    if shot.entries > 0 {
        add(1, format!("{} entries of Bundles looked through for their URLs", HumanCount(shot.entries)));
        return parts;
    }
    if count == 0 {
        add(1, format!("{} so far", in_words(shot.elapsed)));
        return parts;
    }
    add(1, format!("{} {unit}", HumanCount(count)));
    if let Some(rate) = rate(count.saturating_sub(shot.rows_before), shot.elapsed) {
        add(4, format!("{}/s", HumanCount(rate)));
    }
    if matches!(shot.phase, Phase::ReadingAndWriting | Phase::Reading) {
        let rank = if shot.rows_rejected > 0 { 3 } else { RANK_MAX };
        add(rank, format!("{} rejected", HumanCount(shot.rows_rejected)));
    }
    if shot.phase == Phase::ReadingAndWriting {
        add(5, format!("{} committed", HumanCount(shot.rows_committed)));
    }
    if let Some(left) = time_left(shot) {
        let left = Duration::from_secs(left.as_millis().div_ceil(1_000) as u64);
        add(2, format!("{} left", in_words(left)));
    }
    parts
}

/// Returns the number of items per second. `None` if there are none.
fn rate(count: u64, elapsed: Duration) -> Option<u64> {
    let elapsed_ms = elapsed.as_millis().max(1);
    let rate = (u128::from(count) * 1_000 + elapsed_ms / 2) / elapsed_ms;
    (count > 0).then_some(rate as u64)
}

/// Returns the remaining time, if the work continues at the same speed. `None` if the total amount of work is not
/// known, if nothing is done yet, or if all is done.
fn time_left(shot: &Snapshot) -> Option<Duration> {
    let bytes_total = shot.bytes_total.unwrap_or_default() as f64;
    let (before, done, total) = match (shot.documents_total, shot.phase) {
        (Some(total), _) => (0.0, shot.documents as f64, total as f64),
        (None, Phase::ReadingAndWriting) => {
            // The sources are read faster than their rows are committed. So the committed rows are compared with the
            // number of all rows, which is computed from the rows and bytes that are already read.
            let rows_total = shot.rows as f64 * bytes_total / (shot.bytes as f64).max(1.0);
            (shot.rows_before as f64, shot.rows_committed as f64, rows_total)
        }
        (None, _) => (0.0, shot.bytes as f64, bytes_total),
    };
    let left = shot.elapsed.as_secs_f64() * (total - done) / (done - before);
    if done > before && total > done { Duration::try_from_secs_f64(left).ok() } else { None }
}

/// Returns a time in words, for example `20 s`, `3 min 20 s` or `2 h 5 min`.
pub(super) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(phase: Phase) -> Snapshot {
        Snapshot {
            phase,
            elapsed: Duration::from_secs(10),
            rows: 0,
            rows_rejected: 0,
            rows_committed: 0,
            rows_before: 0,
            documents: 0,
            documents_total: None,
            bytes: 0,
            entries: 0,
            bytes_total: None,
            trouble: None,
        }
    }

    /// A load of which half is read and a quarter is committed.
    fn loading() -> Snapshot {
        Snapshot {
            rows: 1_234_568,
            rows_committed: 617_284,
            bytes: 50,
            bytes_total: Some(100),
            ..at(Phase::ReadingAndWriting)
        }
    }

    fn check(shot: &Snapshot, lines: &[(usize, &str)]) {
        for (width, expected) in lines {
            assert_eq!(line(shot, *width), *expected, "{width}");
        }
    }

    #[test]
    fn a_narrow_terminal_shows_the_most_important_parts() {
        check(
            &loading(),
            &[
                (120, "reading and writing: 1,234,568 rows, 123,457/s, 0 rejected, 617,284 committed, 30 s left"),
                (77, "reading and writing: 1,234,568 rows, 123,457/s, 617,284 committed, 30 s left"),
                (66, "writing: 1,234,568 rows, 123,457/s, 617,284 committed, 30 s left"),
                (57, "reading and writing: 1,234,568 rows, 123,457/s, 30 s left"),
                (47, "writing: 1,234,568 rows, 123,457/s, 30 s left"),
                (37, "writing: 1,234,568 rows, 30 s left"),
                (30, "writing: 1,234,568 rows"),
                (10, "writing"),
                (4, "writ"),
                (0, ""),
            ],
        );
        let rejecting = Snapshot { rows_rejected: 4_321, ..loading() };
        check(
            &rejecting,
            &[
                (62, "writing: 1,234,568 rows, 123,457/s, 4,321 rejected, 30 s left"),
                (57, "writing: 1,234,568 rows, 4,321 rejected, 30 s left"),
                (37, "writing: 1,234,568 rows, 30 s left"),
            ],
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let gone = Trouble { is_gone: true, left: Duration::from_secs(4_000) };
        let phases = [Phase::Preparation, Phase::WaitingForOtherLoad, Phase::ReadingAndWriting, Phase::Export];
        for (phase, width) in phases.into_iter().flat_map(|phase| (0..130).map(move |width| (phase, width))) {
            for trouble in [None, Some(gone)] {
                let huge = u64::MAX / 2;
                let shot = Snapshot { phase, trouble, rows: huge, documents: huge, rows_rejected: huge, ..loading() };
                assert!(line(&shot, width).chars().count() <= width, "{phase:?} {width}");
            }
        }
    }

    #[test]
    fn a_repeated_call_is_shown_before_the_counts() {
        let trouble = |is_gone, seconds| Some(Trouble { is_gone, left: Duration::from_secs(seconds) });
        let shot = Snapshot { trouble: trouble(true, 20), ..loading() };
        check(
            &shot,
            &[
                (
                    130,
                    "reading and writing: server gone, retrying for 20 s more: 1,234,568 rows, 123,457/s, 0 rejected, \
                     617,284 committed, 30 s left",
                ),
                (57, "server gone, retrying for 20 s more: 1,234,568 rows"),
                (37, "server gone, retrying for 20 s more"),
            ],
        );
        let shot = Snapshot { trouble: trouble(false, 100), ..at(Phase::Validator) };
        check(&shot, &[(60, "server not ready, retrying for 1 min 40 s more: 10 s so far")]);
    }

    #[test]
    fn each_phase_shows_what_it_counts() {
        check(&at(Phase::Indexes), &[(57, "indexes: 10 s so far"), (7, "indexes")]);
        check(&at(Phase::WaitingForOtherLoad), &[(57, "waiting for the other load: 10 s so far")]);
        check(&at(Phase::WaitingForOtherLoad), &[(37, "waiting: 10 s so far")]);
        let half = Snapshot { bytes: 5, bytes_total: Some(15), rows: 100, rows_rejected: 9, ..at(Phase::Verification) };
        check(&half, &[(80, "verification: 100 rows, 10/s, 20 s left")]);
        let looking = Snapshot { entries: 1_234, ..half };
        check(&looking, &[(80, "verification: 1,234 entries of Bundles looked through for their URLs")]);
        check(&Snapshot { phase: Phase::Reading, ..half }, &[(80, "reading: 100 rows, 10/s, 9 rejected, 20 s left")]);
        let compared = Snapshot { documents: 100, documents_total: Some(400), ..half };
        check(&compared, &[(80, "verification: 100 documents, 10/s, 30 s left")]);
        let exported = Snapshot { documents: 100, ..at(Phase::Export) };
        check(&exported, &[(80, "export: 100 documents, 10/s")]);
    }

    #[test]
    fn speed_and_time_left_of_a_resumed_load_count_only_its_own_rows() {
        let resumed = Snapshot { rows_before: 600_000, rows_committed: 600_000, ..loading() };
        check(&resumed, &[(70, "reading and writing: 1,234,568 rows, 63,457/s, 600,000 committed")]);
        let faster = Snapshot { rows_before: 600_000, rows_committed: 1_000_000, ..loading() };
        check(&faster, &[(57, "reading and writing: 1,234,568 rows, 63,457/s, 37 s left")]);
        let skipping = Snapshot { rows: 500, ..resumed };
        check(&skipping, &[(57, "reading and writing: 500 rows, 600,000 committed")]);
    }

    #[test]
    fn times_have_two_units_at_most() {
        let words = [0, 59, 60, 200, 3_599, 3_600, 7_500].map(|seconds| in_words(Duration::from_secs(seconds)));
        assert_eq!(words, ["0 s", "59 s", "1 min 0 s", "3 min 20 s", "59 min 59 s", "1 h 0 min", "2 h 5 min"]);
    }
}
