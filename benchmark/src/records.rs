//! The scenarios `messages` and `resources`: their synthetic sources (HL7 v2 messages, and FHIR R4 resources), and
//! their contenders.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use testkit::{Doing, Result};

use crate::contender::{Contender, Tools};
use crate::replay::Pace;

/// Each patient has this number of messages, or of resources.
const PER_PATIENT: u64 = 10;
/// The messages of this number of patients are mixed, as in a hospital's archive.
const PATIENTS_TOGETHER: u64 = 1_000;
/// Results in one laboratory message.
const OBSERVATIONS: u64 = 7;

/// The place of a message or a resource: its number in the file, the number of its patient, and its number among the
/// messages or resources of this patient (`step`).
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    patient: u64,
    step: u64,
}

impl Place {
    fn of(number: u64) -> Self {
        let wave = PATIENTS_TOGETHER * PER_PATIENT;
        let patient = number / wave * PATIENTS_TOGETHER + number % PATIENTS_TOGETHER;
        Self { number, patient, step: number % wave / PATIENTS_TOGETHER }
    }
}

/// Returns the contenders that load messages.
pub(crate) fn messages(tools: &Tools<'_>, source: &Path) -> Result<Vec<Contender>> {
    let spec = ["--spec", "hl7v2"];
    let python = tools.inputs.python()?;
    Ok(vec![
        tools.medlift("medlift load --no-fold", source, &[&spec[..], &["--no-fold"]].concat()),
        tools.verify(source, &spec),
        tools.medlift("medlift load (stored and folded)", source, &spec),
        tools.python("script (python-hl7, pymongo)", &python, "messages.py", source),
    ])
}

/// Returns the contenders that load resources.
pub(crate) fn resources(tools: &Tools<'_>, source: &Path) -> Result<Vec<Contender>> {
    let spec = ["--spec", "fhir-r4"];
    let python = tools.inputs.python()?;
    let pace = Pace { batch_docs: 5_000, connections: 2, growing_id: false, docs_max: u64::MAX };
    Ok(vec![
        tools.floor("floor (one collection, no indexes)", &tools.inputs.documents_of(source, "fhir-r4")?, pace),
        tools.medlift_into_own("medlift load", "load", source, &[&spec[..], &["--yes", "--no-verify"]].concat()),
        tools.medlift_into_own("medlift verify", "verify", source, &spec).after(Vec::new()),
        tools.python("script (json, pymongo)", &python, "resources.py", source),
    ])
}

/// Returns the contenders that load Bundles of Synthea. `files` is a pattern.
pub(crate) fn bundles(tools: &Tools<'_>, files: &Path) -> Vec<Contender> {
    let spec = ["--spec", "fhir-r4"];
    vec![
        tools.medlift_into_own("medlift load", "load", files, &[&spec[..], &["--yes", "--no-verify"]].concat()),
        tools.medlift_into_own("medlift verify", "verify", files, &spec).after(Vec::new()),
        tools.medlift_into_own("medlift load, with its proof", "load", files, &[&spec[..], &["--yes"]].concat()),
    ]
}

/// Writes `count` HL7 v2 messages of about 1 KB: for each patient an admission, updates, laboratory results and a
/// discharge, in the order of time.
pub(crate) fn write_messages(path: &Path, count: u64) -> Result<()> {
    write(path, count, message)
}

/// Writes `count` FHIR resources of about 1.8 KB, one per line: for each patient one Patient, one Encounter and eight
/// Observations.
pub(crate) fn write_resources(path: &Path, count: u64) -> Result<()> {
    write(path, count, resource)
}

fn write(path: &Path, count: u64, record: fn(Place) -> String) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    let mut file = BufWriter::new(File::create(path).doing(doing)?);
    for number in 0..count {
        file.write_all(record(Place::of(number)).as_bytes()).doing(doing)?;
    }
    file.flush().doing(doing)
}

