//! The scenarios. Each has several contenders, which take turns.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use crate::contender::{Contender, Step, Tools, empty_collection, index_on};
use crate::feed;
use crate::inputs::{self, Inputs};
use crate::options::Options;
use crate::outcome::{self, Outcome};
use crate::records;
use crate::replay::Pace;
use crate::stand::{DATABASE, Stand};
use crate::workers;
use testkit::Result;

/// The fields by which mongoimport finds the stored document of a row. No two admissions of the source have the same
/// values of all three.
const UPSERT_FIELDS: &[&str] = &["Name", "Date of Admission", "Room Number"];
/// Maximum number of documents that [`best_pace`] sends in one measurement.
const SEARCH_DOCS_MAX: u64 = 300_000;
const SEARCH_RUNS: usize = 3;
const BATCHES: &[usize] = &[1_000, 5_000, 10_000, 20_000, 50_000];
const CONNECTIONS: &[usize] = &[1, 2, 4];
/// Pandas and pymongo need about 2 GB of memory for each million rows.
const PYTHON_ROWS_MAX: u64 = 2_000_000;
const CACHE_SCENARIO_MB: u32 = 256;
/// Before the measurement, a small load with this number of rows creates the indexes and the validator. Then its
/// documents are removed.
const FORERUNNER_ROWS: u64 = 1_000;

/// A situation in which contenders are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A first load into an empty collection, without indexes.
    Load,
    /// A load into a collection that already contains half of the rows.
    Upsert,
    /// A first load, with the time until the indexes and the validator exist.
    Ready,
    /// A load whose `_id` index is larger than the server's cache.
    Cache,
    /// A load that is divided into parts. First one process loads all parts, then several workers share them.
    Workers,
    /// HL7 v2 messages. One load only stores them, another one also folds them.
    Messages,
    /// FHIR resources.
    Resources,
    /// FHIR Bundles of Synthea, with resources of many types that refer to each other by UUID.
    Bundles,
    /// HL7 v2 messages over MLLP, each acknowledged when it is durable.
    Feed,
    /// The constants of the model of large loads (`cargo xtask model`).
    Constants,
}

impl Scenario {
    pub(crate) const ALL: [Self; 10] = [
        Self::Load,
        Self::Upsert,
        Self::Ready,
        Self::Cache,
        Self::Workers,
        Self::Messages,
        Self::Resources,
        Self::Bundles,
        Self::Feed,
        Self::Constants,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Upsert => "upsert",
            Self::Ready => "ready",
            Self::Cache => "cache",
            Self::Workers => "workers",
            Self::Messages => "messages",
            Self::Resources => "resources",
            Self::Bundles => "bundles",
            Self::Feed => "feed",
            Self::Constants => "constants",
        }
    }

    /// Returns the numbers of rows that are measured unless the user gives others.
    pub(crate) fn rows(self) -> &'static [u64] {
        match self {
            Self::Load => &[55_500, 1_000_000, 10_000_000],
            Self::Upsert | Self::Ready | Self::Workers => &[1_000_000],
            Self::Messages | Self::Resources => &[200_000],
            Self::Feed => &[100_000],
            Self::Constants => &[500_000],
            Self::Cache => &[4_000_000],
            // The generator decides how many there are.
            Self::Bundles => &[0],
        }
    }

    /// Returns true if the scenario can be measured with other numbers of rows.
    pub(crate) fn has_any_size(self) -> bool {
        !matches!(self, Self::Cache | Self::Bundles)
    }
}

