//! The steps of the demonstration: it creates users, loads a file with rejects, verifies it, and shows documents.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use bson::{Bson, Document, doc};

use super::DATABASE;
use testkit::wire::Wire;
use testkit::{Doing, Error, Result};

const SAMPLE: &str = "sample.csv";
const REJECTS: &str = "sample.csv.rejects.csv";
const ROWS: &str = "10000";
const REJECTS_SHOWN: usize = 3;
const DOCUMENTS_SHOWN: i32 = 2;
/// medlift's exit code for a load with rejects. The sample contains damaged rows on purpose.
const LOADED_WITH_REJECTS: i32 = 4;
/// The variables that the commands get from the user. No other variable may change the demonstration: with
/// `MONGODB_URI` or `WRITER_USER`, for example, Medlift would use another server or user.
const KEPT_VARIABLES: [&str; 8] = ["PATH", "HOME", "TMPDIR", "TERM", "COLUMNS", "LANG", "LC_ALL", "NO_COLOR"];
const PASSWORDS: [&str; 5] = ["ADMIN_PASS", "WRITER_PASS", "READER_PASS", "LOADER_PASS", "ANALYST_PASS"];

/// Runs the commands and shows their results. The commands run in `dir`, where `.env` has the users' passwords.
pub(super) fn run(medlift: &Path, dir: &Path, uri: &str, server: &mut Wire) -> Result<()> {
    write_passwords(&dir.join(".env"))?;
    let show = |arguments: &[&str]| show(medlift, dir, arguments);
    show(&["provision", "--uri", uri])?;
    show_users(server)?;
    if !dir.join(SAMPLE).is_file() {
        show(&["generate", "--rows", ROWS, "--damage", "heavy", "--out", SAMPLE])?;
    }
    show(&["load", SAMPLE, "--uri", uri])?;
    show_rejects(&dir.join(REJECTS))?;
    show(&["verify", SAMPLE, "--uri", uri])?;
    show_documents(server, "admissions", "documents")?;
    show_documents(server, "admissions_deidentified", "what an analyst sees of them: the de-identified view")
}

/// Writes `.env` with random passwords, readable only by its owner. Keeps an existing file.
fn write_passwords(path: &Path) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let doing = || format!("writing {}", path.display());
    let mut random = File::open("/dev/urandom").doing(doing)?;
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).doing(doing)?;
    for name in PASSWORDS {
        let mut bytes = [0; 16];
        random.read_exact(&mut bytes).doing(doing)?;
        writeln!(file, "{name}={:032x}", u128::from_ne_bytes(bytes)).doing(doing)?;
    }
    Ok(())
}

fn show(medlift: &Path, dir: &Path, arguments: &[&str]) -> Result<()> {
    println!("\n$ medlift {}", arguments.join(" "));
    let mut command = isolated(medlift);
    let status =
        command.args(arguments).current_dir(dir).status().doing(|| format!("running {}", medlift.display()))?;
    match status.code() {
        Some(0 | LOADED_WITH_REJECTS) => Ok(()),
        _ => Err(Error::failed(format!("medlift {} failed: {status}", arguments[0]))),
    }
}

/// A command whose environment has only [`KEPT_VARIABLES`].
fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command
}

fn show_users(server: &mut Wire) -> Result<()> {
    let reply = server.command(&doc! { "usersInfo": 1, "$db": DATABASE })?;
    println!("\nusers and their roles:");
    for user in reply.get_array("users").into_iter().flatten().filter_map(Bson::as_document) {
        let roles: Vec<&str> = user.get_array("roles").into_iter().flatten().filter_map(role).collect();
        println!("  {:<9}{}", user.get_str("user").unwrap_or_default(), roles.join(", "));
    }
    Ok(())
}

fn role(granted: &Bson) -> Option<&str> {
    granted.as_document()?.get_str("role").ok()
}

/// Shows the first lines of the reject file.
fn show_rejects(path: &Path) -> Result<()> {
    let file = File::open(path).doing(|| format!("opening {}", path.display()))?;
    println!("\nthe first rejects, in {}:", path.display());
    for line in BufReader::new(file).lines().take(1 + REJECTS_SHOWN) {
        println!("  {}", line.doing(|| "reading the rejects".to_owned())?);
    }
    Ok(())
}

fn show_documents(server: &mut Wire, collection: &str, title: &str) -> Result<()> {
    println!("\n{title}:");
    for document in first_documents(server, collection)? {
        println!("  {document}");
    }
    Ok(())
}

fn first_documents(server: &mut Wire, collection: &str) -> Result<Vec<Document>> {
    let query = doc! { "find": collection, "limit": DOCUMENTS_SHOWN, "$db": DATABASE };
    let reply = server.command(&query)?;
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    Ok(batch.into_iter().flatten().filter_map(Bson::as_document).cloned().collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn commands_do_not_see_other_variables() {
        // This process has a variable that `isolated` must remove: cargo sets it for tests.
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some());
        let output = isolated(Path::new("env")).output().expect("runs");
        let variables = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(variables.contains("PATH="), "{variables}");
        let unexpected: Vec<&str> = variables
            .lines()
            .filter_map(|line| line.split('=').next())
            .filter(|name| !KEPT_VARIABLES.contains(name))
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }

    #[test]
    fn documents_of_a_collection_and_of_a_view_are_found() {
        let server = testkit::mongod::Server::builder().standalone().start().expect("starts");
        let address = (std::net::Ipv4Addr::LOCALHOST, server.port()).into();
        let mut wire = Wire::connect(address, std::time::Duration::from_secs(20)).expect("connects");
        let documents: Vec<Document> = (0..5).map(|n| doc! { "_id": n, "Age": n }).collect();
        wire.command(&doc! { "insert": "a", "documents": documents, "$db": DATABASE }).expect("inserts");
        let view = doc! { "create": "v", "viewOn": "a", "pipeline": [{ "$project": { "_id": 0 } }], "$db": DATABASE };
        wire.command(&view).expect("creates");
        assert_eq!(
            first_documents(&mut wire, "a").expect("found"),
            [doc! { "_id": 0, "Age": 0 }, doc! { "_id": 1, "Age": 1 }]
        );
        assert_eq!(first_documents(&mut wire, "v").expect("found"), [doc! { "Age": 0 }, doc! { "Age": 1 }]);
    }

    #[test]
    fn passwords_are_written_once_and_only_their_owner_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(".env");
        write_passwords(&path).expect("writes");
        let text = fs::read_to_string(&path).expect("reads");
        let passwords: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|line| line.split('=').nth(1)).collect();
        assert_eq!(passwords.len(), PASSWORDS.len());
        assert!(passwords.iter().all(|password| password.len() == 32));
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        write_passwords(&path).expect("keeps");
        assert_eq!(fs::read_to_string(&path).expect("reads"), text);
    }
}
