//! The metrics in the text format of Prometheus, version 0.0.4. They have numbers only, and nothing of any row.

use std::fmt::Write;

use super::counts::HttpCounts;
use crate::listen::metrics::{Histogram, Metrics};

/// Microseconds per second.
const MICROSECONDS: f64 = 1e6;

/// Returns the metrics of the listeners. `feed` are those of the MLLP listener, if there is one.
pub(super) fn render(http: &HttpCounts, feed: Option<&Metrics>) -> String {
    let mut out = Out(String::new());
    out.begin("medlift_build_info", "gauge", "The version of medlift.");
    out.line("medlift_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.by("medlift_http_answers_total", "Answers to HTTP requests, by status.", "status", http.answers());
    out.gauge("medlift_http_bodies_in_progress", "Bodies that are being received and loaded.", http.in_progress.get());
    out.counter("medlift_http_body_bytes_total", "Bytes of bodies that were received.", http.bytes.get());
    out.by("medlift_http_rows_total", "Rows of bodies, by outcome.", "outcome", http.rows());
    if let Some(feed) = feed {
        render_feed(&mut out, feed);
    }
    out.0
}

fn render_feed(out: &mut Out, feed: &Metrics) {
    let of = |name: &str, count: u64| (name.to_owned(), count);
    out.gauge("medlift_mllp_connections", "MLLP connections that are open.", feed.connections.get());
    let connections = [
        of("accepted", feed.connections_accepted.get()),
        of("refused", feed.connections_refused.get()),
        of("failed", feed.connections_failed.get()),
    ];
    out.by("medlift_mllp_connections_total", "MLLP connections, by outcome.", "outcome", connections.into_iter());
    out.counter("medlift_mllp_received_total", "Messages that arrived whole.", feed.received.get());
    let messages = [
        of("stored", feed.stored.get()),
        of("repeated", feed.repeated.get()),
        of("rejected", feed.rejected.get()),
        of("postponed", feed.postponed.get()),
    ];
    out.by("medlift_mllp_messages_total", "Messages, by outcome.", "outcome", messages.into_iter());
    out.gauge("medlift_mllp_in_flight", "Messages without an outcome.", feed.in_flight.get());
    let reused = "Messages with the control id of another message of the same sender.";
    out.counter("medlift_mllp_reused_control_ids_total", reused, feed.reused_ids.get());
    out.counter("medlift_mllp_ignored_bytes_total", "Bytes between frames.", feed.bytes_ignored.get());
    out.counter("medlift_mllp_unfinished_frames_total", "Frames without an end.", feed.frames_unfinished.get());
    out.histogram("medlift_mllp_commit_messages", "Messages per commit.", &feed.commits, 1.0);
    out.counter("medlift_mllp_repeated_commits_total", "Commits that were repeated.", feed.commits_repeated.get());
    let latency = "Time from the end of a message to its answer.";
    out.histogram("medlift_mllp_answer_seconds", latency, &feed.latency_us, MICROSECONDS);
    out.gauge("medlift_fold_lag_messages", "Messages that are stored and not folded yet.", feed.fold_lag.get());
    out.counter("medlift_fold_messages_total", "Messages that were folded.", feed.folded.get());
    let stopped = "1 if messages are no longer folded because of an error, otherwise 0.";
    out.gauge("medlift_fold_stopped", stopped, feed.fold_stopped.get());
}

/// The text, to which metrics are appended.
struct Out(String);

impl Out {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.begin(name, "gauge", help);
        self.line(name, &[], value as f64);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.begin(name, "counter", help);
        self.line(name, &[], value as f64);
    }

    fn by(&mut self, name: &str, help: &str, label: &str, values: impl Iterator<Item = (String, u64)>) {
        self.begin(name, "counter", help);
        for (text, value) in values {
            self.line(name, &[(label, &text)], value as f64);
        }
    }

    /// `per_unit` converts the values, for example 1,000,000 if the histogram counts microseconds and the metric
    /// seconds.
    fn histogram<const N: usize>(&mut self, name: &str, help: &str, histogram: &Histogram<N>, per_unit: f64) {
        self.begin(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let bound = (bound as f64 / per_unit).to_string();
            self.line(&bucket, &[("le", &bound)], count as f64);
        }
        self.line(&bucket, &[("le", "+Inf")], histogram.count() as f64);
        self.line(&format!("{name}_sum"), &[], histogram.sum() as f64 / per_unit);
        self.line(&format!("{name}_count"), &[], histogram.count() as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::StatusCode;

    use super::*;

    #[test]
    fn metrics_have_the_form_of_prometheus() {
        let (http, feed) = (HttpCounts::default(), Metrics::default());
        http.note_answer(StatusCode::OK);
        http.note_answer(StatusCode::IM_A_TEAPOT);
        feed.note_answer(Duration::from_millis(15));
        let text = render(&http, Some(&feed));
        for line in [
            "# TYPE medlift_http_answers_total counter",
            "medlift_http_answers_total{status=\"200\"} 1",
            "medlift_http_answers_total{status=\"other\"} 1",
            "medlift_http_rows_total{outcome=\"rejected\"} 0",
            "medlift_mllp_answer_seconds_bucket{le=\"0.01\"} 0",
            "medlift_mllp_answer_seconds_bucket{le=\"0.02\"} 1",
            "medlift_mllp_answer_seconds_bucket{le=\"+Inf\"} 1",
            "medlift_mllp_answer_seconds_sum 0.015",
            "medlift_mllp_answer_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let mut named = std::collections::HashSet::new();
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            assert!(named.insert(line), "{line} is there twice");
        }
        assert!(!render(&http, None).contains("mllp"));
    }
}
