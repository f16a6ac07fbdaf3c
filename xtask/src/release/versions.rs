//! Checks that every file of a release has the version in `Cargo.toml`, that CHANGELOG.md has a section for this
//! version, and that all changes are committed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{VERSION, output};
use testkit::{Error, Result, root};

/// Fails if the changelog has no section for the version, or if the working tree has changes that are not committed.
/// `changelog` is the text of CHANGELOG.md.
pub(super) fn check_ready(changelog: &str) -> Result<()> {
    if !has_section(changelog, VERSION) {
        return Err(Error::failed(format!(
            "CHANGELOG.md has no section \"## [{VERSION}] - DATE\"; add it below \"## Unreleased\", and move the entries \
             of this version to it"
        )));
    }
    let mut git = Command::new("git");
    let changes = output(git.args(["status", "--porcelain"]).current_dir(root()), "asking git for changes")?;
    if changes.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("these changes are not committed; a release is made from a commit:\n{changes}")))
}

/// Returns true if the changelog has a section for this version, for example `## [1.2.0] - 2026-12-01`.
fn has_section(changelog: &str, version: &str) -> bool {
    changelog.lines().any(|line| line.starts_with(&format!("## [{version}] - ")))
}

/// Fails if `found` is not the version of the release.
pub(super) fn check(found: &str, what: &str) -> Result<()> {
    if found.trim() == VERSION {
        return Ok(());
    }
    Err(Error::failed(format!("{what} has the version {found:?}, but Cargo.toml has {VERSION}", found = found.trim())))
}

/// Returns the value of a field of a Python package's METADATA file.
pub(super) fn field<'a>(metadata: &'a str, name: &str) -> &'a str {
    let mut values = metadata.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    values.next().unwrap_or_default()
}

/// Fails if this text is not a `CycloneDX` list of the packages in the program, or if it has another version.
pub(super) fn check_sbom(text: &str, path: &Path) -> Result<()> {
    let sbom: Value = serde_json::from_str(text)
        .map_err(|error| Error::failed(format!("the SBOM {} is not JSON: {error}", path.display())))?;
    let program = &sbom["metadata"]["component"];
    let packages = sbom["components"].as_array().map_or(0, Vec::len);
    if sbom["bomFormat"] != "CycloneDX" || program["name"] != "medlift" || packages == 0 {
        return Err(Error::failed(format!("{} is no CycloneDX list of Medlift's packages", path.display())));
    }
    check(program["version"].as_str().unwrap_or_default(), "the SBOM")?;
    println!("    SBOM: {packages} packages");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_a_section_of_its_own() {
        let changelog = "# Changelog\n\n## Unreleased\n\n## [1.2.0] - 2026-12-01\n\n## 1.1.0\n";
        for (version, expected) in [("1.2.0", true), ("1.2", false), ("1.1.0", false), ("Unreleased", false)] {
            assert_eq!(has_section(changelog, version), expected, "{version}");
        }
    }

    #[test]
    fn a_release_without_a_section_is_refused() {
        let error = check_ready("# Changelog\n\n## Unreleased\n").expect_err("refused").to_string();
        assert!(error.contains(&format!("## [{VERSION}] - DATE")), "{error}");
    }

    #[test]
    fn another_version_is_an_error() {
        assert!(check(&format!("{VERSION}\n"), "the package").is_ok());
        for other in ["", "9.9.9"] {
            assert!(check(other, "the package").is_err(), "{other}");
        }
    }

    #[test]
    fn the_version_of_a_wheel_is_a_field_of_its_metadata() {
        let metadata = "Metadata-Version: 2.4\nName: medlift\nVersion: 1.2.0\n";
        assert_eq!((field(metadata, "Version"), field(metadata, "Licence")), ("1.2.0", ""));
    }

    #[test]
    fn an_sbom_lists_the_packages_of_this_version() {
        let sbom = |name: &str, version: &str, components: &str| {
            format!(
                r#"{{"bomFormat": "CycloneDX", "metadata": {{"component": {{"name": "{name}", "version": "{version}"}}}},
                "components": {components}}}"#
            )
        };
        for (text, expected) in [
            (sbom("medlift", VERSION, "[{}]"), true),
            (sbom("medlift", VERSION, "[]"), false),
            (sbom("medlift", "9.9.9", "[{}]"), false),
            (sbom("other", VERSION, "[{}]"), false),
            ("{".to_owned(), false),
        ] {
            assert_eq!(check_sbom(&text, Path::new("sbom.json")).is_ok(), expected, "{text}");
        }
    }
}
