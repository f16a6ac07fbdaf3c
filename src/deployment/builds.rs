//! Builds the missing indexes of a collection.

use futures_util::future::join_all;

use super::indexes::{create_indexes_command, wait_for_builds};
use super::schema;
use crate::server::{ATTEMPTS_MAX, Failure, ServerError, Target, pause};
use crate::spec::{Index, Spec};

/// Maximum number of commands that build indexes at the same time. The server's default for
/// `maxNumActiveUserIndexBuilds` is the same, so further commands would wait.
const INDEX_BUILDS_MAX: usize = 3;

/// Builds the missing indexes of the spec. Succeeds when the server lists all of them as ready.
///
/// First waits for index builds that are already running on the collection, for example those of a load that was
/// killed. If it must wait, calls `waiting` with a message.
pub async fn build_indexes(target: &Target, spec: &Spec, mut waiting: impl FnMut(&str)) -> Result<(), ServerError> {
    let mut attempt = 1;
    loop {
        wait_for_builds(target, &mut waiting).await?;
        let state = schema::read(target).await?;
        let missing = state.missing_indexes(spec);
        if missing.is_empty() {
            return Ok(());
        }
        let error = match build(target, &missing).await {
            // The next iteration checks whether the server lists the indexes.
            Ok(()) if attempt < ATTEMPTS_MAX => None,
            Ok(()) => Some(ServerError::Command { doing: doing(target, &missing), failure: aborted() }),
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            if attempt >= ATTEMPTS_MAX || !error.failure().is_some_and(Failure::is_retryable) {
                return Err(error);
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        attempt += 1;
    }
}

/// Sends several commands at the same time, because the server uses only one core for the builds of one command.
/// Returns when all commands have ended. If a command failed, returns the first error.
async fn build(target: &Target, missing: &[&Index]) -> Result<(), ServerError> {
    let builds = missing.chunks(missing.len().div_ceil(INDEX_BUILDS_MAX).max(1)).map(|indexes| async {
        let command = create_indexes_command(&target.collection, indexes);
        let built = target.run_once(&target.database, command).await;
        built.map(drop).map_err(|failure| ServerError::Command { doing: doing(target, indexes), failure })
    });
    join_all(builds).await.into_iter().collect()
}

fn doing(target: &Target, indexes: &[&Index]) -> String {
    let names: Vec<&str> = indexes.iter().map(|index| index.name.as_str()).collect();
    format!("build the indexes {} of {}.{}", names.join(", "), target.database, target.collection)
}

pub(super) fn aborted() -> Failure {
    Failure::of_code(276, "IndexBuildAborted", None)
}
