//! Creates the collections, indexes and de-identified views for the *state*: the documents that a fold of HL7 v2
//! messages writes.
//!
//! The collections need no validator: the fold reads each document before it extends it, and `verify` computes all
//! documents of the state again. A validator could also refuse documents that another program writes into a collection
//! such as `patients`.
//!
//! The views list every element that they show. They show no identifier, no name, no place and no free text. A field of
//! a message can contain any text, so a code is shown only if it is one of a list, or has the form of its coding
//! system. A pattern such as "letters and digits" would also show a surname, a record number or a date.

use bson::{Bson, Document, doc};

use super::Wanted;
use super::step::Step;
use super::view::{days_between, each_item, view_name, year};
use crate::deployment::indexes::read_raw;
use crate::fold::shell::{indexes, is_folded, missing_indexes};
use crate::fold::{collections, notes_of};
use crate::server::{ServerError, Target, first_batch};
use crate::spec::{Spec, Zone};

/// Coding systems of HL7 table 0396, each with the form of its codes.
const SYSTEMS: [(&str, &str); 4] =
    [("LN", "^[0-9]{1,6}-[0-9]$"), ("SCT", "^[0-9]{6,18}$"), ("I10", ICD_10), ("I10C", ICD_10)];
const ICD_10: &str = "^[A-Z][0-9][0-9A-Z](\\.[0-9A-Z]{1,4})?$";
/// LOINC codes of ages and of times of birth. Their values are never shown: an age over 89 identifies a person
/// (45 CFR 164.514(b)(2)(i)(C)).
const AGES: [&str; 9] =
    ["30525-0", "21612-7", "29553-5", "35659-2", "39016-1", "63900-5", "63932-8", "21112-8", "57722-1"];
/// The form of a number in a value of the type NM, and below, of the type SN (`>^100`). A number with more digits is
/// not shown, because it could be a date, a telephone number or an identifier.
const NUMBER: &str = "^[+-]?[0-9]{1,6}(\\.[0-9]{1,6})?$";
const STRUCTURED_NUMBER: &str = "^(<|>|<=|>=|=|<>)?\\^[0-9]{1,6}(\\.[0-9]{1,6})?$";
/// A number is shown only with one of these units. None of them is a unit of ages.
const UNITS: [&str; 58] = [
    "%",
    "/uL",
    "10*12/L",
    "10*3/uL",
    "10*6/uL",
    "10*9/L",
    "Cel",
    "IU/L",
    "IU/mL",
    "U/L",
    "U/mL",
    "cm",
    "fL",
    "fl",
    "g",
    "g/L",
    "g/dL",
    "g/dl",
    "g/l",
    "kPa",
    "kU/L",
    "kg",
    "kg/m2",
    "mEq/L",
    "mIU/L",
    "mL",
    "mL/min",
    "mL/min/{1.73_m2}",
    "mU/L",
    "meq/L",
    "mg",
    "mg/L",
    "mg/dL",
    "mg/dl",
    "mg/g",
    "mg/l",
    "mg/mmol",
    "mm",
    "mm/h",
    "mm[Hg]",
    "mmHg",
    "mmol/L",
    "mmol/l",
    "mmol/mol",
    "mosm/kg",
    "ng/L",
    "ng/dL",
    "ng/mL",
    "ng/ml",
    "nmol/L",
    "pg",
    "pg/mL",
    "pmol/L",
    "s",
    "ug/L",
    "ug/dL",
    "umol/L",
    "umol/l",
];
/// HL7 tables 0001, 0002, 0004, 0007, 0078 and 0136.
const SEXES: [&str; 6] = ["A", "F", "M", "N", "O", "U"];
const MARITAL_STATUSES: [&str; 15] = ["A", "B", "C", "D", "E", "G", "I", "M", "N", "O", "P", "R", "S", "U", "W"];
const CLASSES: [&str; 9] = ["B", "C", "E", "I", "N", "O", "P", "R", "U"];
const ADMISSION_TYPES: [&str; 7] = ["A", "C", "E", "L", "N", "R", "U"];
const FLAGS: [&str; 12] = ["A", "AA", "D", "H", "HH", "I", "L", "LL", "N", "R", "S", "U"];
const YES_NO: [&str; 2] = ["N", "Y"];
/// The statuses that the fold gives to visits.
const VISIT_STATUSES: [&str; 5] = ["admitted", "cancelled", "discharged", "pre-admitted", "registered"];
/// HL7 tables 0069 and 0112, with the values that HL7 suggests.
const SERVICES: [&str; 5] = ["CAR", "MED", "PUL", "SUR", "URO"];
const DISPOSITION: &str = "^(0[1-9]|[123][0-9]|4[0-2])$";
/// HL7 tables 0085 and 0123.
const RESULT_STATUSES: [&str; 15] = ["A", "B", "C", "D", "F", "I", "N", "O", "P", "R", "S", "U", "V", "W", "X"];
/// Value types from HL7 table 0125. Any other text in this field is not shown.
const VALUE_TYPES: [&str; 16] =
    ["CE", "CNE", "CWE", "DR", "DT", "DTM", "ED", "FT", "ID", "IS", "NM", "RP", "SN", "ST", "TM", "TX"];
