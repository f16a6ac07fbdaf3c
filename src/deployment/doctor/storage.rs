//! Checks the validator of the collection, the acknowledgement of writes, the disk, and the logging of operations.

use bson::{Bson, Document, Uuid, doc};

use super::{Finding, Step};
use crate::deployment::indexes::read_raw;
use crate::deployment::schema::{self, CollectionState};
use crate::fold::shell::{indexes, is_folded, missing_indexes};
use crate::server::{Failure, ServerError, Target, collection_of_view, first_batch, missing_database};
use crate::spec::Spec;
use crate::wording::shell_word;

/// Time limit for the acknowledgement of a write that changes nothing.
const ACKNOWLEDGE_TIMEOUT_MS: i64 = 5_000;
/// Minimum free space on the disk, in bytes. mongod stops if it cannot write its journal.
const FREE_BYTES_MIN: f64 = 1024.0 * 1024.0 * 1024.0;
/// Minimum free space as a part of the whole disk.
const FREE_SHARE_MIN: f64 = 0.1;
/// The server's default for `slowms`.
const SLOW_MS_DEFAULT: i64 = 100;

/// Checks that the collection has the spec's validator, and that none of its indexes is still being built. `state` is
/// the state of the collection. A collection that does not exist yet is correct, because the first load creates it. But
/// if its database does not exist while others do, or if another collection has the spec's validator, the finding is a
/// warning: the name may be misspelled.
pub(super) async fn collection(target: &Target, state: Result<CollectionState, ServerError>, spec: &Spec) -> Finding {
    match state {
        Ok(state) => {
            let warning = if state.exists { None } else { misspelled(target, spec).await };
            let warning = warning.map(|warning| Finding::warning(Step::Collection, warning));
            warning
                .unwrap_or_else(|| guard(&state, &target.full_name(), &schema::provision_command(target, spec), spec))
        }
        Err(ServerError::Command { failure, .. }) => Finding::unseen(Step::Collection, &failure),
        Err(other) => Finding::failed(Step::Collection, other.to_string()),
    }
}

/// Returns the warning about a name that may be misspelled, of the database or of the collection.
async fn misspelled(target: &Target, spec: &Spec) -> Option<String> {
    if let Some(missing) = missing_database(target).await {
        return Some(format!(
            "{missing}; correct --db, or go on if the name is right: the first load creates the database"
        ));
    }
    let missing = schema::misspelled(target, spec).await.ok().flatten()?;
    Some(format!("{missing}; correct --collection, or go on if the name is right: the first load creates it"))
}

/// Makes the finding about the collection: its validator, and the indexes that are still being built.
/// `name` is its name with the database. `command` provisions it.
fn guard(state: &CollectionState, name: &str, command: &str, spec: &Spec) -> Finding {
    if state.is_view {
        let view = name.split_once('.').map_or(name, |(_, view)| view);
        return Finding::failed(Step::Collection, format!("{name} is a view; {}", collection_of(view)));
    }
    if state.logs_documents() {
        return Finding::failed(
            Step::Collection,
            format!(
                "the validator of {name} only warns: the server writes invalid documents, with patient data, to its log; \
                 `{command}` makes it refuse them"
            ),
        );
    }
    if !state.exists {
        return Finding::ok(Step::Collection, format!("{name} does not exist yet; the first load creates it"));
    }
    if !state.is_guarded_by(spec) {
        return Finding::warning(
            Step::Collection,
            format!("{name} does not have the validator of the spec {}; `{command}` attaches it", spec.name),
        );
    }
    if !state.building.is_empty() {
        let names = state.building.join(", ");
        return Finding::warning(Step::Collection, format!("the indexes {names} of {name} are still being built"));
    }
    Finding::ok(Step::Collection, format!("{name} has the validator of the spec {}", spec.name))
}

/// Checks that the collections of the state have their indexes. Returns `None` if the documents are not messages, or if
/// nothing was folded yet.
pub(super) async fn state(target: &Target, spec: &Spec) -> Option<Finding> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (name, wanted) in indexes().into_iter().filter(|_| is_folded(spec)) {
        let listed = match read_raw(&target.in_collection(name)).await {
            Ok(listed) => listed,
            Err(ServerError::Command { failure, .. }) => return Some(Finding::unseen(Step::Collection, &failure)),
            Err(other) => return Some(Finding::failed(Step::Collection, other.to_string())),
        };
        if first_batch(&listed).next().is_none() {
            continue;
        }
        found.push(name);
        let lacking = missing_indexes(&wanted, &listed);
        missing.extend(lacking.iter().filter_map(|index| Some(format!("{} of {name}", index.get_str("name").ok()?))));
    }
    if missing.is_empty() {
        let message = || format!("{} have the indexes by which documents of a patient are found", found.join(", "));
        return (!found.is_empty()).then(|| Finding::ok(Step::Collection, message()));
    }
    let command = schema::provision_command(target, spec);
    let message = format!("missing indexes: {}; `{command}` builds them", missing.join(", "));
    Some(Finding::warning(Step::Collection, message))
}