/// Measures one scenario on its own server. Returns `None` if its source cannot be made.
pub(crate) fn run(scenario: Scenario, mut rows: u64, options: &Options, inputs: &Inputs) -> Result<Option<Outcome>> {
    let mut bundles = None;
    if scenario == Scenario::Bundles {
        let Some(made) = inputs.synthea()? else { return Ok(None) };
        (bundles, rows) = (Some(made.0), made.1);
    }
    eprintln!("== {}, {rows} rows", scenario.name());
    let cache_mb = if scenario == Scenario::Cache { CACHE_SCENARIO_MB } else { options.cache_mb };
    let mut stand = Stand::start(cache_mb, inputs)?;
    let tools = Tools { inputs, uri: stand.uri(), address: stand.address() };
    if scenario == Scenario::Feed {
        let findings = feed::findings(&mut stand, &tools, rows, options)?;
        let (server, note) = (stand.version()?, "; medians of all runs".to_owned());
        return Ok(Some(Outcome {
            scenario: scenario.name(),
            rows,
            cache_mb,
            server,
            note,
            results: Vec::new(),
            findings,
        }));
    }
    let source = match scenario {
        _ if bundles.is_some() => bundles.unwrap_or_default(),
        Scenario::Messages => inputs.messages(rows)?,
        Scenario::Resources => inputs.resources(rows)?,
        _ if !options.has_duplicates => inputs::without_duplicates(&inputs.csv(rows)?)?,
        _ => inputs.csv(rows)?,
    };
    let mut note = String::new();
    let mut contenders = match scenario {
        Scenario::Load => {
            let documents = inputs.documents(&source)?;
            let pace = best_pace(&mut stand, &tools, &documents)?;
            note = format!("; floor in batches of {} over {} connections", pace.batch_docs, pace.connections);
            loads(&tools, rows, &source, &documents, pace)?
        }
        Scenario::Upsert => upserts(&tools, &source)?,
        Scenario::Ready => readies(&tools, &source)?,
        Scenario::Cache => outgrown(&tools, &source)?,
        Scenario::Workers => workers::contenders(&tools, &source)?,
        Scenario::Messages => records::messages(&tools, &source)?,
        Scenario::Resources => records::resources(&tools, &source)?,
        Scenario::Bundles => records::bundles(&tools, &source),
        Scenario::Constants => constants(&tools, &source)?,
        Scenario::Feed => Vec::new(),
    };
    contenders.retain(|contender| options.admits(&contender.name));
    let order = if scenario == Scenario::Workers { Order::Random } else { Order::Given };
    let results = take_turns(&mut stand, &contenders, options.runs, order)?;
    let findings = if scenario == Scenario::Workers { workers::findings(&source, rows, &results)? } else { Vec::new() };
    Ok(Some(Outcome { scenario: scenario.name(), rows, cache_mb, server: stand.version()?, note, results, findings }))
}

/// The order of the contenders in each turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Given,
    Random,
}

/// Measures the contenders in turns: A, B, C, A, B, C, …. A temporary disturbance of the machine then affects all
/// contenders. With [`Order::Random`], each turn has a random order of its own.
fn take_turns(
    stand: &mut Stand<'_>,
    contenders: &[Contender],
    runs: usize,
    order: Order,
) -> Result<Vec<outcome::Result>> {
    let result = |contender: &Contender| outcome::Result {
        name: contender.name.clone(),
        commands: contender.commands().cloned().collect(),
        samples: Vec::new(),
    };
    let mut results: Vec<_> = contenders.iter().map(result).collect();
    for turn in 1..=runs {
        let mut indexes: Vec<usize> = (0..contenders.len()).collect();
        if order == Order::Random {
            let keys = RandomState::new();
            indexes.sort_by_cached_key(|index| keys.hash_one(index));
        }
        for index in indexes {
            let (contender, result) = (&contenders[index], &mut results[index]);
            let sample = stand.measure(contender)?;
            eprintln!("{turn}/{runs} {}: {:.2} s, {} documents", contender.name, sample.seconds, sample.documents);
            result.samples.push(sample);
        }
    }
    Ok(results)
}

/// Returns the batch size and number of connections with which the server accepts these documents fastest.
fn best_pace(stand: &mut Stand<'_>, tools: &Tools<'_>, documents: &Path) -> Result<Pace> {
    let mut best = (f64::INFINITY, pace(0, 0));
    for &batch_docs in BATCHES {
        for &connections in CONNECTIONS {
            let pace = Pace { docs_max: SEARCH_DOCS_MAX, ..pace(batch_docs, connections) };
            let contender = tools.floor("floor", documents, pace);
            let samples = (0..SEARCH_RUNS).map(|_| stand.measure(&contender).map(|sample| sample.seconds));
            let seconds = samples.collect::<Result<Vec<f64>>>()?.into_iter().fold(f64::INFINITY, f64::min);
            eprintln!("batches of {batch_docs} over {connections} connections: {seconds:.2} s");
            if seconds < best.0 {
                best = (seconds, Pace { docs_max: u64::MAX, ..pace });
            }
        }
    }
    Ok(best.1)
}