const CODE_TYPES: [&str; 3] = ["CE", "CNE", "CWE"];

/// Returns the collections of the state, if the spec describes messages that can be folded.
pub(super) fn state_collections(spec: &Spec) -> &'static [&'static str] {
    static NAMES: std::sync::LazyLock<[&str; 3]> = std::sync::LazyLock::new(collections);
    if is_folded(spec) { &*NAMES } else { &[] }
}

/// Returns the collections from which the loader may remove documents: those of the state, and the collection that
/// records which messages are folded. Empty if the spec describes nothing that can be folded.
pub(in crate::deployment) fn folded_collections(spec: &Spec, messages: &str) -> Vec<String> {
    let names = state_collections(spec);
    let notes = (!names.is_empty()).then(|| notes_of(messages));
    names.iter().map(|name| (*name).to_owned()).chain(notes).collect()
}

/// Returns the steps that create the collections of the state, their missing indexes and their views.
pub(super) async fn steps(target: &Target, wanted: &Wanted<'_>) -> Result<Vec<Step>, ServerError> {
    refuse_name_of_state(wanted)?;
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

/// Returns an error if the messages would be in a collection of the state.
fn refuse_name_of_state(wanted: &Wanted<'_>) -> Result<(), ServerError> {
    if !state_collections(wanted.spec).contains(&wanted.collection.as_str()) {
        return Ok(());
    }
    let problem = format!(
        "the fold writes {} in {}, so the messages need another collection; leave out --collection for {}",
        wanted.collection, wanted.database, wanted.spec.collection
    );
    Err(ServerError::Setting { setting: "--collection".to_owned(), problem })
}

/// Returns the steps that create the collections of the state in a deployment that has none of them.
pub(super) fn from_nothing(wanted: &Wanted<'_>) -> Vec<Step> {
    let names = state_collections(wanted.spec);
    let all = indexes().into_iter().filter(|(name, _)| names.contains(name));
    all.map(|(name, indexes)| create(wanted, name, indexes)).collect()
}

fn create(wanted: &Wanted<'_>, name: &str, indexes: Vec<Document>) -> Step {
    let what = format!("create collection {}.{name} with its indexes", wanted.database);
    Step::new(what, [doc! { "create": name }, doc! { "createIndexes": name, "indexes": indexes }])
}

/// Returns the views of the state for analysts. Each is given as the name of its collection and its pipeline.
pub(super) fn views(spec: &Spec) -> Vec<(&'static str, Vec<Document>)> {
    let [patients, visits, results] = collections();
    let zone = spec.source.zone;
    let all = [(patients, of_patients(zone)), (visits, of_visits(zone)), (results, of_results(zone))];
    let names = state_collections(spec);
    let shown = all.into_iter().filter(|(name, _)| names.contains(name));
    shown.map(|(name, shown)| (name, vec![doc! { "$project": shown }])).collect()
}

pub(super) fn view_names(spec: &Spec) -> Vec<String> {
    state_collections(spec).iter().map(|name| view_name(name)).collect()
}

fn of_patients(zone: Zone) -> Document {
    doc! {
        "_id": 0,
        "sex": listed("$sex", &SEXES),
        // A day of birth is stored as midnight UTC, in every time zone.
        "birthDate": year("$birthDate", Zone::UTC),
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
        "status": listed("$status", &VISIT_STATUSES),
        "isProvisional": { "$eq": ["$provisional", true] },
        "class": listed("$class", &CLASSES),
        "admissionType": listed("$admissionType", &ADMISSION_TYPES),
        "service": listed("$service", &SERVICES),
        "disposition": matching("$disposition", DISPOSITION),
        "movements": movements,
        "admittedAt": year("$admittedAt", zone),
        "dischargedAt": year("$dischargedAt", zone),
        "admittedAt to dischargedAt (days)": days_between("$admittedAt", "$dischargedAt", zone),
    }
}

/// The view shows neither names of tests, nor reference ranges: both are texts of the sender.
fn of_results(zone: Zone) -> Document {
    let code = |path: &str| {
        let (code, system) = (format!("{path}.code"), format!("{path}.system"));
        doc! { "code": of_system(&code.as_str().into(), &system.as_str().into()), "system": listed(&system, &SYSTEMS.map(|(name, _)| name)) }
    };
    let component = |index: i32| Bson::from(doc! { "$arrayElemAt": [{ "$split": ["$value", "^"] }, index] });
    let has_unit = is_in("$unit.code", &UNITS);
    let is_of = |kind: &str, pattern: &str| {
        let is_kind = doc! { "$eq": ["$valueType", kind] };
        doc! { "case": { "$and": [is_kind, has_unit.clone()] }, "then": matching("$value", pattern) }
    };
    let is_text = doc! { "$eq": [{ "$type": "$value" }, "string"] };
    let of_code = doc! { "$cond": [is_text, of_system(&component(0), &component(2)), null] };
    let value = doc! { "$switch": {
        "branches": [
            { "case": { "$or": [is_in("$code.code", &AGES), is_in("$panel.code", &AGES)] }, "then": null },
            is_of("NM", NUMBER),
            is_of("SN", STRUCTURED_NUMBER),
            { "case": is_in("$valueType", &CODE_TYPES), "then": of_code },
        ],
        "default": null,
    } };
    doc! {
        "_id": 0,
        "status": listed("$status", &RESULT_STATUSES),
        "panel": code("$panel"),
        "code": code("$code"),
        "valueType": listed("$valueType", &VALUE_TYPES),
        "value": value,
        "unit": { "code": listed("$unit.code", &UNITS) },
        "flags": each_item("$flags", "item1", listed("$$item1", &FLAGS)),
        "observedAt": year("$observedAt", zone),
    }
}

/// Returns the expression for a code that is shown only if it has the form of the codes of its system.
fn of_system(code: &Bson, system: &Bson) -> Bson {
    let is_text = doc! { "$eq": [{ "$type": code }, "string"] };
    let fits = SYSTEMS.map(|(name, form)| {
        let has_form = doc! { "$regexMatch": { "input": code, "regex": form } };
        doc! { "case": { "$eq": [system, name] }, "then": { "$cond": [has_form, code, null] } }
    });
    let shown = doc! { "$switch": { "branches": fits.to_vec(), "default": null } };
    Bson::from(doc! { "$cond": [is_text, shown, null] })
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
