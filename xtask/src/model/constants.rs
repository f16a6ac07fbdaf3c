//! The constants of the model. They are in `constants.json`, each with its origin. `cargo xtask model --validate`
//! measures the group `measured` again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use testkit::{Doing, Error, Result, root};

/// The groups of the file. A constant is measured here, cited from the documents of a vendor, or guessed.
const GROUPS: [&str; 3] = ["measured", "cited", "guessed"];

#[derive(Debug, Clone)]
pub(super) struct Constants(Value);

impl Constants {
    pub(super) fn read() -> Result<Self> {
        let doing = || format!("reading {}", path().display());
        let text = fs::read_to_string(path()).doing(doing)?;
        let value = serde_json::from_str(&text).map_err(|error| Error::failed(format!("{}: {error}", doing())))?;
        Ok(Self(value))
    }

    pub(super) fn write(&self) -> Result<()> {
        fs::write(path(), format!("{:#}\n", self.0)).doing(|| format!("writing {}", path().display()))
    }

    /// Returns the value of a constant.
    ///
    /// # Panics
    /// If there is no such constant. A test reads every constant that the model needs.
    pub(super) fn get(&self, name: &str) -> f64 {
        let value = GROUPS.iter().find_map(|group| self.0[group][name]["value"].as_f64());
        value.unwrap_or_else(|| panic!("constants.json has no number `{name}`"))
    }

    /// Replaces a measured value. The command that measured it stays.
    pub(super) fn set(&mut self, name: &str, value: f64) {
        // The measurements are less exact than four digits.
        let rounded = format!("{value:.3e}").parse().unwrap_or(value);
        self.0["measured"][name]["value"] = Value::from(rounded);
    }

    /// Replaces the description of the measurement: date, machine, versions.
    pub(super) fn set_about(&mut self, about: Value) {
        self.0["about"] = about;
    }

    /// The constants as a Markdown table.
    pub(super) fn table(&self) -> String {
        let of_group = |group| {
            let constants = self.0[group].as_object().into_iter().flatten();
            constants.map(move |(name, constant)| {
                let origin = constant["origin"].as_str().unwrap_or_default();
                vec![format!("`{name}`"), constant["value"].to_string(), format!("{group}: {origin}")]
            })
        };
        markdown(&["constant", "value", "origin"], GROUPS.into_iter().flat_map(of_group))
    }
}

/// Returns a Markdown table.
pub(super) fn markdown(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let names = head.iter().map(|&name| name.to_owned()).collect();
    let lines = [names, vec!["---".to_owned(); head.len()]].into_iter().chain(rows);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    lines.map(line).collect::<Vec<_>>().concat()
}

/// Removes the fraction of a number. The number must not be negative.
#[expect(clippy::cast_sign_loss, reason = "sizes and counts are not negative")]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

fn path() -> PathBuf {
    root().join("xtask/src/model/constants.json")
}

/// Sizes and prices of the AWS deployment.
#[derive(Debug, Clone)]
pub(super) struct Prices {
    /// US dollars for an hour of one worker.
    pub(super) worker_hour: f64,
    /// US dollars for an hour of one shard: a replica set of three.
    pub(super) shard_hour: f64,
    pub(super) worker_cores: usize,
    pub(super) disk_operations_per_s: f64,
    pub(super) disk_bytes_per_s: f64,
}

impl Prices {
    /// Reads the prices and the sizes of the size large from `deploy/aws/check/costs.py`.
    pub(super) fn read() -> Result<Self> {
        let program = "import json, costs\n\
            v = costs.parameters('large')\n\
            task = int(v['Vcpus']) * costs.VCPU_HOUR + int(v['Memory']) / 1024 * costs.GIB_HOUR\n\
            print(json.dumps([task, costs.database_per_month(v) / costs.HOURS, int(v['Vcpus']), int(v['VolumeIops']), \
            int(v['VolumeMiBps'])]))";
        let mut python = Command::new("python3");
        python.args(["-B", "-c", program]).current_dir(root().join("deploy/aws/check"));
        let output = python.output().doing(|| "running python3 for the prices".to_owned())?;
        let said = || Error::failed(format!("deploy/aws/check/costs.py: {}", String::from_utf8_lossy(&output.stderr)));
        let numbers: Vec<f64> = serde_json::from_slice(&output.stdout).map_err(|_| said())?;
        let &[worker_hour, shard_hour, cores, operations, mib] = numbers.as_slice() else { return Err(said()) };
        Ok(Self {
            worker_hour,
            shard_hour,
            worker_cores: whole(cores) as usize,
            disk_operations_per_s: operations,
            disk_bytes_per_s: mib * f64::from(1 << 20),
        })
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are read as they were written")]
mod tests {
    use super::*;

    #[test]
    fn a_measured_constant_can_be_replaced() {
        let mut constants = Constants::read().expect("reads");
        constants.set("row_bytes", 151.234);
        assert_eq!(constants.get("row_bytes"), 151.2);
        assert!(constants.table().contains("| `row_bytes` | 151.2 | measured: "), "{}", constants.table());
    }

    #[test]
    fn prices_come_from_the_deployment() {
        let prices = Prices::read().expect("reads");
        assert!(prices.worker_hour > 0.01 && prices.shard_hour > prices.worker_hour, "{prices:?}");
        assert!(prices.worker_cores >= 1 && prices.disk_operations_per_s >= 3000.0, "{prices:?}");
    }
}
