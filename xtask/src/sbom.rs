//! Writes a software bill of materials (a list of the image's contents) in `CycloneDX` 1.5, from the lock file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use testkit::{Doing, Error, Result, cargo, root, target_dir};

/// The platform of the image. Packages for other platforms are not in the image.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
const PROGRAM: &str = "medlift";
/// The base of the image, which contains everything besides the program (see the Dockerfile).
const BASE_IMAGE: &str = "debian:bookworm-slim";

/// Writes the bill to `target/medlift.cdx.json` and prints the path.
pub fn run() -> Result<()> {
    let metadata = metadata()?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).doing(|| "reading Cargo.lock".to_owned())?;
    let bill = bill(&metadata, &checksums(&lock))?;
    let path = target_dir().join("medlift.cdx.json");
    fs::create_dir_all(target_dir()).doing(|| format!("creating {}", target_dir().display()))?;
    let text = serde_json::to_string_pretty(&bill).unwrap_or_default();
    fs::write(&path, text + "\n").doing(|| format!("writing {}", path.display()))?;
    println!("{} ({} components)", path.display(), bill["components"].as_array().map_or(0, Vec::len));
    Ok(())
}

fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM]).current_dir(root());
    let output = command.output().doing(|| "running cargo metadata".to_owned())?;
    if !output.status.success() {
        return Err(Error::failed(String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Error::failed(format!("reading cargo metadata: {error}")))
}

/// The SHA-256 of each package's archive, by package name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        Some(((value(package, "name = ")?, value(package, "version = ")?), value(package, "checksum = ")?))
    });
    packages.collect()
}

fn bill(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Value> {
    let packages = list(&metadata["packages"]);
    let own = packages.iter().find(|package| package["name"] == PROGRAM && package["source"].is_null());
    let own = own.ok_or_else(|| Error::failed(format!("cargo metadata knows no package {PROGRAM}")))?;
    let edges = edges(metadata);
    let inside = reachable(text(&own["id"]), &edges);
    let held = |package: &&Value| inside.contains(text(&package["id"])) && package["id"] != own["id"];
    let mut components: Vec<Value> =
        packages.iter().filter(held).map(|package| component(package, checksums)).collect();
    components.push(json!({ "type": "container", "bom-ref": BASE_IMAGE, "name": BASE_IMAGE }));
    let purl: BTreeMap<&str, String> =
        packages.iter().map(|package| (text(&package["id"]), reference(package))).collect();
    let dependencies: Vec<Value> = inside.iter().map(|id| dependency(id, &edges, &purl)).collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application", "bom-ref": reference(own), "name": PROGRAM, "version": own["version"],
            "licenses": [{ "expression": own["license"] }],
        } },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// The packages that each package is linked with. Build dependencies and test dependencies are not in the image.
fn edges(metadata: &Value) -> BTreeMap<&str, Vec<&str>> {
    let is_linked = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    let nodes = list(&metadata["resolve"]["nodes"]).iter();
    nodes
        .map(|node| {
            let linked = list(&node["deps"]).iter().filter(is_linked).map(|dependency| text(&dependency["pkg"]));
            (text(&node["id"]), linked.collect())
        })
        .collect()
}

fn reachable<'a>(from: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            waiting.extend(edges.get(id).into_iter().flatten());
        }
    }
    seen
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let key = (text(&package["name"]).to_owned(), text(&package["version"]).to_owned());
    let mut component = json!({
        "type": "library", "bom-ref": reference(package), "purl": reference(package),
        "name": package["name"], "version": package["version"],
    });
    // The format requires an SPDX expression. A few packages still separate alternatives by a slash.
    if let Some(license) = package["license"].as_str() {
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksums.get(&key) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn dependency(id: &str, edges: &BTreeMap<&str, Vec<&str>>, purl: &BTreeMap<&str, String>) -> Value {
    let on: Vec<&String> = edges.get(id).into_iter().flatten().filter_map(|other| purl.get(other)).collect();
    json!({ "ref": purl.get(id), "dependsOn": on })
}

fn reference(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_lists_linked_packages_and_no_package_that_only_tests_need() {
        let lock = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
        let bill = bill(&metadata().expect("metadata"), &checksums(&lock)).expect("a bill");
        let find = |name: &str| list(&bill["components"]).iter().find(|component| component["name"] == name).cloned();
        let driver = find("mongodb").expect("the driver is in the program");
        assert!(text(&driver["purl"]).starts_with("pkg:cargo/mongodb@"));
        assert_eq!(text(&driver["hashes"][0]["content"]).len(), 64);
        assert!(driver["licenses"][0]["expression"].is_string());
        assert!(find("proptest").is_none() && find("rcgen").is_none() && find("xtask").is_none());
        assert!(find(BASE_IMAGE).is_some());
    }
}
