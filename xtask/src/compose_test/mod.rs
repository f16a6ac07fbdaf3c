//! Tests the real stack of compose.yaml: builds and starts the stack, loads data, signs in from outside, restarts the
//! database and removes the stack.

pub(crate) mod engine;
mod first_start;
mod passwords;
mod refusals;
mod secrets;
mod stack;

use std::path::PathBuf;

use serde_json::Value;

use crate::left_out;
use stack::Stack;
pub(crate) use stack::{docker, outcome, succeeds};
use testkit::{Doing, Error, Result, root};

/// Name of the real data set, and the number of documents that a load of it writes.
const REAL_FILE: &str = "healthcare_dataset.csv";
const REAL_DOCUMENTS: u64 = 54_966;
/// Limit for the size of Medlift's image. The image contains the binary, the certificate authorities and Debian's
/// minimal root file system. A larger image contains something by mistake.
const IMAGE_BYTES_MAX: u64 = 200_000_000;
const FORBIDDEN: &str = "Unauthorized";

/// Tests the stack if an engine and its images are available. Otherwise says what is missing, and succeeds.
pub fn run() -> Result<()> {
    let engine = match engine::find()? {
        Ok(engine) => engine,
        Err(missing) => {
            left_out::report(&format!(
                "the containers: the stack of compose.yaml, deploy/init-mongo.js, and the integration tests in a \
                 container; {missing}"
            ));
            return Ok(());
        }
    };
    stack::remove_abandoned(engine.compose)?;
    let stack = Stack::copy_of_tree(engine.compose, &engine.mongo_image, &real_file())?;
    let tested = test(&stack);
    if tested.is_err() {
        stack.show_logs();
    }
    stack.down()?;
    tested
}

fn real_file() -> PathBuf {
    root().join("../shared/data").join(REAL_FILE)
}

fn test(stack: &Stack) -> Result<()> {
    step("build the image");
    stack.compose(&["build", "app"])?;
    check_image(stack)?;
    step("start a database with init-mongo.js alone");
    first_start::check(stack)?;
    step("start the stack: the sample is loaded and verified");
    stack.compose(&["up", "-d"])?;
    stack.wait_for("app")?;
    let passwords = stack.passwords()?;
    let sample = stored(stack, &passwords)?;
    let again = load(stack, "sample.csv")?;
    expect(
        count(&again, "written")? == 0 && sample > 0,
        "the sample is loaded at the start, and a second load writes nothing",
    )?;
    let total = sample + load_real_file(stack)?;
    expect(stored(stack, &passwords)? == total, "the reader sees all loaded documents")?;
    step("a row with an error: its reject file has the name of the source");
    check_rejects(stack)?;
    step("a weak password and another root password in .env are refused, and forgotten when they are removed");
    refusals::check(stack)?;
    // In the step before, the user `reader` got a new password.
    let passwords = stack.passwords()?;
    step("sign in from outside as each user");
    check_rights(stack, &passwords)?;
    step("search for passwords in settings, command lines, logs and image layers");
    secrets::check(stack, &passwords)?;
    step("restart: the data is still there, and nothing is written again");
    stack.compose(&["restart", "mongo"])?;
    stack.compose(&["run", "--rm", "--no-deps", "initiate"])?;
    expect(stored(stack, &passwords)? == total, "the data is still there")?;
    expect(count(&load(stack, "sample.csv")?, "written")? == 0, "nothing is written again")?;
    let plan = stack.compose(&["run", "--rm", "provision", "provision", "--plan"])?;
    expect(plan.contains("nothing to do"), "provisioning has nothing left to do")?;
    stack.wait_until_healthy("mongo")?;
    step("a feed: it is healthy when the database takes writes");
    stack.compose(&["up", "-d", "feed"])?;
    stack.wait_until_healthy("feed")?;
    step("run the integration tests in the stack's network");
    stack.compose(&["build", "tests"])?;
    stack.compose(&["run", "--rm", "tests"])?;
    eprintln!("==> the containers passed");
    Ok(())
}

pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

pub(crate) fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::failed(format!("expected, but not true: {what}"))) }
}

fn check_image(stack: &Stack) -> Result<()> {
    let format = "{{.Size}} {{.Config.User}}";
    let inspected = docker(&["image", "inspect", "--format", format, stack.image()])?;
    let mut parts = inspected.split_whitespace();
    let bytes: u64 = parts.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(u64::MAX);
    eprintln!("    image {}: {} MB", stack.image(), bytes / 1_000_000);
    expect(bytes <= IMAGE_BYTES_MAX, "the image is small")?;
    expect(parts.next() == Some("medlift"), "the image runs as the user medlift")
}