fn message(place: Place) -> String {
    let Place { number, patient, step } = place;
    let event = ["A01", "A08", "R01", "R01", "A02", "R01", "R01", "A08", "R01", "A03"][(step % PER_PATIENT) as usize];
    let kind = if event == "R01" { "ORU" } else { "ADT" };
    let time = time_of(place);
    let mut text =
        format!("MSH|^~\\&|SENDER|NORTH|MEDLIFT|HOSPITAL|{time}||{kind}^{event}|M{number}|P|2.5.1|||AL|NE\r");
    if kind == "ADT" {
        let _ = write!(text, "EVN|{event}|{time}|||OPERATOR{}\r", patient % 50);
    }
    let _ = write!(
        text,
        "PID|1||{patient}^^^NORTH^MR~{}^^^SSA^SS||FAMILY{patient}^GIVEN{}^Q^^^^L||19{:02}0{}1{}|{}||2106-3^WHITE^HL70005|\
         {} MILL ROAD^APARTMENT {}^SPRINGFIELD^IL^62701^USA^H||(217)555-{:04}^PRN^PH~(217)556-{:04}^WPN^PH||EN^ENGLISH|\
         M|CHR|ACCOUNT{patient}^^^NORTH^AN\r",
        900_000_000 + patient,
        patient % 977,
        patient % 90 + 10,
        patient % 9 + 1,
        patient % 10,
        if patient.is_multiple_of(2) { "F" } else { "M" },
        patient % 999 + 1,
        patient % 30 + 1,
        patient % 10_000,
        (patient + step) % 10_000,
    );
    let _ = write!(
        text,
        "PV1|1|I|W{}^{}^{}^NORTH||||{}^SMITH^JOHN^A^^DR^MD|{}^JONES^MARY^B^^DR^MD||MED|||||ADM|A0|||VISIT{patient}^^^\
         NORTH^VN|||||||||||||||||||||||||{time}\r",
        step % 5,
        patient % 40 + 1,
        patient % 4 + 1,
        1_000 + patient % 200,
        2_000 + patient % 200,
    );
    if kind == "ORU" { text + &results(place, &time) } else { text + &additions(patient) }
}

/// Returns the segments of an ADT message that only fill it: next of kin, allergy, diagnosis, insurance.
fn additions(patient: u64) -> String {
    format!(
        "NK1|1|FAMILY{patient}^RELATED^R|SPO^SPOUSE^HL70063|{} MILL ROAD^^SPRINGFIELD^IL^62701^USA|(217)555-{:04}||EC\r\
         AL1|1|DA^DRUG ALLERGY^HL70127|70618^PENICILLIN^RXNORM|MO^MODERATE^HL70128|RASH AND SWELLING OF THE ARMS\r\
         DG1|1||I10^ESSENTIAL (PRIMARY) HYPERTENSION^I10|ESSENTIAL (PRIMARY) HYPERTENSION||A\r\
         IN1|1|PLAN{}^STANDARD PLAN|INSURER{}|INSURANCE COMPANY|1 MAIN STREET^^SPRINGFIELD^IL^62701|||GROUP{}\r",
        patient % 999 + 1,
        patient % 10_000,
        patient % 7,
        patient % 70,
        patient % 700,
    )
}

fn results(place: Place, time: &str) -> String {
    let Place { number, patient, .. } = place;
    let mut text = format!(
        "OBR|1|P{number}^NORTH|F{number}^LAB|24323-8^COMPREHENSIVE METABOLIC PANEL^LN|||{time}||||||||||||||||||F\r"
    );
    for index in 0..OBSERVATIONS {
        let value = (patient * 7 + index * 13 + number) % 900 + 100;
        let _ = write!(
            text,
            "OBX|{}|NM|{}-{index}^ANALYTE {index} IN SERUM OR PLASMA^LN||{}.{}|mmol/L^MILLIMOLE PER LITRE^UCUM|3.5-145.0|N|||F|||\
             {time}\r",
            index + 1,
            2_950 + index,
            value / 10,
            value % 10,
        );
    }
    text
}

/// Returns a time in HL7's notation. The messages of a patient are hours apart.
fn time_of(Place { patient, step, .. }: Place) -> String {
    format!("202{}{:02}{:02}{:02}{:02}00", patient % 6, patient % 12 + 1, patient % 28 + 1, step, patient % 60)
}

