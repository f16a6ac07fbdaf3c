//! One test per rule of the fold, with small messages.

use bson::{Bson, Document, doc};

use super::*;

const PID: &str = "PID|1||P1^^^H^MR||DOE^JANE||19800102|F";
const PV1: &str = "PV1|1|I|W1^R1^B1||||||||||||||||V1^^^H";

/// Folds messages about one visit, in this order, and returns the visit.
fn visit(messages: &[(&str, &[&str])]) -> Document {
    let numbered = messages.iter().enumerate();
    let texts: Vec<String> = numbered.map(|(at, (name, rest))| message(name, at as u32, "1", rest)).collect();
    let mut visits = documents(Kind::Visit, &texts);
    assert_eq!(visits.len(), 1, "{visits:?}");
    visits.remove(0)
}

fn patient(messages: &[(&str, &[&str])]) -> Document {
    let numbered = messages.iter().enumerate();
    let texts: Vec<String> = numbered.map(|(at, (name, rest))| message(name, at as u32, "1", rest)).collect();
    let mut patients = documents(Kind::Patient, &texts);
    assert_eq!(patients.len(), 1, "{patients:?}");
    patients.remove(0)
}

fn at<'d>(document: &'d Document, path: &str) -> Option<&'d Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((first, rest)) => at(document.get(first)?.as_document()?, rest),
    }
}

fn text<'d>(document: &'d Document, path: &str) -> Option<&'d str> {
    at(document, path).and_then(Bson::as_str)
}

#[test]
fn a_visit_has_the_status_of_its_events() {
    let check = |events: &[&str], status: Option<&str>, is_provisional: bool| {
        let rest: &[&str] = &[PID, PV1];
        let messages: Vec<(String, &[&str])> = events.iter().map(|name| (format!("ADT^{name}"), rest)).collect();
        let messages: Vec<(&str, &[&str])> = messages.iter().map(|(name, rest)| (name.as_str(), *rest)).collect();
        let visit = visit(&messages);
        assert_eq!(text(&visit, "status"), status, "{events:?}");
        assert_eq!(at(&visit, "provisional").is_some(), is_provisional, "{events:?}");
    };
    check(&["A01"], Some("admitted"), false);
    check(&["A04"], Some("registered"), false);
    check(&["A05"], Some("pre-admitted"), false);
    check(&["A05", "A01"], Some("admitted"), false);
    check(&["A01", "A03"], Some("discharged"), false);
    check(&["A01", "A03", "A13"], Some("admitted"), false);
    check(&["A04", "A03", "A03", "A13"], Some("registered"), false);
    check(&["A01", "A13"], Some("admitted"), false);
    check(&["A01", "A11"], Some("cancelled"), false);
    check(&["A01", "A11", "A13"], Some("cancelled"), false);
    check(&["A01", "A11", "A01"], Some("admitted"), false);
    // The admission was entered after its cancellation.
    check(&["A11", "A01"], Some("admitted"), false);
    check(&["A04", "A06"], Some("admitted"), false);
    check(&["A01", "A07"], Some("registered"), false);
    check(&["A01", "A03", "A01"], Some("admitted"), false);
    // Without a message that admits the patient, the visit is provisional.
    check(&["A03"], Some("discharged"), true);
    check(&["A03", "A13"], Some("admitted"), true);
    check(&["A02"], Some("admitted"), true);
    check(&["A08"], None, true);
    check(&["A11"], Some("cancelled"), true);
    check(&["A06"], Some("admitted"), true);
}

#[test]
fn a_discharge_is_cancelled_with_its_time_and_its_disposition() {
    let discharge = "PV1|1|I|W1||||||||||||||||V1^^^H|||||||||||||||||01|||||||||202603010200";
    let visit = |messages: &[(&str, &[&str])]| {
        let visit = visit(messages);
        (at(&visit, "dischargedAt").is_some(), text(&visit, "disposition").map(str::to_owned))
    };
    let admission: (&str, &[&str]) = ("ADT^A01", &[PID, PV1]);
    assert_eq!(visit(&[admission, ("ADT^A03", &[PID, discharge])]), (true, Some("01".to_owned())));
    assert_eq!(visit(&[admission, ("ADT^A03", &[PID, PV1])]), (true, None));
    let cancelled = [admission, ("ADT^A03", &[PID, discharge]), ("ADT^A13", &[PID, discharge])];
    assert_eq!(visit(&cancelled), (false, None));
}