fn pace(batch_docs: usize, connections: usize) -> Pace {
    Pace { batch_docs, connections, growing_id: false, docs_max: u64::MAX }
}

fn loads(tools: &Tools<'_>, rows: u64, csv: &Path, documents: &Path, pace: Pace) -> Result<Vec<Contender>> {
    let spec = tools.inputs.plain_spec()?.display().to_string();
    let mut contenders = vec![
        tools.floor("floor", documents, pace),
        tools.medlift("medlift load", csv, &["--spec", &spec]),
        tools.verify(csv, &["--spec", &spec]),
        tools.default_load(csv),
    ];
    if rows <= PYTHON_ROWS_MAX {
        let python = tools.inputs.python()?;
        contenders.push(tools.python("script (pandas, pymongo)", &python, "script.py", csv));
        contenders.push(tools.python("pymongoarrow", &python, "arrow.py", csv));
    } else {
        eprintln!("LEFT OUT: script and pymongoarrow, because they need memory for all {rows} rows at once");
    }
    if let Some(program) = &tools.inputs.mongoimport {
        let (file, fields) = inputs::for_mongoimport(csv)?;
        let with = |workers| tools.mongoimport(&format!("mongoimport -j {workers}"), program, &file, &fields, workers);
        contenders.extend([1, 2, 4].map(with));
    }
    Ok(contenders)
}

fn upserts(tools: &Tools<'_>, csv: &Path) -> Result<Vec<Contender>> {
    let spec = tools.inputs.plain_spec()?.display().to_string();
    let half = inputs::half(csv)?;
    let load_half = tools.medlift("half", &half, &["--spec", &spec]).command;
    let upsert = tools.medlift("medlift load --mode upsert", csv, &["--spec", &spec, "--mode", "upsert"]);
    let mut contenders = vec![upsert.after(vec![Step::Drop, Step::Run(load_half)])];
    if let Some(program) = &tools.inputs.mongoimport {
        let (file, fields) = inputs::for_mongoimport(&half)?;
        let load_half = tools.mongoimport("half", program, &file, &fields, 2).command;
        let (file, fields) = inputs::for_mongoimport(csv)?;
        let mut upsert = tools.mongoimport("mongoimport --mode upsert -j 2", program, &file, &fields, 2);
        upsert.command.extend(["--mode", "upsert", "--upsertFields"].map(str::to_owned));
        upsert.command.push(UPSERT_FIELDS.join(","));
        contenders.push(upsert.after(vec![Step::Drop, Step::Run(load_half), index_on(UPSERT_FIELDS)]));
    }
    Ok(contenders)
}

fn readies(tools: &Tools<'_>, csv: &Path) -> Result<Vec<Contender>> {
    let spec = tools.inputs.plain_spec()?.display().to_string();
    let forerunner = tools.medlift("forerunner", &tools.inputs.csv(FORERUNNER_ROWS)?, &[]).command;
    let forget = Step::Command(bson::doc! { "drop": "medlift_runs", "$db": DATABASE });
    let kept = vec![Step::Drop, Step::Run(forerunner), empty_collection(), forget];
    Ok(vec![
        tools.medlift("load without indexes", csv, &["--spec", &spec]),
        tools.medlift("load, then indexes and validator", csv, &[]),
        tools.medlift("indexes and validator kept during the load", csv, &[]).after(kept),
    ])
}

fn constants(tools: &Tools<'_>, csv: &Path) -> Result<Vec<Contender>> {
    let spec = tools.inputs.plain_spec()?.display().to_string();
    let mut contenders = vec![tools.medlift("medlift load", csv, &["--spec", &spec]), workers::one_row(tools)?];
    contenders.extend(["updates", "reads"].map(|kind| tools.ledger(&format!("ledger {kind}"), kind)));
    Ok(contenders)
}

fn outgrown(tools: &Tools<'_>, csv: &Path) -> Result<Vec<Contender>> {
    let spec = tools.inputs.plain_spec()?.display().to_string();
    let documents = tools.inputs.documents(csv)?;
    let growing = Pace { growing_id: true, ..pace(10_000, 2) };
    Ok(vec![
        tools.floor("floor, growing _id", &documents, growing),
        tools.medlift("medlift load", csv, &["--spec", &spec]),
    ])
}
