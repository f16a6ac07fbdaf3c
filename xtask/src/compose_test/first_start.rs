//! Tests deploy/init-mongo.js in the database's container. Deployments that do not run `medlift provision` use this
//! script.

use std::time::{Duration, Instant};

use super::stack::{Stack, docker};
use testkit::{Error, Result};

const START_TIMEOUT: Duration = Duration::from_mins(2);
/// Environment of the container. Its passwords are not secret: the container runs for seconds, and no other machine can
/// reach it.
const ENVIRONMENT: [&str; 8] = [
    "MONGO_INITDB_ROOT_USERNAME=chief",
    "MONGO_INITDB_ROOT_PASSWORD=first-start-root",
    "MONGO_ROOT_USER=chief",
    "MONGO_ROOT_PASS=first-start-root",
    "WRITER_PASS=first-start-w",
    "READER_PASS=first-start-r",
    "LOADER_PASS=first-start-l",
    "ANALYST_PASS=first-start-a",
];

/// Starts a database with deploy/init-mongo.js, and checks that `medlift provision` then has nothing left to do.
pub(super) fn check(stack: &Stack) -> Result<()> {
    let script = format!("{}:/docker-entrypoint-initdb.d/init-mongo.js:ro", stack.file("deploy/init-mongo.js"));
    let mut line = vec!["run", "--detach", "--rm", "--network", "none", "--volume", &script];
    line.extend(ENVIRONMENT.iter().flat_map(|setting| ["--env", setting]));
    line.extend([stack.mongo_image(), "mongod", "--auth"]);
    let container = docker(&line)?.trim().to_owned();
    let planned = plan_until_it_answers(stack, &container);
    docker(&["rm", "--force", "--volumes", &container])?;
    let planned = planned?;
    if planned.contains("nothing to do") {
        return Ok(());
    }
    Err(Error::failed(format!("after init-mongo.js, `medlift provision` still has steps to do:\n{planned}")))
}

fn plan_until_it_answers(stack: &Stack, container: &str) -> Result<String> {
    let network = format!("container:{container}");
    let mut line = vec!["run", "--rm", "--network", &network, "--read-only"];
    line.extend(ENVIRONMENT.iter().flat_map(|setting| ["--env", setting]));
    line.extend([stack.image(), "provision", "--plan", "--uri", "mongodb://127.0.0.1:27017/?directConnection=true"]);
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        // At its first start, the image starts the server, runs the script and restarts the server. Until then, the
        // sign-in fails.
        match docker(&line) {
            Ok(planned) if planned.contains("nothing to do") => return Ok(planned),
            answer if Instant::now() > deadline => return answer,
            _ => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}
