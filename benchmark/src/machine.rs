//! Facts about the machine and the use of its processors, read from `/proc`.

use std::fs;

use serde_json::{Value, json};
use testkit::{Doing, Result};

/// Ticks per second of processor time: `USER_HZ`, 100 on every Linux that Rust supports.
const TICKS: f64 = 100.0;

/// Returns facts about the machine that a reader needs to judge the numbers. No fact identifies the machine.
pub(crate) fn facts() -> Result<Value> {
    let cpuinfo = read("/proc/cpuinfo")?;
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    Ok(json!({
        "processor": value(&cpuinfo, "model name"),
        "cores": cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        "memory": value(&read("/proc/meminfo")?, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease")?.trim(),
        "architecture": std::env::consts::ARCH,
    }))
}

/// Returns the number of bytes that a process has written to disk, or 0 if the kernel does not report it.
pub(crate) fn bytes_written(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Processor time used so far, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busy {
    /// By all processes.
    pub(crate) all: f64,
    /// By one process, the server.
    pub(crate) server: f64,
}

impl Busy {
    pub(crate) fn read(server: u32) -> Result<Self> {
        let all = read("/proc/stat")?.lines().next().map_or(0.0, busy_seconds);
        Ok(Self { all, server: process_seconds(&read(&format!("/proc/{server}/stat"))?) })
    }

    /// The processor time used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { all: self.all - earlier.all, server: self.server - earlier.server }
    }
}

/// Returns the processor time in seconds from the first line of `/proc/stat`:
/// `cpu user nice system idle iowait irq softirq …`. Counts `user`, `nice`, `system`, `irq` and `softirq`.
fn busy_seconds(line: &str) -> f64 {
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let busy = ticks.iter().enumerate().filter(|(index, _)| matches!(index, 0..=2 | 5..=6));
    busy.map(|(_, ticks)| ticks).sum::<f64>() / TICKS
}

/// Returns the processor time in seconds from `/proc/PID/stat`: user and system time, fields 14 and 15. The second
/// field is the name of the program in parentheses and may contain spaces.
fn process_seconds(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).doing(|| format!("reading {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect_seconds(seconds: f64, expected: f64) {
        assert!((seconds - expected).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn processor_time_is_read() {
        expect_seconds(busy_seconds("cpu  100 20 30 9000 500 4 6 0 0 0"), 1.6);
        expect_seconds(process_seconds("7 (a b) c) S 1 7 7 0 -1 4 100 0 0 0 250 50 0 0 20 0 9 0"), 3.0);
    }

    #[test]
    fn this_process_has_spent_some_time() {
        let busy = Busy::read(std::process::id()).expect("reads");
        assert!(busy.all > 0.0 && busy.all >= busy.server);
    }
}