/// Returns the advice for a user who gave the name of a view.
pub(super) fn collection_of(view: &str) -> String {
    let given = collection_of_view(view).map(|collection| format!(": --collection {}", shell_word(collection)));
    format!("give the name of a collection{}", given.unwrap_or_default())
}

/// Sends a write that matches no document. The server acknowledges it like any other write, so this shows whether a
/// majority can acknowledge writes.
pub(super) async fn write_concern(target: &Target, ledger: &str) -> Finding {
    let nothing = doc! { "_id": Uuid::new() };
    let command = doc! {
        "update": ledger,
        "updates": [{ "q": nothing, "u": { "$set": { "doctor": true } } }],
        "writeConcern": { "w": "majority", "j": true, "wtimeout": ACKNOWLEDGE_TIMEOUT_MS },
    };
    match target.look(command).await {
        Ok(reply) => match Failure::in_answer(&reply) {
            Some(failure) => Finding::failed(Step::WriteConcern, failure.to_string()),
            None => Finding::ok(Step::WriteConcern, "a journaled majority acknowledges writes"),
        },
        Err(failure) => Finding::unseen(Step::WriteConcern, &failure),
    }
}

/// Checks the free space on the disk with the database.
pub(super) async fn disk(target: &Target) -> Finding {
    match target.look(doc! { "dbStats": 1 }).await {
        Ok(stats) => free_space(&stats),
        Err(failure) => Finding::unseen(Step::Disk, &failure),
    }
}

/// Makes the finding about the free space, from the answer to `dbStats`. A mongos adds up the values of all shards, and
/// has the answer of each shard in `raw`. The shard with the worst finding counts.
fn free_space(stats: &Document) -> Finding {
    let of_shard = |(shard, stats): (&String, &Bson)| {
        let found = free_space(stats.as_document()?);
        let name = shard.split('/').next().unwrap_or(shard);
        Some(Finding { message: format!("shard {name}: {}", found.message), ..found })
    };
    let shards = stats.get_document("raw").into_iter().flatten().filter_map(of_shard);
    if let Some(worst) = shards.max_by_key(|finding| finding.state) {
        return worst;
    }
    // For a database that does not exist, the server reports 0.
    let total = number(stats, "fsTotalSize").filter(|total| *total > 0.0);
    let (Some(used), Some(total)) = (number(stats, "fsUsedSize"), total) else {
        return Finding::new(Step::Disk, super::State::Skipped, "the server does not report the free space");
    };
    let free = total - used;
    let message = format!("{:.1} GiB free of {:.1} GiB", free / FREE_BYTES_MIN, total / FREE_BYTES_MIN);
    if free < FREE_BYTES_MIN || free < total * FREE_SHARE_MIN {
        return Finding::warning(
            Step::Disk,
            format!("{message}; free disk space before a load: a full disk stops the server"),
        );
    }
    Finding::ok(Step::Disk, message)
}

/// Checks the settings for the logging of slow operations and for the profiler. Both record queries with their values.
pub(super) async fn logging(target: &Target) -> Finding {
    match target.look(doc! { "profile": -1 }).await {
        Ok(profile) => {
            let finding = logged(&profile, &target.database);
            if target.is_mongos().await.unwrap_or(false) { of_mongos_only(finding) } else { finding }
        }
        Err(failure) => Finding::unseen(Step::Logging, &failure),
    }
}

/// Each shard has settings of its own for the logging, and a mongos only knows its own.
fn of_mongos_only(mut finding: Finding) -> Finding {
    finding.message.push_str(" (this is the mongos only; check each shard too)");
    finding
}

/// Makes the finding about the logging, from the answer to `profile`.
fn logged(profile: &Document, database: &str) -> Finding {
    let slow_ms = number(profile, "slowms").map_or(SLOW_MS_DEFAULT, |slow_ms| slow_ms as i64);
    if number(profile, "was").is_some_and(|level| level > 0.0) {
        return Finding::warning(
            Step::Logging,
            format!(
                "the profiler of {database} is on and stores queries with patients' values; switch it off with db.setProfilingLevel(0)"
            ),
        );
    }
    if slow_ms < SLOW_MS_DEFAULT {
        return Finding::warning(
            Step::Logging,
            format!(
                "operations over {slow_ms} ms are logged, with patients' values; log fewer with \
                 db.setProfilingLevel(0, {{ slowms: 1000 }})"
            ),
        );
    }
    Finding::ok(
        Step::Logging,
        format!("operations over {slow_ms} ms are logged with values: protect the log like the data"),
    )
}

