//! Writes the wanted state of a deployment as a script for the first start of the database's container.

use std::fmt::Write;

use bson::{Bson, Document};

use super::changes::Changes;
use super::password::{COMMON, DISTINCT_MIN, LENGTH_MIN};
use super::wanted::{ACCOUNTS, Wanted, WantedUser};
use crate::spec::Spec;

/// A text may contain the name of a constant of the script. This character is then before and after the name. For
/// example, [`text`] writes `\u{1}collection\u{1}_deidentified` as the expression `collection + "_deidentified"`.
const MARK: char = '\u{1}';

/// Returns the script. mongosh executes it once, at the first start of the container. The script reads names and
/// passwords from the container's environment.
pub fn init_js(spec: &Spec, ledger: &str) -> String {
    let place = |name: &str| format!("{MARK}{name}{MARK}");
    let user = |account: crate::server::Account| {
        let constant = account.default_name();
        let (name, password) = (place(&format!("{constant}.name")), place(&format!("{constant}.password")));
        WantedUser {
            account,
            name,
            password: Some(password.into()),
            variable: account.password_variable(),
            reads_ranges: false,
        }
    };
    let wanted = Wanted {
        spec,
        database: place("database"),
        collection: place("collection"),
        ledger: ledger.to_owned(),
        users: ACCOUNTS.map(user).into(),
        sharding: None,
    };
    let mut script = head(spec);
    for step in Changes::from_nothing(&wanted).steps {
        for command in &step.commands {
            let _ = writeln!(script, "run({});", document(command, 0));
        }
    }
    script
}

fn head(spec: &Spec) -> String {
    let common = COMMON.map(|word| format!("\"{word}\"")).join(", ");
    let mut users = String::new();
    for account in ACCOUNTS {
        let (name, variable) = (account.default_name(), account.user_variable().trim_end_matches("_USER"));
        let _ = writeln!(users, "const {name} = user(\"{variable}\", \"{name}\");");
    }
    let own = text(&spec.collection);
    let collection = if spec.has_own_collection() { own } else { format!("variable(\"COLLECTION_NAME\") || {own}") };
    format!(
        r#"// Made by `medlift provision --emit-init-js` from the dataset spec `{spec}`. Do not edit: run it again.
//
// The official mongo image runs this once, on the first start with an empty volume, if it lies in
// /docker-entrypoint-initdb.d. Names and passwords come from the container's environment: DB_NAME, COLLECTION_NAME,
// and for each user its variable with _USER and _PASS (or _PASS_FILE). `medlift provision` brings an existing
// deployment to the same state.

const variable = (name) => {{
  const file = process.env[name + "_FILE"];
  return file ? require("fs").readFileSync(file, "utf8").replace(/\r?\n$/, "") : process.env[name];
}};
const user = (prefix, otherwise) => {{
  // Without ADMIN_USER and ADMIN_PASS, the administrator has the root user's name and password.
  const own = variable(prefix + "_USER") || variable(prefix + "_PASS");
  const source = prefix === "ADMIN" && !own ? "MONGO_ROOT" : prefix;
  const name = variable(source + "_USER") || otherwise;
  const password = variable(source + "_PASS") || "";
  const lower = password.toLowerCase();
  const weak = [...password].length < {LENGTH_MIN} || new Set(password).size < {DISTINCT_MIN} ||
    lower.includes(name.toLowerCase()) || [{common}].some((word) => lower.includes(word));
  if (weak) throw new Error(source + "_PASS is missing or too weak");
  return {{ name, password }};
}};
const database = variable("DB_NAME") || "hospital";
const collection = {collection};
{users}
const run = (command) => {{
  try {{
    db.getSiblingDB(database).runCommand(command);
  }} catch (error) {{
    // Do not show the server's message: it may quote the command with a password.
    throw new Error(Object.keys(command)[0] + " failed: " + error.codeName);
  }}
}};

"#,
        spec = spec.name,
    )
}

