//! Tests the options and exit codes of the built program: as which user each command signs in, and what each option
//! changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bson::doc;

use crate::load::{HEADER, Place, block_on, counts, row, spec_without_age, text};
use crate::program::{bash, medlift};
use crate::server::shared;

/// The server has no users. It refuses the sign-in, and the message names the user whom the command chose.
#[test]
fn each_command_signs_in_as_the_user_with_the_fitting_rights() {
    let place = Place::new("purposes");
    let path = place.sample("a.csv", 3, "none");
    let (path, uri) = (text(&path), shared().uri());
    let check = |arguments: &[&str], accounts: &[&str], user: &str, database: &str| {
        let mut program = medlift(arguments).env("MONGODB_URI", &uri).env("DB_NAME", &place.database);
        for account in accounts {
            program = program.env(&format!("{account}_PASS"), "k4Tz-9pLmw2x");
        }
        let run = program.run().expect_code(3);
        let expected = format!("database `{database}` has no user `{user}`");
        assert!((run.stdout + &run.stderr).contains(&expected), "the output of {arguments:?} must contain: {expected}");
    };
    let all = ["MONGO_ROOT", "ADMIN", "WRITER", "READER", "LOADER", "ANALYST"];
    check(&["load", path], &all, "loader", &place.database);
    check(&["verify", path], &all, "reader", &place.database);
    check(&["export"], &all, "reader", &place.database);
    check(&["doctor"], &all, "loader", &place.database);
    check(&["provision", "--plan"], &all, "admin", "admin");
    check(&["load", path], &["WRITER", "READER"], "writer", &place.database);
    check(&["verify", path], &["WRITER", "LOADER"], "loader", &place.database);
    let named = ["export", "--username", "ann", "--password=k4Tz-9pLmw2x", "--authentication-database", "ward"];
    check(&named, &all, "ann", "ward");
}

#[test]
fn an_export_reports_how_many_documents_it_wrote_and_how_many_do_not_fit_the_spec() {
    let place = Place::new("export_says");
    place.load(&place.sample("a.csv", 5, "none"), &[], 0);
    let documents = place.documents();
    let other = documents.insert_one(doc! { "_id": 1 }).bypass_document_validation(true);
    block_on(async { other.await.unwrap() });
    let uri = shared().uri();
    let export = |options: &[&str], code: i32| {
        medlift(["export", "--uri", &uri, "--db", &place.database].iter().chain(options)).run().expect_code(code)
    };
    let skipped = export(&["--skip-foreign"], 0);
    assert_eq!(skipped.stdout.lines().count(), 6);
    assert!(skipped.stderr.contains("5 documents exported\n"), "{}", skipped.stderr);
    assert!(skipped.stderr.contains("1 document does not fit the spec and was left out"), "{}", skipped.stderr);
    let whole = export(&["--type", "json", "--quiet"], 0);
    assert_eq!(whole.stdout.lines().count(), 6);
    assert!(!whole.stderr.contains("documents exported"), "{}", whole.stderr);
    assert!(whole.stderr.contains("1 document does not fit the spec and was exported unchanged"), "{}", whole.stderr);
    assert_eq!(export(&["--type", "json", "--limit", "2"], 0).stdout.lines().count(), 2);
    assert!(export(&[], 1).stderr.contains("1 document of the collection does not fit the spec"));
}

#[test]
fn generated_rows_depend_on_number_seed_and_damage() {
    let generate = |options: &[&str]| medlift(std::iter::once(&"generate").chain(options)).run().expect_code(0).stdout;
    let usual = generate(&["--rows", "200"]);
    assert_eq!(usual.lines().count(), 201);
    assert_eq!(generate(&["--rows", "200", "--seed", "1", "--damage", "typical"]), usual);
    assert_ne!(generate(&["--rows", "200", "--seed", "2"]), usual);
    let rejected = |damage: &str| {
        let rows = generate(&["--rows", "2000", "--damage", damage]);
        let run = medlift(["load", "-n", "-", "--json", "--quiet"]).input(rows).run();
        let summary: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        (
            run.code,
            summary["counts"]["rejected"].as_u64().unwrap() > 0,
            summary["counts"]["duplicates"].as_u64().unwrap() > 0,
        )
    };
    assert_eq!(rejected("none"), (Some(0), false, false));
    assert_eq!(rejected("typical"), (Some(0), false, true));
    assert_eq!(rejected("heavy"), (Some(4), true, true));
}