/// Loads a file from data/ and returns the summary.
fn load(stack: &Stack, file: &str) -> Result<Value> {
    let summary = stack.compose(&["run", "--rm", "app", "load", &format!("/data/{file}"), "--json"])?;
    let from = summary.find('{').unwrap_or_default();
    serde_json::from_str(&summary[from..]).map_err(|error| Error::failed(format!("the summary is not JSON: {error}")))
}

fn count(summary: &Value, name: &str) -> Result<u64> {
    let counts = &summary["counts"];
    counts[name].as_u64().ok_or_else(|| Error::failed(format!("the summary has no count {name}: {counts}")))
}

/// Loads the real data set if it exists. Returns the number of documents that the load adds.
fn load_real_file(stack: &Stack) -> Result<u64> {
    if !real_file().is_file() {
        eprintln!("    skipped: {REAL_FILE} is not on this machine");
        return Ok(0);
    }
    step("load the real data set");
    let summary = load(stack, REAL_FILE)?;
    let written = count(&summary, "written")?;
    expect(written == REAL_DOCUMENTS, "all documents of the real data set are written")?;
    Ok(written)
}

/// Returns the number of documents that the user `reader` sees.
fn stored(stack: &Stack, passwords: &passwords::Passwords) -> Result<u64> {
    let counted = mongosh(stack, passwords, "reader", "db.getSiblingDB('hospital').admissions.countDocuments()")?;
    counted.trim().parse().map_err(|_| Error::failed(format!("the reader's count is not a number: {counted}")))
}

/// Runs a script as this user. Connects as a person would:
/// `mongosh --host mongo --port 27017 -u <username> -p <password> --authenticationDatabase <db>`.
fn mongosh(stack: &Stack, passwords: &passwords::Passwords, user: &str, script: &str) -> Result<String> {
    let password = passwords.of(user)?;
    let mut line = vec!["exec", "-T", "mongo", "mongosh", "--host", "mongo", "--port", "27017", "-u", user, "-p"];
    line.extend([password, "--authenticationDatabase", "hospital", "--quiet", "--eval", script]);
    outcome(&mut stack.compose_command(&line), &format!("mongosh as {user}"))
}

fn check_rejects(stack: &Stack) -> Result<()> {
    let sample = std::fs::read_to_string(stack.file("data/sample.csv")).doing(|| "reading the sample".to_owned())?;
    let header = sample.lines().next().unwrap_or_default();
    std::fs::write(stack.file("data/wrong.csv"), format!("{header}\nAnn Lee\n"))
        .doing(|| "writing a file with an error".to_owned())?;
    let mut load = stack.compose_command(&["run", "--rm", "app", "load", "/data/wrong.csv", "--json"]);
    let loaded = load.output().doing(|| "loading a file with an error".to_owned())?;
    let summary = String::from_utf8_lossy(&loaded.stdout);
    expect(loaded.status.code() == Some(4), "a load with rejects ends with 4")?;
    expect(summary.contains("\"/var/lib/medlift/wrong.csv.rejects.csv\""), "the summary names the reject file")
}

fn check_rights(stack: &Stack, passwords: &passwords::Passwords) -> Result<()> {
    let tried = |code: &str| {
        format!(
            "const h = db.getSiblingDB('hospital'); try {{ {code}; print('allowed') }} catch (e) {{ print(e.codeName) }}"
        )
    };
    for (user, code, expected) in [
        ("admin", "h.admissions.stats()", "allowed"),
        ("admin", "h.admissions.findOne()", FORBIDDEN),
        ("writer", "h.admissions.updateOne({_id: 0}, {$set: {Age: 1}})", "allowed"),
        ("writer", "h.dropDatabase()", FORBIDDEN),
        ("reader", "h.admissions.insertOne({})", FORBIDDEN),
        ("loader", "h.admissions.findOne()", "allowed"),
        ("loader", "h.admissions.deleteOne({_id: 0})", FORBIDDEN),
        ("loader", "h.admissions.drop()", FORBIDDEN),
        ("analyst", "h.admissions_deidentified.aggregate([{$count: 'n'}]).toArray()", "allowed"),
        ("analyst", "h.admissions.findOne()", FORBIDDEN),
    ] {
        let said = mongosh(stack, passwords, user, &tried(code))?;
        expect(said.trim() == expected, &format!("{user}: {code} is {expected}, but {}", said.trim()))?;
    }
    Ok(())
}