fn resource(place: Place) -> String {
    let Place { number, patient, step } = place;
    let (day, minute) = (patient % 28 + 1, number % 60);
    let at = format!("202{}-0{}-{day:02}T0{}:{minute:02}:00.000+01:00", patient % 6, patient % 9 + 1, step % 10);
    let meta = format!(
        r#""meta":{{"versionId":"1","lastUpdated":"{at}","source":"urn:system:north","profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-profile"]}}"#
    );
    let text = format!(
        r#""text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">{}</div>"}}"#,
        "Generated narrative of the resource. ".repeat(14)
    );
    let subject = format!(r#""subject":{{"reference":"Patient/p{patient}","display":"Given Family{patient}"}}"#);
    match step {
        0 => format!(
            concat!(
                r#"{{"resourceType":"Patient","id":"p{p}",{meta},{text},"identifier":[{{"type":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MR","display":"Medical Record Number"}}]}},"system":"urn:oid:1.2.36.146","value":"{p}"}},"#,
                r#"{{"system":"http://hl7.org/fhir/sid/us-ssn","value":"{ssn}"}}],"active":true,"name":[{{"use":"official","family":"Family{p}","given":["Given","Q"],"prefix":["Ms."]}}],"telecom":[{{"system":"phone","value":"217-555-{p}","use":"home"}}],"#,
                r#""gender":"female","birthDate":"19{year:02}-0{month}-1{digit}","address":[{{"line":["{p} Mill Road"],"city":"Springfield","state":"IL","postalCode":"62701","country":"US"}}],"maritalStatus":{{"text":"M"}},"multipleBirthBoolean":false}}"#,
                "\n"
            ),
            p = patient,
            meta = meta,
            text = text,
            ssn = 900_000_000 + patient,
            year = patient % 90 + 10,
            month = patient % 9 + 1,
            digit = patient % 10,
        ),
        1 => format!(
            concat!(
                r#"{{"resourceType":"Encounter","id":"e{p}",{meta},{text},"status":"finished","class":{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"IMP","display":"inpatient encounter"}},"#,
                r#""type":[{{"coding":[{{"system":"http://snomed.info/sct","code":"185347001","display":"Encounter for problem"}}],"text":"Encounter for problem"}}],{subject},"period":{{"start":"{at}","end":"{at}"}},"#,
                r#""participant":[{{"individual":{{"reference":"Practitioner/d{doctor}","display":"Dr. Smith"}}}}],"serviceProvider":{{"reference":"Organization/o{org}"}}}}"#,
                "\n"
            ),
            p = patient,
            meta = meta,
            text = text,
            subject = subject,
            at = at,
            doctor = patient % 200,
            org = patient % 20,
        ),
        _ => format!(
            concat!(
                r#"{{"resourceType":"Observation","id":"o{n}",{meta},{text},"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"Laboratory"}}],"text":"Laboratory"}}],"#,
                r#""code":{{"coding":[{{"system":"http://loinc.org","code":"{code}-{digit}","display":"Analyte {step} in Serum or Plasma"}}],"text":"Analyte {step} in Serum or Plasma"}},{subject},"encounter":{{"reference":"Encounter/e{visit}"}},"#,
                r#""effectiveDateTime":"{at}","issued":"{at}","valueQuantity":{{"value":{value}.{digit}0,"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"}},"referenceRange":[{{"low":{{"value":3.50,"unit":"mmol/L"}},"high":{{"value":145.0,"unit":"mmol/L"}}}}]}}"#,
                "\n"
            ),
            n = number,
            meta = meta,
            text = text,
            subject = subject,
            at = at,
            code = 2_950 + step,
            digit = number % 10,
            step = step,
            visit = patient,
            value = (patient * 7 + step * 13) % 150,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_patient_has_ten_messages_of_about_one_kilobyte_in_the_order_of_time() {
        let messages: Vec<String> = (0..20_000).map(|number| message(Place::of(number))).collect();
        let mean = messages.iter().map(String::len).sum::<usize>() / messages.len();
        assert!((800..1_300).contains(&mean), "{mean} bytes");
        let mut times: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for message in &messages {
            let identifier = message.split("PID|1||").nth(1).and_then(|rest| rest.split('^').next()).expect("a PID");
            times.entry(identifier).or_default().push(message.split('|').nth(6).expect("MSH-7"));
        }
        assert_eq!(times.len(), 2_000);
        assert!(times.values().all(|times| times.len() == 10 && times.is_sorted()));
    }

    #[test]
    fn resources_are_json_of_about_the_stated_size() {
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        let mut bytes = 0;
        for number in 0..20_000 {
            let line = resource(Place::of(number));
            bytes += line.len();
            let value: Value = serde_json::from_str(&line).expect("JSON");
            *types.entry(value["resourceType"].as_str().expect("a type").to_owned()).or_default() += 1;
        }
        assert!((1_500..2_100).contains(&(bytes / 20_000)), "{} bytes", bytes / 20_000);
        assert_eq!(types.values().copied().collect::<Vec<_>>(), [2_000, 16_000, 2_000]);
    }
}
