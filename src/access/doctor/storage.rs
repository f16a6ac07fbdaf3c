//! Examines the collection's validator, the acknowledgement of writes, the disk, and the logging of operations.

use bson::{Bson, Document, Uuid, doc};

use super::{Finding, Step};
use crate::access::schema;
use crate::access::{AccessError, Failure, Target};
use crate::spec::Spec;

/// Time limit for a majority to acknowledge a write that changes nothing.
const ACKNOWLEDGE_TIMEOUT_MS: i64 = 5_000;
/// Minimum free space on the disk. mongod stops if it cannot write its journal.
const FREE_BYTES_MIN: f64 = 1024.0 * 1024.0 * 1024.0;
const FREE_SHARE_MIN: f64 = 0.1;
/// The server's own default for `slowms`.
const SLOW_MS_DEFAULT: i64 = 100;

/// Checks that the collection refuses documents that violate the spec.
pub(super) async fn collection(target: &Target, spec: &Spec) -> Finding {
    let name = format!("{}.{}", target.database, target.collection);
    let state = match schema::read(target).await {
        Ok(state) => state,
        Err(AccessError::Command { failure, .. }) => return Finding::unseen(Step::Collection, &failure),
        Err(other) => return Finding::failed(Step::Collection, other.to_string()),
    };
    if state.is_view {
        return Finding::failed(Step::Collection, format!("{name} is a view; nothing can be loaded into it"));
    }
    if state.logs_documents() {
        return Finding::failed(
            Step::Collection,
            format!(
                "the validator of {name} only warns: the server writes whole documents into its log; \
                 `medlift provision` sets it to refuse them"
            ),
        );
    }
    if !state.exists {
        return Finding::ok(Step::Collection, format!("{name} does not exist yet; the first load makes it"));
    }
    if !state.is_guarded_by(spec) {
        return Finding::warning(
            Step::Collection,
            format!("{name} has not the validator of the spec {}; `medlift provision` attaches it", spec.name),
        );
    }
    if !state.building.is_empty() {
        let names = state.building.join(", ");
        return Finding::warning(Step::Collection, format!("the indexes {names} of {name} are still being built"));
    }
    Finding::ok(Step::Collection, format!("{name} is guarded by the validator of the spec {}", spec.name))
}

/// Tries a write that matches no document. Its acknowledgement still waits for the majority.
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
            None => Finding::ok(Step::WriteConcern, "a journaled majority acknowledges"),
        },
        Err(failure) => Finding::unseen(Step::WriteConcern, &failure),
    }
}

/// Reports the free space on the disk that contains the database.
pub(super) async fn disk(target: &Target) -> Finding {
    let stats = match target.look(doc! { "dbStats": 1 }).await {
        Ok(stats) => stats,
        Err(failure) => return Finding::unseen(Step::Disk, &failure),
    };
    // If the database does not exist yet, the server reports 0.
    let total = number(&stats, "fsTotalSize").filter(|total| *total > 0.0);
    let (Some(used), Some(total)) = (number(&stats, "fsUsedSize"), total) else {
        return Finding::new(Step::Disk, super::State::Skipped, "the server does not tell");
    };
    let free = total - used;
    let message = format!("{:.1} GiB free of {:.1} GiB", free / FREE_BYTES_MIN, total / FREE_BYTES_MIN);
    if free < FREE_BYTES_MIN || free < total * FREE_SHARE_MIN {
        return Finding::warning(
            Step::Disk,
            format!("{message}; make room before a load: a full disk stops the server"),
        );
    }
    Finding::ok(Step::Disk, message)
}

/// Reports the settings for slow operations and for the profiler. Both record operations with the values in their
/// queries.
pub(super) async fn logging(target: &Target) -> Finding {
    let profile = match target.look(doc! { "profile": -1 }).await {
        Ok(profile) => profile,
        Err(failure) => return Finding::unseen(Step::Logging, &failure),
    };
    let slow_ms = number(&profile, "slowms").map_or(SLOW_MS_DEFAULT, |slow_ms| slow_ms as i64);
    if number(&profile, "was").is_some_and(|level| level > 0.0) {
        return Finding::warning(
            Step::Logging,
            format!(
                "the profiler of {} is on and stores queries with their values; db.setProfilingLevel(0)",
                target.database
            ),
        );
    }
    if slow_ms < SLOW_MS_DEFAULT {
        return Finding::warning(
            Step::Logging,
            format!(
                "operations over {slow_ms} ms are logged, and the lines quote patients' values; \
                 db.setProfilingLevel(0, {{ slowms: 1000 }})"
            ),
        );
    }
    Finding::ok(
        Step::Logging,
        format!("operations over {slow_ms} ms are logged with values: guard the log like the data"),
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