#[test]
fn an_export_with_a_query_has_only_the_documents_that_match() {
    let place = Place::new("query");
    let rows = [("Ann Lee", "30"), ("Bea Lee", "70"), ("Cy Lee", "80")];
    let rows = rows.map(|(name, age)| row(name, age, "O+", "2024-01-31", "2024-02-02"));
    place.load(&place.write("a.csv", format!("{HEADER}\n{}\n", rows.join("\n"))), &[], 0);
    let uri = shared().uri();
    let export = |options: &[&str], code: i32| {
        medlift(["export", "--uri", &uri, "--db", &place.database].iter().chain(options)).run().expect_code(code)
    };
    let old = export(&["--query", r#"{"Age": {"$gte": 65}}"#], 0);
    assert_eq!(old.stdout.lines().count(), 3);
    assert!(!old.stdout.contains("Ann") && old.stdout.contains("Bea") && old.stdout.contains("Cy"));
    assert!(old.stderr.contains("2 documents match the query, 2 exported; the file has no other"), "{}", old.stderr);
    let one = export(&["-q", r#"{"Name": {"$regex": "^ann", "$options": "i"}}"#, "--type", "json"], 0);
    assert_eq!(one.stdout.lines().count(), 1);
    let none = export(&["-q", r#"{"Name": "nobody"}"#], 0);
    assert!(none.stderr.contains("0 documents match the query"), "{}", none.stderr);
    let broken = export(&["-q", "{Name: 'Ann'}"], 2).stderr;
    assert!(broken.contains("--query is not valid JSON") && broken.contains("line 1, column 2"), "{broken}");
    let unknown = export(&["-q", r#"{"Age": {"$older": 65}}"#], 1).stderr;
    assert!(unknown.contains("check the query"), "{unknown}");
}

#[test]
fn the_server_is_given_by_host_and_port_or_by_a_file() {
    let place = Place::new("host");
    let path = place.sample("a.csv", 3, "none");
    let (path, port) = (text(&path), shared().port().to_string());
    let load = |options: &[&str]| medlift([&["load", path, "--db", &place.database, "--headerline"], options].concat());
    load(&["--host", "127.0.0.1", "--port", &port]).run().expect_code(0);
    load(&["--port", &port]).env("MONGODB_URI", "mongodb://127.0.0.1:1").run().expect_code(0);
    let config = place.write("config.yaml", format!("uri: {}\n", shared().uri()));
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let loose = load(&["--config", text(&config)]).run().expect_code(0).stderr;
    assert!(loose.contains("warning: other users can read"), "{loose}");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let private = load(&["--config", text(&config)]).run().expect_code(0).stderr;
    assert!(!private.contains("warning"), "{private}");
    let twice = load(&["--host", "h", "mongodb://h"]).run().expect_code(2).stderr;
    assert!(twice.contains("the server is given twice"), "{twice}");
    let export = ["export", "--config", text(&config), "--out", text(&config)];
    let kept = medlift(export).run().expect_code(2).stderr;
    assert!(kept.contains("is an input"), "{kept}");
}

/// In `-p data.csv`, the file is a source and not the password. In `-p secret data.csv`, `secret` is refused and not
/// taken for a source.
#[test]
fn the_password_option_does_not_take_the_next_argument() {
    let place = Place::new("detached");
    let path = place.sample("a.csv", 3, "none");
    let load = |options: &[&str]| {
        medlift([&["load", "--db", &place.database, "-u", "writer"], options].concat())
            .env("MONGODB_URI", shared().uri())
    };
    // `setsid` starts the program without a terminal to ask on.
    let program = env!("CARGO_BIN_EXE_medlift");
    let script = format!("setsid -w {program} load --uri '{}' -u writer -p '{}'", shared().uri(), text(&path));
    let run = bash(&script).output().expect("bash runs");
    let asked = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{asked}");
    assert!(asked.contains("cannot ask for the password") && asked.contains("-pPASSWORD"), "{asked}");
    let detached = load(&["-p", "k4Tz-9pLmw2x", text(&path)]).run().expect_code(2).stderr;
    assert!(detached.contains("write -pPASSWORD or --password=PASSWORD"), "{detached}");
    for attached in ["-pk4Tz-9pLmw2x", "--password=k4Tz-9pLmw2x"] {
        let refused = load(&[attached, text(&path)]).run().expect_code(3).stderr;
        assert!(refused.contains("has a user `writer`; check the spelling of --db"), "{refused}");
        assert!(!refused.contains("k4Tz"), "{refused}");
    }
    assert!(!detached.contains("k4Tz"), "{detached}");
}

#[test]
fn a_collection_that_does_not_exist_is_an_error_that_names_the_others() {
    let place = Place::new("no_collection");
    let path = place.sample("a.csv", 3, "none");
    let (path, out) = (text(&path), place.dir.path().join("out.csv"));
    let export = ["export", "--out", text(&out)];
    // The message lists the other databases of the server, so there must be at least one.
    let other = Place::new("no_collection_here").documents();
    block_on(async { other.insert_one(doc! { "_id": 1 }).await.unwrap() });
    let none = place.run(&export).expect_code(1).stderr;
    let name = &place.database;
    let expected =
        format!("collection {name}.admissions does not exist; there is no database `{name}`; the server has ");
    assert!(none.contains(&expected) && none.contains("choose one with --db"), "{none}");
    place.run(&["load", path, "--no-verify"]).expect_code(0);
    for command in [&export[..], &["verify", path]] {
        let run = place.run(&[command, &["-c", "admisions"]].concat()).expect_code(1);
        let expected = format!(
            "collection {}.admisions does not exist; the database has admissions; choose one with --collection",
            place.database
        );
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
    }
    assert!(!out.exists());
    // An empty collection can be exported.
    let documents = place.documents();
    block_on(async { documents.delete_many(doc! {}).await.unwrap() });
    place.run(&export).expect_code(0);
    assert_eq!(fs::read_to_string(&out).expect("written").lines().count(), 1);
    place.run(&["verify", path]).expect_code(5);
}

#[test]
fn every_outcome_of_a_command_has_its_exit_code() {
    let place = Place::new("codes");
    let good = place.write("a.csv", format!("{HEADER}\n{}\n", row("Ann Lee", "30", "O+", "2024-01-31", "2024-02-02")));
    let bad = place.write("b.csv", format!("{HEADER}\n{}\n", row("Bea Lee", "200", "O+", "2024-01-31", "2024-02-02")));
    let (good, bad) = (text(&good), text(&bad));
    let code = |arguments: &[&str], expected: i32| place.run(arguments).expect_code(expected);
    code(&["verify", good], 1);
    code(&["load", good], 0);
    let proof = code(&["verify", good], 0).stdout;
    assert_eq!(proof.trim_end().len() + 1, proof.len(), "the output must end with exactly one line end: {proof:?}");
    code(&["load", bad], 4);
    code(&["load", "-n", bad], 4);
    code(&["load", "-n", bad, "--max-rejects", "1"], 4);
    code(&["load", bad, "--reload", "--stop-on-error"], 1);
    code(&["load", bad, "--reload", "--max-rejects", "0"], 1);
    let documents = place.documents();
    let other = documents.insert_one(doc! { "_id": 1 }).bypass_document_validation(true);
    block_on(async { other.await.unwrap() });
    code(&["verify", good], 5);
    code(&["verify", good, "--ignore-extra"], 0);
    let set_age = |age: i32| doc! { "$set": { "Age": age } };
    block_on(async { documents.update_one(doc! { "Name": "Ann Lee" }, set_age(31)).await.unwrap() });
    code(&["verify", good, "--ignore-extra"], 5);
    code(&["load", "nowhere.csv"], 1);
    code(&["load"], 2);
    code(&["load", good, "--mode", "replace"], 2);
    code(&["load", good, "--drop"], 2);
    code(&["load", good, "--db", "admin"], 2);
    medlift(["--help"]).run().expect_code(0);
    medlift(["nonsense"]).run().expect_code(2);
    let closed = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200";
    for line in [&["load", good][..], &["verify", good], &["export"], &["doctor"]] {
        medlift(line.iter().chain(&["--uri", closed])).run().expect_code(3);
    }
}

#[test]
fn a_pattern_that_the_validator_leaves_out_is_named_by_the_check_of_a_spec() {
    let place = Place::new("spec_check");
    let spec = |pattern: &str| {
        format!(
            "name = \"t\"\n[[field]]\nname = \"code\"\ntype = \"string\"\npattern = '{pattern}'\nprivacy = \"none\"\n"
        )
    };
    let check = |name: &str, pattern: &str| {
        let path = place.write(name, spec(pattern));
        let run = medlift(["spec", "check", text(&path)]).run().expect_code(0);
        assert!(run.stdout.contains("ok, t with 1 fields"), "{}", run.stdout);
        run.stderr
    };
    assert_eq!(check("a.toml", "x+"), "");
    let notice = check("b.toml", "\\bx+");
    assert!(notice.contains("code: a load checks the pattern") && notice.contains("word boundaries"), "{notice}");
    let wrong = place.write("c.toml", spec("(").replace("name = \"t\"\n", ""));
    medlift(["spec", "check", text(&wrong)]).run().expect_code(2);
    let shown = medlift(["spec", "show", "--spec", text(&place.dir.path().join("a.toml"))]).run().expect_code(0).stdout;
    assert_eq!(shown, fs::read_to_string(place.dir.path().join("a.toml")).unwrap());
}

#[test]
fn steps_are_reported_only_with_verbose() {
    let place = Place::new("verbose");
    let path = place.sample("a.csv", 3, "none");
    let uri = shared().uri();
    let said = |options: &[&str]| {
        let arguments = ["load", text(&path), "--uri", &uri, "--db", &place.database, "--reload"];
        medlift(arguments.iter().chain(options)).run().expect_code(0).stderr
    };
    assert_eq!((said(&[]).as_str(), said(&["--quiet"]).as_str()), ("", ""));
    assert!(said(&["--verbose"]).lines().count() > 1);
    assert!(said(&["-v"]).starts_with("medlift: ") && said(&["-vvv"]).starts_with("medlift: "));
}

/// Runs the program with its output to `head -1`, which ends after the first line. Returns the program's exit code and
/// the line.
fn first_line(arguments: &str) -> (Option<i32>, String) {
    let script = format!("{} {arguments} | head -1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_medlift"));
    let run = bash(&script).output().expect("bash runs");
    (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned())
}

#[test]
fn a_reader_that_closes_the_pipe_early_is_not_an_error() {
    let place = Place::new("pipes");
    place.load(&place.sample("a.csv", 3_000, "none"), &["--no-verify"], 0);
    let (code, line) = first_line("generate --rows 10000");
    assert_eq!((code, line.trim_end()), (Some(0), HEADER));
    let exported = first_line(&format!("export --uri '{}' --db {} --quiet", shared().uri(), place.database));
    assert!(exported.0 == Some(0) && exported.1.starts_with("Name,"), "{exported:?}");
    // Here the reader usually ends before the program writes its first byte. The test also passes if the reader ends
    // later.
    let script =
        format!("(sleep 0.2; exec {} spec show) | true; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_medlift"));
    let run = bash(&script).output().expect("bash runs");
    assert_eq!(run.status.code(), Some(0), "{run:?}");
}

#[test]
fn a_dry_run_resolves_conflicts_by_its_mode_and_writes_its_reject_file() {
    let place = Place::new("dry");
    let spec = place.write("spec.toml", spec_without_age("reject"));
    let rows = ["30", "31", "200"].map(|age| row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02"));
    let path = place.write("a.csv", format!("{HEADER}\n{}\n", rows.join("\n")));
    let counted = |mode: &str| {
        let rejects = place.dir.path().join(mode);
        let arguments =
            ["load", "-n", text(&path), "--spec", text(&spec), "--mode", mode, "--rejects", text(&rejects), "--json"];
        let run = medlift(arguments).run().expect_code(4);
        assert!(fs::read_to_string(&rejects).unwrap().contains("out_of_range"));
        counts(&serde_json::from_str(&run.stdout).unwrap(), &["written", "conflicts", "rejected"])
    };
    assert_eq!(counted("insert"), [1, 0, 2]);
    assert_eq!(counted("upsert"), [1, 1, 1]);
}

#[test]
fn verify_shows_values_of_others_only_with_show_values() {
    let place = Place::new("values");
    let path = place.sample("a.csv", 10, "none");
    let documents = place.documents();
    block_on(async move { documents.insert_one(doc! { "_id": "canary" }).await }).unwrap();
    let hidden = place.run(&["verify", text(&path)]).expect_code(5).stdout;
    assert!(hidden.contains("an _id of BSON type String") && !hidden.contains("canary"), "{hidden}");
    let shown = place.run(&["verify", text(&path), "--show-values"]).expect_code(5).stdout;
    assert!(shown.contains("canary"), "{shown}");
}

#[test]
fn a_query_that_cannot_match_gets_a_warning_and_a_refused_one_prints_nothing() {
    let place = Place::new("query");
    place.load(&place.sample("a.csv", 5, "none"), &[], 0);
    let export = |query: &str, code: i32| place.run(&["export", "--query", query]).expect_code(code);
    let check = |query: &str, warning: &str| {
        let run = export(query, 0);
        assert!(run.stderr.contains(warning) && !run.stderr.contains("Canary"), "{}", run.stderr);
        assert_eq!(run.stdout.lines().count(), 1, "only the header");
    };
    check(r#"{"Nam": "Canary"}"#, "warning: --query: the spec has no field `Nam`; did you mean `Name`?");
    check(r#"{"Date of Admission": "2024-01-31"}"#, r#"write it as {"$date": "2024-01-31T00:00:00Z"}"#);
    let all = export(r#"{"Date of Admission": {"$gte": {"$date": "1970-01-01T00:00:00Z"}}}"#, 0);
    assert_eq!((all.stdout.lines().count(), all.stderr.as_str()), (6, ""));
    // The server refuses these filters. Standard output must be empty, without even the header.
    for query in [r#"{"$unknown": 1}"#, r#"{"Age": {"$between": [1, 2]}}"#] {
        let refused = export(query, 1);
        assert_eq!(refused.stdout, "", "{}", refused.stderr);
    }
}

#[test]
fn errors_of_the_system_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], code: i32, part: &str| {
        let run = medlift(arguments).dir(dir.path()).run().expect_code(code);
        assert!(run.stderr.contains(part) && !run.stderr.contains("os error"), "{}", run.stderr);
    };
    let config = "cannot use --config nofile: there is no such file or directory; give a YAML file";
    check(&["export", "--config", "nofile"], 2, config);
    check(&["export", "--port", "abc"], 2, "give a whole number from 1 to 65535");
    check(&["export", "--limit", "many"], 2, "give a whole number");
    let generated =
        "cannot write nodir/x: there is no such file or directory; create the directory, or give another path";
    check(&["generate", "--rows", "1", "--out", "nodir/x"], 1, generated);
    let place = Place::new("nodir");
    place.load(&place.sample("a.csv", 5, "none"), &[], 0);
    let run = place.run(&["export", "--out", "nodir/x"]).expect_code(1);
    assert!(run.stderr.contains("nodir/x: there is no such file or directory; create the directory"), "{}", run.stderr);
    fs::write(dir.path().join(".env"), "# settings\nWRITER_PASS=pa55 w0rd\n").unwrap();
    let env = "cannot read ./.env: line 2: the value of WRITER_PASS cannot be read: put the value in single quotes";
    check(&["doctor"], 2, env);
    let hint = |command: &str| medlift([command, "file"]).run().expect_code(2).stderr;
    assert!(hint("provision").contains("use --spec") && hint("export").contains("use --out"));
}

#[test]
fn a_view_is_refused_before_anything_is_written() {
    let place = Place::new("view");
    let path = place.sample("a.csv", 5, "none");
    place.load(&path, &[], 0);
    let view = doc! { "create": "wards", "viewOn": "admissions", "pipeline": [] };
    let (uri, name) = (shared().uri(), place.database.clone());
    block_on(async move {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        client.database(&name).run_command(view).await.unwrap();
    });
    for command in ["load", "verify"] {
        let run = place.run(&[command, text(&path), "-c", "wards"]).expect_code(1);
        assert!(run.stderr.contains("wards is a view, which has no documents of its own"), "{}", run.stderr);
    }
}

#[test]
fn a_load_names_the_validator_that_it_replaces() {
    let place = Place::new("replaces");
    let path = place.sample("a.csv", 5, "none");
    let (uri, name) = (shared().uri(), place.database.clone());
    let create = doc! { "create": "admissions", "validator": { "Age": { "$gte": 0 } } };
    block_on(async move {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        client.database(&name).run_command(create).await.unwrap();
    });
    let notes = place.load(&path, &[], 0)["collection_notes"].to_string();
    assert!(notes.contains("validator attached; it replaces a validator of `Age`"), "{notes}");
    let again = place.load(&path, &["--drop", "--yes"], 0)["collection_notes"].to_string();
    assert!(!again.contains("replaces"), "{again}");
}

#[test]
fn a_verification_counts_the_rejected_rows() {
    let place = Place::new("verify_rejected");
    let path = place.sample("a.csv", 500, "heavy");
    let rejected = place.load(&path, &[], 4)["counts"]["rejected"].as_u64().unwrap();
    assert!(rejected > 0);
    let run = place.run(&["verify", text(&path), "--json"]).expect_code(0);
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(result["rejected"], rejected);
    let shown = place.run(&["verify", text(&path)]).expect_code(0).stdout;
    assert!(shown.contains(&format!("  {:<20}{rejected:>12}\n", "rejected")), "{shown}");
}