fn document(document: &Document, depth: usize) -> String {
    let inner = "  ".repeat(depth + 1);
    let entries: Vec<_> =
        document.iter().map(|(name, entry)| format!("{inner}{}: {}", text(name), value(entry, depth + 1))).collect();
    if entries.is_empty() {
        return "{}".to_owned();
    }
    format!("{{\n{}\n{}}}", entries.join(",\n"), "  ".repeat(depth))
}

/// Writes a value with its BSON type. Otherwise the validator that the script creates would differ from the one that
/// provisioning expects.
fn value(value: &Bson, depth: usize) -> String {
    match value {
        Bson::Document(inner) => document(inner, depth),
        Bson::Array(items) => {
            format!("[{}]", items.iter().map(|item| self::value(item, depth)).collect::<Vec<_>>().join(", "))
        }
        Bson::String(string) => text(string),
        Bson::Int32(number) => format!("Int32({number})"),
        Bson::Int64(number) => format!("Long(\"{number}\")"),
        Bson::Double(number) => format!("Double({number})"),
        Bson::Decimal128(number) => format!("NumberDecimal(\"{number}\")"),
        Bson::Boolean(truth) => truth.to_string(),
        _ => "null".to_owned(),
    }
}

/// Writes a text as JSON. If the text contains names of constants between [`MARK`] characters, writes an expression,
/// for example `collection + "_deidentified"`.
fn text(text: &str) -> String {
    let parts = text.split(MARK).enumerate().filter(|(_, part)| !part.is_empty());
    let shown: Vec<String> = parts.map(|(at, part)| if at % 2 == 1 { part.to_owned() } else { json(part) }).collect();
    if shown.is_empty() { json("") } else { shown.join(" + ") }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_under_deploy_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/init-mongo.js");
        let current = init_js(&Spec::built_in(), "medlift_runs");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == current,
            "deploy/init-mongo.js is out of date: medlift provision --emit-init-js > deploy/init-mongo.js"
        );
    }

    #[test]
    fn the_script_for_messages_has_the_state() {
        let spec = crate::spec::Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind");
        let script = init_js(&spec, "medlift_runs");
        for part in ["\"create\": \"patients\"", "collection + \".folded\"", "\"create\": \"visits_deidentified\""] {
            assert!(script.contains(part), "{part}: {script}");
        }
        assert!(script.contains("const collection = \"messages\";"), "{script}");
        assert!(!init_js(&Spec::built_in(), "medlift_runs").contains("patients"));
    }

    #[test]
    fn texts_are_quoted_and_constants_are_not() {
        assert_eq!(text("a\"b"), r#""a\"b""#);
        assert_eq!(text("\u{1}collection\u{1}_deidentified"), r#"collection + "_deidentified""#);
        assert_eq!(text("\u{1}database\u{1}"), "database");
        assert_eq!(value(&Bson::Double(0.0), 0), "Double(0)");
        let dose: bson::Decimal128 = "0.1".parse().expect("a number");
        assert_eq!(value(&Bson::Decimal128(dose), 0), "NumberDecimal(\"0.1\")");
    }

    #[test]
    fn every_value_keeps_its_type() {
        let check = |found: Bson, expected: &str| assert_eq!(value(&found, 0), expected);
        check(Bson::Int32(-1), "Int32(-1)");
        check(Bson::Int64(1 << 40), "Long(\"1099511627776\")");
        check(Bson::Double(0.5), "Double(0.5)");
        check(Bson::Boolean(true), "true");
        check(Bson::Null, "null");
        check(Bson::from("a"), "\"a\"");
        check(Bson::from(vec![Bson::Int32(1), Bson::from("b")]), "[Int32(1), \"b\"]");
        check(Bson::from(bson::doc! {}), "{}");
        check(
            Bson::from(bson::doc! { "a": { "b": 1 }, "c": true }),
            "{\n  \"a\": {\n    \"b\": Int32(1)\n  },\n  \"c\": true\n}",
        );
    }
}