#[test]
fn transfers_move_the_patient_and_their_cancellation_moves_back() {
    let there = "PV1|1|I|W2^R2^B2||||||||||||||||V1^^^H";
    let nowhere = "PV1|1|I|||||||||||||||||V1^^^H";
    let check = |messages: &[(&str, &str)], unit: Option<&str>, movements: usize| {
        let rest: Vec<[&str; 2]> = messages.iter().map(|(_, pv1)| [PID, *pv1]).collect();
        let messages: Vec<(&str, &[&str])> =
            messages.iter().zip(&rest).map(|((name, _), rest)| (*name, &rest[..])).collect();
        let visit = visit(&messages);
        assert_eq!(text(&visit, "location.unit"), unit, "{messages:?}");
        let count = at(&visit, "movements").and_then(Bson::as_array).map_or(0, Vec::len);
        assert_eq!(count, movements, "{messages:?}");
    };
    check(&[("ADT^A01", PV1)], Some("W1"), 1);
    check(&[("ADT^A01", nowhere)], None, 0);
    check(&[("ADT^A01", PV1), ("ADT^A02", there)], Some("W2"), 2);
    check(&[("ADT^A01", PV1), ("ADT^A02", nowhere)], Some("W1"), 2);
    check(&[("ADT^A01", PV1), ("ADT^A02", there), ("ADT^A12", PV1)], Some("W1"), 1);
    check(&[("ADT^A01", PV1), ("ADT^A02", there), ("ADT^A12", nowhere)], Some("W1"), 1);
    // There is no transfer to cancel. The location in the message still counts.
    check(&[("ADT^A01", PV1), ("ADT^A12", nowhere)], Some("W1"), 1);
    check(&[("ADT^A12", PV1)], Some("W1"), 1);
    // An update corrects the last location, and the transfer can still be cancelled.
    check(&[("ADT^A01", PV1), ("ADT^A02", nowhere), ("ADT^A08", there), ("ADT^A12", nowhere)], Some("W1"), 1);
    check(&[("ADT^A01", PV1), ("ADT^A08", there)], Some("W2"), 1);
}