fn number(document: &Document, name: &str) -> Option<f64> {
    match document.get(name)? {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const GIB: i64 = 1 << 30;

    #[test]
    fn a_disk_needs_a_gibibyte_and_a_tenth_of_its_size_free() {
        let check = |used: i64, total: i64, state: State, message: &str| {
            let found = free_space(&doc! { "fsUsedSize": used as f64, "fsTotalSize": total as f64 });
            assert!(found.state == state && found.message.starts_with(message), "{found:?}");
        };
        check(3 * GIB, 4 * GIB, State::Ok, "1.0 GiB free of 4.0 GiB");
        check(3 * GIB + 1, 4 * GIB, State::Warning, "1.0 GiB free of 4.0 GiB; free disk space");
        check(90 * GIB, 100 * GIB, State::Ok, "10.0 GiB free of 100.0 GiB");
        check(90 * GIB + 1, 100 * GIB, State::Warning, "10.0 GiB free of 100.0 GiB; free disk space");
        for stats in [
            doc! {},
            doc! { "fsUsedSize": 0, "fsTotalSize": 0 },
            doc! { "fsTotalSize": 5_i64 },
            doc! { "fsUsedSize": 5 },
        ] {
            assert_eq!(free_space(&stats).state, State::Skipped, "{stats}");
        }
        assert_eq!(free_space(&doc! { "fsUsedSize": 0, "fsTotalSize": 4 * GIB }).state, State::Ok);
    }

    #[test]
    fn in_a_sharded_cluster_the_fullest_disk_counts() {
        let disk = |used: i64| doc! { "fsUsedSize": (used * GIB) as f64, "fsTotalSize": (100 * GIB) as f64, "ok": 1.0 };
        let all = doc! { "fsUsedSize": 0.0, "fsTotalSize": (200 * GIB) as f64, "ok": 1.0 };
        let check = |used: [i64; 2], state: State, start: &str| {
            let mut answer = doc! { "raw": { "A/a1:27018,a2:27018": disk(used[0]), "B/b1:27018": disk(used[1]) } };
            answer.extend(all.clone());
            let found = free_space(&answer);
            assert!(found.state == state && found.message.starts_with(start), "{found:?}");
        };
        check([50, 95], State::Warning, "shard B: 5.0 GiB free of 100.0 GiB; free disk space");
        check([95, 50], State::Warning, "shard A: 5.0 GiB free");
        check([50, 60], State::Ok, "shard B: 40.0 GiB free of 100.0 GiB");
    }

    #[test]
    fn the_logging_of_the_shards_is_not_known() {
        let found = of_mongos_only(logged(&doc! { "was": 0, "slowms": 100 }, "ward"));
        assert!(
            found.state == State::Ok && found.message.ends_with("the mongos only; check each shard too)"),
            "{found:?}"
        );
    }

    #[test]
    fn an_active_profiler_and_a_low_threshold_are_warnings() {
        let check = |profile: Document, state: State, part: &str| {
            let found = logged(&profile, "ward");
            assert!(found.state == state && found.message.contains(part), "{found:?}");
        };
        check(doc! { "was": 0, "slowms": 100 }, State::Ok, "operations over 100 ms");
        check(doc! { "was": 0 }, State::Ok, "operations over 100 ms");
        check(doc! { "was": 0, "slowms": 101_i64 }, State::Ok, "operations over 101 ms");
        check(doc! { "was": 0, "slowms": 99.0 }, State::Warning, "operations over 99 ms are logged, with");
        for level in [1, 2] {
            check(doc! { "was": level, "slowms": 100 }, State::Warning, "the profiler of ward is on");
        }
    }

    #[test]
    fn each_state_of_a_collection_has_its_finding() {
        let spec = Spec::built_in();
        let good = CollectionState { exists: true, validator: schema::validator(&spec), ..CollectionState::default() };
        let check = |state: &CollectionState, expected: State, part: &str| {
            let found = guard(state, "d.c_deidentified", "medlift provision -c x", &spec);
            assert!(found.state == expected && found.message.contains(part), "{found:?}");
        };
        let word = |word: &str| Some(word.to_owned());
        check(&good, State::Ok, "d.c_deidentified has the validator of the spec admissions");
        check(&CollectionState::default(), State::Ok, "does not exist yet");
        check(
            &CollectionState { is_view: true, ..good.clone() },
            State::Failed,
            "is a view; give the name of a collection: --collection c",
        );
        check(
            &CollectionState { validation_action: word("warn"), ..good.clone() },
            State::Failed,
            "`medlift provision -c x` makes it refuse them",
        );
        check(
            &CollectionState { validation_level: word("moderate"), ..good.clone() },
            State::Warning,
            "`medlift provision -c x` attaches it",
        );
        check(
            &CollectionState { validator: Document::new(), ..good.clone() },
            State::Warning,
            "does not have the validator",
        );
        let building = vec!["a".to_owned(), "b".to_owned()];
        check(
            &CollectionState { building, ..good },
            State::Warning,
            "the indexes a, b of d.c_deidentified are still being built",
        );
    }
}
