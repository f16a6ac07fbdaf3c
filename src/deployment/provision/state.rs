//! What surrounds the documents of the state that a fold of HL7 v2 messages writes: their collections, indexes and
//! de-identified views.
//!
//! The collections have no validator. Reason: the fold reads back each document that it extends, `verify` computes all of
//! them again, and a collection such as `patients` may also contain documents of another program.
//!
//! The views list every element that they show. They show no identifier, no name, no place and no free text. A code is
//! shown only if it looks like a code, or is one of a list, because a field of a message can contain any text.

use bson::{Bson, Document, doc};

use super::step::Step;
use super::view::{days_between, each_item, view_name, year};
use super::wanted::Wanted;
use crate::deployment::indexes::{first_batch, read_raw};
use crate::fold::shell::{indexes, is_folded, missing_indexes};
use crate::fold::{collections, notes_of};
use crate::server::{ServerError, Target};
use crate::spec::{Spec, Zone};

/// A code: letters, digits and some signs, without spaces.
const CODE: &str = r"^[A-Za-z0-9][A-Za-z0-9._:/%*+-]{0,39}$";
/// Numbers, ranges and titres.
const NUMBERS: &str = r"^[0-9<>=.,^ :/+-]{1,40}$";
/// HL7 tables 0001, 0002, 0004, 0007, 0078 and 0136.
const SEXES: [&str; 6] = ["A", "F", "M", "N", "O", "U"];
const MARITAL_STATUSES: [&str; 15] = ["A", "B", "C", "D", "E", "G", "I", "M", "N", "O", "P", "R", "S", "U", "W"];
const CLASSES: [&str; 9] = ["B", "C", "E", "I", "N", "O", "P", "R", "U"];
const ADMISSION_TYPES: [&str; 7] = ["A", "C", "E", "L", "N", "R", "U"];
const FLAGS: [&str; 12] = ["A", "AA", "D", "H", "HH", "I", "L", "LL", "N", "R", "S", "U"];
const YES_NO: [&str; 2] = ["N", "Y"];
/// Types of values that are numbers or codes, never free text.
const NUMBER_TYPES: [&str; 2] = ["NM", "SN"];
const CODE_TYPES: [&str; 3] = ["CE", "CNE", "CWE"];

/// Returns the collections of the state, if the spec describes messages that can be folded.
pub(super) fn state_collections(spec: &Spec) -> &'static [&'static str] {
    static NAMES: std::sync::LazyLock<[&str; 3]> = std::sync::LazyLock::new(collections);
    if is_folded(spec) { &*NAMES } else { &[] }
}

/// Returns the collections that the loader may also remove documents from: those of the state, and the one that notes
/// which messages are folded. Empty if the spec describes nothing that can be folded.
pub(in crate::deployment) fn folded_collections(spec: &Spec, messages: &str) -> Vec<String> {
    let names = state_collections(spec);
    let notes = (!names.is_empty()).then(|| notes_of(messages));
    names.iter().map(|name| (*name).to_owned()).chain(notes).collect()
}

/// Returns the steps that create the collections of the state, their missing indexes and their views.
pub(super) async fn steps(target: &Target, wanted: &Wanted<'_>) -> Result<Vec<Step>, ServerError> {
    let mut steps = Vec::new();
    for (name, indexes) in indexes().into_iter().filter(|(name, _)| state_collections(wanted.spec).contains(name)) {
        let listed = read_raw(&target.in_collection(name)).await?;
        let missing = missing_indexes(&indexes, &listed);
        if first_batch(&listed).next().is_none() {
            steps.push(create(wanted, name, indexes));
        } else if !missing.is_empty() {
            let build = doc! { "createIndexes": name, "indexes": missing };
            steps.push(Step::new(format!("build the indexes of {}.{name}", wanted.database), [build]));
        }
    }
    Ok(steps)
}

/// Returns the steps that create the collections of the state, for an empty deployment.
pub(super) fn from_nothing(wanted: &Wanted<'_>) -> Vec<Step> {
    let names = state_collections(wanted.spec);
    let all = indexes().into_iter().filter(|(name, _)| names.contains(name));
    all.map(|(name, indexes)| create(wanted, name, indexes)).collect()
}

