use std::time::Duration;

use bson::Uuid;

use super::*;
use crate::ledger::{Lease, OfManifest, Options, Owner, PartOf, Reading, SourceIdentity, TargetState};
use crate::read::Version;
use crate::spec::Spec;

fn load(state: State, sources: &[&str]) -> LoadDocument {
    let source = |name: &&str| SourceIdentity {
        name: (*name).to_owned(),
        size_bytes: Some(1),
        version: Version::Blake3("12".into()),
    };
    let options =
        Options { mode: "insert".into(), identity_key: "none".into(), lineage: false, reading: Reading::default() };
    let sources = sources.iter().map(source).collect();
    let load = LoadDocument::new(vec![TargetState::new("rows")], &Spec::built_in(), sources, options);
    LoadDocument { state, ..load }
}

/// Makes a lease of this process, which runs, or of a process that has ended.
fn lease(left_ms: u64, has_ended: bool) -> Held {
    let owner = Owner::this_process();
    let owner = if has_ended { Owner { ticks: "1".into(), ..owner } } else { owner };
    let lease = Lease { owner, fence: 1, since_ms: 1_000, until_ms: 31_000 };
    Held { lease, left: Duration::from_millis(left_ms) }
}

fn overview(load: &LoadDocument, lease: Option<&Held>) -> LoadOverview {
    LoadOverview::new(load, lease, &[], &BTreeMap::new())
}

#[test]
fn a_running_load_is_stalled_if_no_process_has_its_lease() {
    let check = |state: State, lease: Option<Held>, expected: (&str, Option<End>)| {
        let found = overview(&load(state, &["a.csv"]), lease.as_ref());
        assert_eq!((found.state.name(), found.end()), expected, "{state:?} {lease:?}");
        assert_eq!(found.advice.is_some(), found.end() == Some(End::Stalled));
    };
    let stalled = ("stalled", Some(End::Stalled));
    check(State::Running, Some(lease(5_000, false)), ("running", None));
    check(State::Running, Some(lease(5_000, true)), stalled);
    check(State::Running, Some(lease(0, false)), stalled);
    check(State::Running, None, stalled);
    check(State::Complete, None, ("complete", Some(End::Complete)));
    for state in [State::Stopped, State::Failed, State::Dropped, State::Superseded] {
        check(state, Some(lease(0, true)), (state.name(), Some(End::Incomplete)));
    }
}

#[test]
fn a_load_in_parts_waits_for_workers_and_says_so() {
    let mut load = load(State::Running, &["a.csv"]);
    load.manifest = Some(OfManifest { id: "m".into(), table: 0, parts: vec![0, 1], documents_before: Vec::new() });
    let part = LoadDocument { part: Some(PartOf { load: Uuid::new(), number: 0 }), ..load.clone() };
    let check = |of_load: Option<Held>, of_part: Held, state: &str, is_idle: bool| {
        let leases = BTreeMap::from([(0, of_part)]);
        let found = LoadOverview::new(&load, of_load.as_ref(), std::slice::from_ref(&part), &leases);
        let states = [found.state.name(), found.parts[0].state.name(), found.parts[1].state.name()];
        assert_eq!((states, found.end()), (["running", state, "waiting"], None));
        assert_eq!(found.advice.is_some_and(|advice| advice.contains("start workers")), is_idle, "{state}");
        found
    };
    check(None, lease(5_000, false), "loading", false);
    check(Some(lease(5_000, false)), lease(0, false), "stalled", false);
    let stalled = check(Some(lease(0, false)), lease(0, false), "stalled", true);
    let name = Owner::this_process();
    let worker = format!("{name}, since 1970-01-01T00:00:01Z until 1970-01-01T00:00:31Z");
    assert!(stalled.text(80).contains(&worker), "{}", stalled.text(80));
    let killed = check(None, lease(5_000, true), "stalled", true);
    let worker = format!("{name}, since 1970-01-01T00:00:01Z; the process has ended");
    assert!(killed.text(80).contains(&worker), "{}", killed.text(80));
    let json = serde_json::to_value(&stalled.parts[0]).unwrap();
    assert_eq!(json["worker"], name.to_string());
    assert_eq!(
        (&json["worker_since"], &json["worker_until"]),
        (&"1970-01-01T00:00:01Z".into(), &"1970-01-01T00:00:31Z".into())
    );
}

#[test]
fn the_names_of_the_sources_fit_the_terminal() {
    let check = |sources: &[&str], width: usize, expected: &str| {
        let text = overview(&load(State::Complete, sources), None).text(width);
        assert!(text.contains(&format!("\n  {expected}\n")), "{width}: {text}");
    };
    let long = "/data/of/the/hospital/admissions_2026.csv";
    check(&["a.csv"], usize::MAX, "from a.csv");
    check(&["a.csv", "b.csv", "c.csv", "d.csv"], 80, "from a.csv and 3 more");
    check(&[long], 48, &format!("from {long}"));
    check(&[long], 47, "from …ata/of/the/hospital/admissions_2026.csv");
    check(&[long, "b.csv"], 40, "from …l/admissions_2026.csv and 1 more");
    check(&["äöü.csv"], 13, "from …ü.csv");
}

#[test]
fn an_overview_says_whether_the_load_was_verified() {
    for (state, proof, text, name) in [
        (State::Complete, Some(Proof::Verified), "complete, verified\n", "verified"),
        (State::Complete, Some(Proof::Difference), "complete, verification found a difference\n", "difference"),
        (State::Complete, None, "complete, not verified\n", "not_verified"),
        (State::Stopped, None, "stopped\n", "not_verified"),
    ] {
        let found = overview(&LoadDocument { proof, ..load(state, &["a.csv", "b.csv"]) }, None);
        assert!(found.text(80).starts_with(&format!("load {}, {text}", found.load)), "{}", found.text(80));
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!((&json["proof"], &json["state"]), (&name.into(), &state.name().into()));
        assert_eq!(json["sources"], serde_json::json!(["a.csv", "b.csv"]));
        assert_eq!(json.get("worker"), None);
    }
}