#[test]
fn in_an_update_an_empty_field_leaves_a_value_and_two_quotes_delete_it() {
    let patient = patient(&[
        ("ADT^A28", &["PID|1||P1^^^H^MR||DOE^JANE^ANN||19800102|F|||1 ROAD^^TOWN||555"]),
        ("ADT^A31", &[r#"PID|1||P1^^^H^MR||ROE^""||""||||^^^^||666"#]),
    ]);
    assert_eq!(at(&patient, "name"), Some(&Bson::from(doc! { "family": "ROE" })));
    assert_eq!(at(&patient, "birthDate"), None);
    assert_eq!(at(&patient, "birthDatePrecision"), None);
    assert_eq!(text(&patient, "sex"), Some("F"));
    assert_eq!(at(&patient, "address"), Some(&Bson::from(doc! { "street": "1 ROAD", "city": "TOWN" })));
    assert_eq!(text(&patient, "phone"), Some("666"));
}

#[test]
fn the_precision_of_a_time_is_kept() {
    let patient = patient(&[("ADT^A28", &["PID|1||P1^^^H^MR||||1980"])]);
    assert_eq!(text(&patient, "birthDatePrecision"), Some("year"));
    let first = bson::DateTime::parse_rfc3339_str("1980-01-01T00:00:00Z").expect("a time");
    assert_eq!(at(&patient, "birthDate"), Some(&Bson::DateTime(first)));
}

#[test]
fn a_document_names_the_messages_behind_its_values_and_no_others() {
    let texts = [
        message("ADT^A28", 0, "1", &["PID|1||P1^^^H^MR||DOE||19800102"]),
        message("ADT^A31", 1, "1", &["PID|1||P1^^^H^MR||ROE"]),
        message("ADT^A31", 2, "1", &["PID|1||P1^^^H^MR||POE"]),
    ];
    let patient = documents(Kind::Patient, &texts).remove(0);
    let id = |text: &String| Bson::from(Id::from_hash(&blake3::hash(text.as_bytes())).to_binary());
    let expected = vec![
        Bson::from(doc! { "message": id(&texts[0]), "says": ["birthDate"] }),
        Bson::from(doc! { "message": id(&texts[2]), "says": ["identifiers", "name"] }),
    ];
    assert_eq!(at(&patient, "messages").and_then(Bson::as_array), Some(&expected));
    assert_eq!(at(&patient, "asOf.message"), Some(&id(&texts[2])));
    assert_eq!(text(&patient, "asOf.controlId"), Some("1"));
}

#[test]
fn messages_without_effect_touch_nothing() {
    for (name, rest) in [
        ("ADT^A09", &[PID, PV1][..]),
        ("ADT^A60", &[PID]),
        ("SIU^S12", &[PID, PV1]),
        ("ORU^R30", &[PID, "OBR|1|O1", "OBX|1|NM|K||4"]),
        ("ADT^A01", &[]),
        ("ADT^A01", &["PID|1||^^^H^MR"]),
        ("ORU^R01", &[PID, "OBR|1|O1", "OBX|1|NM|||4"]),
    ] {
        assert_eq!(event(&message(name, 0, "1", rest)).keys().count(), 0, "{name} {rest:?}");
    }
    // A31 and A28 are about the person alone.
    assert_eq!(event(&message("ADT^A31", 0, "1", &[PID, PV1])).keys().count(), 1);
}

#[test]
fn the_patient_is_the_medical_record_number_or_the_first_identifier() {
    let id = |pid3: &str| {
        let event = event(&message("ADT^A28", 0, "1", &[&format!("PID|1||{pid3}")]));
        event.keys().next().map(|key| key.id)
    };
    let key = |value: &str, authority: &str| Some(IdentityKey::default().patient(value, authority));
    assert_eq!(id("9^^^STATE^SS~1^^^H^MR~2^^^H^MR"), key("1", "H"));
    assert_eq!(id("9^^^STATE^SS~1^^^H^PI"), key("9", "STATE"));
    assert_eq!(id("^^^H^MR~7^^^H^PI"), key("7", "H"));
    assert_eq!(id("1^^^H&1.2.3&ISO^MR"), key("1", "H"));
    assert_eq!(id("1^^^&1.2.3&ISO^MR"), key("1", "1.2.3"));
    assert_eq!(id("1^^^^MR"), key("1", ""));
    assert_eq!(id(" 1 "), key("1", ""));
    assert_eq!(id(""), None);
}

#[test]
fn the_visit_number_is_pv1_19_or_the_account_number() {
    let id = |pid: &str, pv1: &str| {
        let event = event(&message("ADT^A01", 0, "1", &[pid, pv1]));
        event.keys().find(|key| key.kind == Kind::Visit).map(|key| key.id)
    };
    let account = "PID|1||P1^^^H^MR|||||||||||||||V1^^^H";
    let (with, without) = (id(PID, PV1), id(account, "PV1|1|I"));
    assert!(with.is_some() && without.is_some() && with != without);
    assert_eq!(id(account, PV1), with);
    assert_eq!(id(PID, "PV1|1|I"), None);
}

#[test]
fn a_merge_redirects_the_old_key_and_its_visits_and_results_follow() {
    let other = "PID|1||P2^^^H^MR||ROE";
    let texts = [
        message("ADT^A01", 0, "1", &[PID, PV1]),
        message("ORU^R01", 1, "1", &[PID, "OBR|1||F1", "OBX|1|NM|K^^L||4|||||F"]),
        message("ADT^A40", 2, "1", &[other, "MRG|P1^^^H^MR"]),
        // A late message for the old key.
        message("ADT^A03", 3, "1", &[PID, PV1]),
    ];
    let key = |value: &str| Bson::from(IdentityKey::default().patient(value, "H").to_binary());
    for kind in [Kind::Visit, Kind::Result] {
        let document = documents(kind, &texts).remove(0);
        assert_eq!(at(&document, "patient"), Some(&key("P2")), "{kind:?}");
        assert_eq!(at(&document, "patientAsSent"), Some(&key("P1")), "{kind:?}");
    }
    let patients = documents(Kind::Patient, &texts);
    let old = patients.iter().find(|patient| patient.get("_id") == Some(&key("P1"))).expect("the old key");
    assert_eq!(at(old, "mergedInto.patient"), Some(&key("P2")));
    assert_eq!((at(old, "patient"), text(old, "name.family")), (Some(&key("P2")), Some("DOE")));
    let new = patients.iter().find(|patient| patient.get("_id") == Some(&key("P2"))).expect("the new key");
    assert_eq!((at(new, "mergedInto"), at(new, "patient")), (None, Some(&key("P2"))));
}

#[test]
fn a_moved_visit_stays_with_the_new_patient() {
    let other = "PID|1||P2^^^H^MR||ROE";
    let moved = [
        message("ADT^A01", 0, "1", &[PID, PV1]),
        message("ADT^A45", 1, "1", &[other, "MRG|P1^^^H^MR||||V1^^^H", PV1]),
        // The system that sends this message does not know of the move.
        message("ADT^A03", 2, "1", &[PID, PV1]),
    ];
    let key = |value: &str| Bson::from(IdentityKey::default().patient(value, "H").to_binary());
    let visit = documents(Kind::Visit, &moved).remove(0);
    assert_eq!((at(&visit, "patient"), text(&visit, "status")), (Some(&key("P2")), Some("discharged")));
    // If A45 also changes the visit number, the old visit names the new one.
    let renumbered = message("ADT^A45", 1, "1", &[other, "MRG|P1^^^H^MR||||V0^^^H", PV1]);
    let visits = documents(Kind::Visit, &[renumbered]);
    let old = visits.iter().find(|visit| visit.contains_key("movedTo")).expect("the old visit");
    assert_eq!(visits.len(), 2);
    assert!(visits.iter().any(|visit| visit.get("_id") == old.get("movedTo")));
    // A visit without a number is known by the account number.
    let account = |number: &str| format!("{other}|||||||||||||{number}^^^H");
    let without = "PV1|1|I|W1";
    for (prior, present, count) in [("A1", "A1", 1), ("A1", "", 1), ("A1", "A2", 2), ("", "A1", 1)] {
        let admitted = message("ADT^A01", 0, "1", &[&account("A1").replace("P2", "P1"), without]);
        let mrg = format!("MRG|P1^^^H^MR||{prior}^^^H");
        let moved = message("ADT^A45", 1, "1", &[&account(present), &mrg, without]);
        let visits = documents(Kind::Visit, &[admitted, moved]);
        assert_eq!(visits.len(), count, "{prior} {present}");
        let new = visits.iter().find(|visit| !visit.contains_key("movedTo")).expect("the visit");
        assert_eq!(at(new, "patient"), Some(&key("P2")), "{prior} {present}");
    }
    // The account number is not asked if there is a number of the visit.
    let both = message("ADT^A45", 1, "1", &[&account("A2"), "MRG|P1^^^H^MR||A1^^^H", PV1]);
    assert_eq!(documents(Kind::Visit, &[both]).len(), 1);
}

#[test]
fn a_correction_replaces_a_final_result_and_a_cancellation_removes_it() {
    let check = |statuses: &[&str], status: &str, value: Option<&str>| {
        let texts = statuses.iter().enumerate().map(|(at, status)| {
            let obx = format!("OBX|1|NM|K^Potassium^L||{at}|mmol/L||||| {status}").replace("| ", "|");
            message("ORU^R01", at as u32, "1", &[PID, "OBR|1|O1^A|F1^B|CBC", &obx])
        });
        let result = documents(Kind::Result, &texts.collect::<Vec<_>>()).remove(0);
        assert_eq!((text(&result, "status"), text(&result, "value")), (Some(status), value), "{statuses:?}");
        assert_eq!(text(&result, "code.code"), Some("K"));
    };
    check(&["P"], "P", Some("0"));
    check(&["P", "F"], "F", Some("1"));
    check(&["F", "F"], "F", Some("1"));
    check(&["F", "C"], "C", Some("1"));
    check(&["F", "C", "C"], "C", Some("2"));
    check(&["F", "X"], "X", None);
    check(&["C", "X"], "X", None);
    check(&["X", "P"], "X", None);
    check(&["X", "F"], "F", Some("1"));
    check(&["D", "C"], "C", Some("1"));
    // A preliminary result replaces no final one, and a final one replaces no correction.
    check(&["F", "P"], "F", Some("0"));
    check(&["C", "F"], "C", Some("0"));
    check(&[""], "F", Some("0"));
}

#[test]
fn several_obx_of_a_message_about_the_same_result_are_joined() {
    let check = |observations: &[&str], status: &str, value: Option<Bson>| {
        let mut rest = vec![PID, "OBR|1||F1^LAB|REPORT"];
        rest.extend(observations);
        let results = documents(Kind::Result, &[message("ORU^R01", 0, "1", &rest)]);
        assert_eq!(results.len(), 1);
        assert_eq!((at(&results[0], "value"), text(&results[0], "status")), (value.as_ref(), Some(status)));
    };
    let list = |texts: &[&str]| Some(Bson::from(texts.to_vec()));
    let report = ["OBX|1|TX|R||first||||||F", "OBX|2|TX|R||second~third||||||F", "OBX|3|TX|R||||||||F"];
    check(&report, "F", list(&["first", "second", "third"]));
    check(&report[..1], "F", Some("first".into()));
    // With another status, the OBX counts as if it were in a later message.
    check(
        &["OBX|1|TX|R||old||||||P", "OBX|2|TX|R||new||||||F", "OBX|3|TX|R||more||||||F"],
        "F",
        list(&["new", "more"]),
    );
    check(&["OBX|1|TX|R||old||||||F", "OBX|2|TX|R||old||||||X"], "X", None);
    check(&["OBX|1|TX|R||||||||X", "OBX|2|TX|R||new||||||F"], "F", Some("new".into()));
}

#[test]
fn documents_of_the_state_do_not_grow_without_limit() {
    // A system that sends all its transfers with the same visit number.
    let transfer = |at: u32| {
        let (there, control) = (format!("PV1|1|I|W{at}||||||||||||||||V1^^^H"), at.to_string());
        event(&message("ADT^A02", at % 1_200, &control, &[PID, &there]))
    };
    let events: Vec<Event> = (0..1_150).map(transfer).collect();
    let all = fold_all(&events);
    let (_, visit) = all.iter().find(|(key, _)| key.kind == Kind::Visit).expect("a visit");
    let read = Document::try_from(visit).expect("valid BSON");
    assert_eq!(at(&read, "movements").and_then(Bson::as_array).map(Vec::len), Some(1_000));
    assert_eq!(at(&read, "earlierMovements"), Some(&Bson::Int64(150)));
    assert_eq!(text(&read, "location.unit"), Some("W1149"));
    let again = State::read(Kind::Visit, visit).expect("readable");
    let patient = visit.get("patient").ok().flatten().and_then(Id::from_binary);
    assert_eq!(again.document(patient).as_bytes(), visit.as_bytes());
    // A value that is too large is only in the message.
    let obx = format!("OBX|1|ED|PDF||{}", "x".repeat(300_000));
    let result = documents(Kind::Result, &[message("ORU^R01", 0, "1", &[PID, "OBR|1||F1", &obx])]).remove(0);
    assert_eq!((at(&result, "value"), text(&result, "valueType")), (Some(&Bson::Null), Some("ED")));
    // Such a value is not in the event either, also if it is a list. A cancelled result has no value.
    for (values, status, expected) in [
        ("x".repeat(300_000), "F", Some(Bson::Null)),
        (format!("{}~{}", "x".repeat(200_000), "y".repeat(100_000)), "F", Some(Bson::Null)),
        ("x".repeat(300_000), "X", None),
        ("4".to_owned(), "F", Some(Bson::from("4"))),
    ] {
        let large =
            event(&message("ORU^R01", 0, "1", &[PID, "OBR|1||F1", &format!("OBX|1|TX|R||{values}||||||{status}")]));
        let (key, mut packed) = (large.keys().next().expect("a result"), Vec::new());
        large.pack(key, &mut packed);
        assert!(packed.len() < 1_000, "{} bytes", packed.len());
        let read = Event::unpack(key, &packed).expect("packed");
        for event in [&large, &read] {
            let state = fold(key, vec![event.clone()]).expect("touched").document(None);
            let value = Document::try_from(state).expect("valid BSON").remove("value");
            assert_eq!(value, expected, "{status}");
        }
    }
    // What all results of an order share is not too large for each of them. Keys are made from the whole values.
    let (long, code) = ("x".repeat(100_000), |code: &str| format!("OBX|1|NM|{code}||4"));
    let segments = [PID, &format!("OBR|1||F{long}|C^{long}{}{long}", "|".repeat(21)), &code("K"), &code("NA")];
    let large = event(&message("ORU^R01", 0, &long, &segments));
    let keys: Vec<Key> = large.keys().collect();
    assert_eq!(keys.len(), 2);
    for key in keys {
        let mut packed = Vec::new();
        large.pack(key, &mut packed);
        assert!(packed.len() < 10_000, "{} bytes", packed.len());
        let document = |event: Event| fold(key, vec![event]).expect("touched").document(None);
        let (whole, read) = (document(large.clone()), document(Event::unpack(key, &packed).expect("packed")));
        assert_eq!(whole, read);
        let read = Document::try_from(read).expect("valid BSON");
        assert_eq!((at(&read, "panel"), at(&read, "fillerOrder")), (Some(&Bson::Null), Some(&Bson::Null)));
        assert_eq!(text(&read, "asOf.controlId").map(str::len), Some(4_096));
    }
    // Escapes that write spaces do not make a text a hundred times as long.
    let obx = format!("OBX|1|TX|R||a{}b", r"\.sk999\".repeat(1_000));
    let result = documents(Kind::Result, &[message("ORU^R01", 0, "1", &[PID, "OBR|1||F1", &obx])]).remove(0);
    assert!(text(&result, "value").is_some_and(|value| value.len() < 40_000));
    let unit = format!("PV1|1|I|{}||||||||||||||||V1^^^H", "x".repeat(5_000));
    assert_eq!(at(&visit_of(&unit), "location"), None);
}

fn visit_of(pv1: &str) -> Document {
    visit(&[("ADT^A01", &[PID, pv1])])
}

#[test]
fn results_are_told_apart_by_order_code_and_sub_id() {
    let keys = |segments: &[&str]| {
        let mut rest = vec![PID];
        rest.extend(segments);
        event(&message("ORU^R01", 0, "1", &rest)).keys().collect::<Vec<_>>()
    };
    let one = keys(&["OBR|1||F1", "OBX|1|NM|K^^L||4"]);
    assert_eq!(keys(&["OBR|1|O9|F1", "OBX|7|NM|K^other text^L||5"]), one);
    assert_eq!(keys(&["ORC|RE||F1", "OBR|1", "OBX|1|NM|K^^L||4"]), one);
    assert_ne!(keys(&["OBR|1|F1", "OBX|1|NM|K^^L||4"]), one);
    assert_ne!(keys(&["OBR|1||F1", "OBX|1|NM|K^^L|2|4"]), one);
    assert_eq!(keys(&["OBR|1||F1", "OBX|1|NM|K||4", "OBX|2|NM|NA||4", "OBR|2||F2", "OBX|1|NM|K||4"]).len(), 3);
    assert_ne!(keys(&["OBR|1|||CBC|||2026", "OBX|1|NM|K||4"]), keys(&["OBR|1|||CBC|||2025", "OBX|1|NM|K||4"]));
}

#[test]
fn stored_documents_are_read_again() {
    let texts = [
        message("ADT^A01", 0, "1", &[PID, PV1]),
        message("ADT^A02", 1, "22", &[PID, "PV1|1|I|W2||||||||||||||||V1^^^H|||||||||||||||||||||||||20260301"]),
        message("ADT^A40", 2, "1", &["PID|1||P2^^^H^MR", "MRG|P1^^^H^MR"]),
        message("ORU^R01", 3, "", &[PID, PV1, "OBR|1||F1", "OBX|1|ST|K^^L||4~5|||A~B||F"]),
    ];
    let events: Vec<Event> = texts.iter().map(|text| event(text)).collect();
    for (key, document) in fold_all(&events) {
        let patient = document.get("patient").ok().flatten().and_then(Id::from_binary);
        let read = State::read(key.kind, &document).expect("readable");
        assert_eq!(read.document(patient).as_bytes(), document.as_bytes(), "{key:?}");
    }
    let foreign = RawDocumentBuf::try_from(&doc! { "_id": 7 }).expect("a document");
    assert_eq!(State::read(Kind::Patient, &foreign), None, "not of the fold");
}
