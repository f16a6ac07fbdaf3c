#![expect(clippy::float_cmp, reason = "the same simulation gives the same numbers")]

use super::*;

/// In this world, the shards read no pages from disk (`page_factor` is 0). Reason: with newly measured constants, reads
/// could make a load so slow that a test takes long.
fn world() -> World {
    let mut constants = Constants::read().expect("reads");
    constants.set("page_factor", 0.0);
    World { constants, prices: Prices::read().expect("reads") }
}

/// A load that is small, so that its simulation is fast.
fn small(world: &World, shards: usize, workers: usize) -> Setup {
    Setup { rows: 400_000_000, failures_per_hour: 0.0, ..world.setup(shards, workers) }
}

#[track_caller]
fn assert_all_parts_done_once(outcome: &Outcome) {
    assert!(outcome.completed.iter().all(|&times| times == 1), "{:?}", outcome.completed);
    assert!(outcome.written.iter().all(|&slices| slices == outcome.slices), "{:?}", outcome.written);
}

#[test]
fn all_parts_are_loaded_once() {
    let world = world();
    for (writers_max, lease_seconds, failures_per_hour) in
        [(None, 30.0, 0.0), (None, 5.0, 60.0), (Some(3), 300.0, 60.0), (Some(1), 30.0, 0.0)]
    {
        let setup = Setup { writers_max, lease_seconds, failures_per_hour, ..small(&world, 4, 20) };
        let outcome = world.simulate(&setup, BATCH_ROWS);
        assert_all_parts_done_once(&outcome);
        assert_eq!(outcome.failures > 0, failures_per_hour > 0.0, "{setup:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let world = world();
    let seconds = |seed| {
        let setup = Setup { failures_per_hour: 10.0, seed, ..small(&world, 4, 20) };
        world.simulate(&setup, BATCH_ROWS).seconds
    };
    assert_eq!(seconds(1), seconds(1));
    assert_ne!(seconds(1), seconds(3));
}

#[test]
fn more_workers_are_faster_until_something_is_saturated() {
    let world = world();
    let mut before = f64::INFINITY;
    for workers in [1, 2, 4, 8, 16, 32] {
        let outcome = world.simulate(&small(&world, 64, workers), BATCH_ROWS);
        assert!(outcome.seconds <= before, "{workers} workers");
        before = outcome.seconds;
    }
    let slow = world.simulate(&small(&world, 1, 300), BATCH_ROWS);
    assert!(slow.limit().is_some_and(|limit| limit.ends_with("shards")), "{:?}", slow.busy);
}

#[test]
fn one_worker_that_does_one_thing_at_a_time_needs_the_sum_of_all_steps() {
    let world = world();
    let place = Place {
        cache_bytes: 1e15,
        disk_operations_per_s: f64::INFINITY,
        disk_bytes_per_s: f64::INFINITY,
        ..Place::aws(&world.constants, &world.prices)
    };
    let mut costs = Costs::new(&world.constants, &place, 1, BATCH_ROWS);
    costs.batch_rows = 1_000_000.0;
    // Each part is one slice, so no two steps overlap.
    let setup = Setup { rows: 5_000_000, part_rows: 1_000_000, ..small(&world, 1, 1) };
    let outcome = simulate(&setup, &costs);
    let row = costs.read + costs.encode + costs.commit + costs.write(0.0, 0.0).cpu;
    let looks: f64 = (1..=5).map(|begun| costs.look(begun) + costs.part_updates + costs.part_seconds).sum();
    let expected = setup.start_seconds + looks + 5e6 * row;
    assert!((outcome.seconds - expected).abs() < 1e-6, "{expected} s expected, {outcome:?}");
    assert_all_parts_done_once(&outcome);
}

#[test]
fn a_failed_worker_costs_its_lease_and_a_second_reading() {
    let world = world();
    let seconds = |lease_seconds| {
        let setup = Setup { failures_per_hour: 30.0, lease_seconds, workers: 1, ..small(&world, 4, 1) };
        let outcome = world.simulate(&setup, BATCH_ROWS);
        assert_all_parts_done_once(&outcome);
        outcome.seconds
    };
    let without = world.simulate(&small(&world, 4, 1), BATCH_ROWS).seconds;
    assert!(without < seconds(30.0) && seconds(30.0) < seconds(3_000.0));
}

#[test]
fn tokens_limit_the_commands_under_way() {
    let world = world();
    let seconds = |writers_max| {
        let setup = Setup { writers_max, ..small(&world, 4, 20) };
        world.simulate(&setup, BATCH_ROWS).seconds
    };
    assert!(seconds(Some(1)) > 2.0 * seconds(Some(4)));
    assert!(seconds(Some(4)) > seconds(Some(80)));
    assert_eq!(seconds(Some(80)), seconds(Some(1_000)));
}

#[test]
fn a_section_of_the_document_is_replaced() {
    let document = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
    let new = with_section(document, "x", "new\n").expect("there");
    assert_eq!(new, "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n");
    assert_eq!(with_section(&new, "x", "new"), Some(new.clone()));
    assert_eq!(with_section(document, "y", ""), None);
}

#[test]
fn durations_are_readable() {
    let check = |seconds: f64, expected: &str| assert_eq!(duration(seconds), expected);
    check(90.0, "2 min");
    check(5_400.0, "1.5 h");
    check(259_200.0, "3.0 d");
}