fn create(wanted: &Wanted<'_>, name: &str, indexes: Vec<Document>) -> Step {
    let what = format!("create collection {}.{name} with its indexes", wanted.database);
    Step::new(what, [doc! { "create": name }, doc! { "createIndexes": name, "indexes": indexes }])
}

/// Returns the views of the state for analysts: the collection of each, and its pipeline.
pub(super) fn views(spec: &Spec) -> Vec<(&'static str, Vec<Document>)> {
    let [patients, visits, results] = collections();
    let zone = spec.source.zone;
    let all = [(patients, of_patients(zone)), (visits, of_visits(zone)), (results, of_results(zone))];
    let names = state_collections(spec);
    let shown = all.into_iter().filter(|(name, _)| names.contains(name));
    shown.map(|(name, shown)| (name, vec![doc! { "$project": shown }])).collect()
}

/// Returns the names of the views.
pub(super) fn view_names(spec: &Spec) -> Vec<String> {
    state_collections(spec).iter().map(|name| view_name(name)).collect()
}

fn of_patients(zone: Zone) -> Document {
    doc! {
        "_id": 0,
        "sex": listed("$sex", &SEXES),
        "birthDate": year("$birthDate", zone),
        "maritalStatus": listed("$maritalStatus", &MARITAL_STATUSES),
        "diedAt": year("$diedAt", zone),
        "dead": listed("$dead", &YES_NO),
        "isMerged": { "$eq": [{ "$type": "$mergedInto" }, "object"] },
    }
}

fn of_visits(zone: Zone) -> Document {
    let movements = doc! { "$cond": [{ "$isArray": "$movements" }, { "$size": "$movements" }, 0] };
    doc! {
        "_id": 0,
        "status": matching("$status", CODE),
        "isProvisional": { "$eq": ["$provisional", true] },
        "class": listed("$class", &CLASSES),
        "admissionType": listed("$admissionType", &ADMISSION_TYPES),
        "service": matching("$service", CODE),
        "disposition": matching("$disposition", CODE),
        "movements": movements,
        "admittedAt": year("$admittedAt", zone),
        "dischargedAt": year("$dischargedAt", zone),
        "admittedAt to dischargedAt (days)": days_between("$admittedAt", "$dischargedAt"),
    }
}

fn of_results(zone: Zone) -> Document {
    let code = |path: &str| {
        let part = |name: &str| matching(&format!("{path}.{name}"), CODE);
        doc! { "code": part("code"), "system": part("system"), "text": format!("{path}.text") }
    };
    let first = doc! { "$arrayElemAt": [{ "$split": ["$value", "^"] }, 0] };
    let of_code = doc! { "$cond": [{ "$regexMatch": { "input": first.clone(), "regex": CODE } }, first, null] };
    let is_text = doc! { "$eq": [{ "$type": "$value" }, "string"] };
    let value = doc! { "$switch": {
        "branches": [
            { "case": is_in("$valueType", &NUMBER_TYPES), "then": matching("$value", NUMBERS) },
            { "case": is_in("$valueType", &CODE_TYPES), "then": { "$cond": [is_text, of_code, null] } },
        ],
        "default": null,
    } };
    doc! {
        "_id": 0,
        "status": matching("$status", CODE),
        "panel": code("$panel"),
        "code": code("$code"),
        "valueType": matching("$valueType", CODE),
        "value": value,
        "unit": { "code": matching("$unit.code", CODE), "system": matching("$unit.system", CODE) },
        "referenceRange": matching("$referenceRange", NUMBERS),
        "flags": each_item("$flags", "item1", listed("$$item1", &FLAGS)),
        "observedAt": year("$observedAt", zone),
    }
}

/// Returns the expression for a text that is shown only if it is in the list.
fn listed(path: &str, list: &[&str]) -> Bson {
    Bson::from(doc! { "$cond": [is_in(path, list), path, null] })
}

fn is_in(path: &str, list: &[&str]) -> Document {
    doc! { "$in": [path, list.to_vec()] }
}

/// Returns the expression for a text that is shown only if it matches the pattern. `$regexMatch` fails for a value that
/// is not a text, and one such document would make the whole view unreadable. So the expression checks the type first.
fn matching(path: &str, pattern: &str) -> Bson {
    let shown = doc! { "$cond": [{ "$regexMatch": { "input": path, "regex": pattern } }, path, null] };
    Bson::from(doc! { "$cond": [{ "$eq": [{ "$type": path }, "string"] }, shown, null] })
}
