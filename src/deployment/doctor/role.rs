//! Makes the findings about the privileges of the signed-in user.

use super::{Finding, Step};
use crate::deployment::privileges::Privileges;
use crate::deployment::provision::view_name;
use crate::fold::ACTIONS;
use crate::server::leases_of;

/// The actions that a load needs on the collection of the data and on the two collections of the ledger.
const LOADING: [&str; 3] = ["find", "insert", "update"];

/// What the findings advise.
pub(super) struct Advice {
    /// How the user gets more rights on the collection.
    pub(super) on_rights: String,
    /// The command that provisions the collection.
    pub(super) provision: String,
}

impl Privileges {
    /// Reports what the user may do with the collection of the data. Warns if the user may bypass document validation,
    /// because the validator then does not protect the collection. `folded` are the collections that a fold writes.
    /// Empty if the documents are not messages.
    pub(super) fn examine(
        &self,
        (database, collection): (&str, &str),
        ledger: &str,
        folded: &[String],
        advice: &Advice,
        findings: &mut Vec<Finding>,
    ) {
        let lacks = |actions: &[&str], collection: &str| -> Vec<String> {
            let missing = actions.iter().filter(|action| !self.allow(action, database, collection));
            missing.map(|action| format!("{action} on {database}.{collection}")).collect()
        };
        let places = [collection, ledger, &leases_of(ledger)];
        let missing: Vec<String> = places.into_iter().flat_map(|place| lacks(&LOADING, place)).collect();
        let unfolded: Vec<String> = folded.iter().flat_map(|place| lacks(&ACTIONS, place)).collect();
        findings.push(if missing.is_empty() && !unfolded.is_empty() {
            Finding::warning(
                Step::Role,
                format!(
                    "may load and verify {database}.{collection}, but not fold its messages; missing privileges: {}; `{}` \
                     gives them to the loader",
                    unfolded.join(", "),
                    advice.provision
                ),
            )
        } else if missing.is_empty() {
            Finding::ok(Step::Role, format!("may load and verify {database}.{collection}"))
        } else if self.allow("find", database, collection) {
            Finding::ok(Step::Role, format!("may read {database}.{collection}, but not load; missing privileges: {}", missing.join(", ")))
        } else if self.allow("find", database, &view_name(collection)) {
            Finding::ok(Step::Role, format!("may read only {database}.{}", view_name(collection)))
        } else if self.allow("collMod", database, collection) {
            Finding::ok(Step::Role, format!("may administer {database}.{collection}, but neither read nor load it"))
        } else if self.has_any(database) {
            Finding::failed(
                Step::Role,
                format!("the user may neither read nor load {database}.{collection}, but has other rights on {database}; {}", advice.on_rights),
            )
        } else {
            Finding::failed(
                Step::Role,
                format!("the user has no role on {database}; grant one (`{}` creates users with suitable roles)", advice.provision),
            )
        });
        if !self.is_unlimited() && self.allow("bypassDocumentValidation", database, collection) {
            findings.push(Finding::warning(
                Step::Role,
                format!(
                    "the user may bypass document validation, because of a role such as dbAdmin, dbOwner, restore or root; \
                     load as another user (`{}` creates one)",
                    advice.provision
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::super::State;
    use super::*;

    const DATA: (&str, &str) = ("hospital", "admissions");

    fn on(database: &str, collection: &str, actions: &[&str]) -> Document {
        doc! { "resource": { "db": database, "collection": collection }, "actions": actions.to_vec() }
    }

    fn examined(everything: bool, list: Vec<Document>) -> Vec<(State, String)> {
        examined_with(everything, list, &[])
    }

    fn examined_with(everything: bool, list: Vec<Document>, folded: &[String]) -> Vec<(State, String)> {
        let mut findings = Vec::new();
        let advice = Advice { on_rights: "ask for more".to_owned(), provision: "medlift provision -c x".to_owned() };
        Privileges::of(everything, list).examine(DATA, "runs", folded, &advice, &mut findings);
        findings.into_iter().map(|finding| (finding.state, finding.message)).collect()
    }

    #[track_caller]
    fn check(list: &[Document], state: State, part: &str) {
        let found = examined(false, list.to_vec());
        assert!(found.len() == 1 && found[0].0 == state && found[0].1.contains(part), "{found:?}");
    }

    #[test]
    fn loading_needs_three_actions_on_data_ledger_and_leases() {
        let all = ["find", "insert", "update"];
        let places = ["admissions", "runs", "runs.leases"];
        let list: Vec<Document> = places.iter().map(|place| on("hospital", place, &all)).collect();
        check(&list, State::Ok, "may load and verify hospital.admissions");
        for (at, place) in places.iter().enumerate() {
            for action in all {
                let mut less = list.clone();
                let rest: Vec<&str> = all.into_iter().filter(|other| *other != action).collect();
                less[at] = on("hospital", place, &rest);
                if (*place, action) == ("admissions", "find") {
                    check(&less, State::Failed, "may neither read nor load hospital.admissions");
                } else {
                    check(&less, State::Ok, &format!("but not load; missing privileges: {action} on hospital.{place}"));
                }
            }
        }
    }

    #[test]
    fn a_user_who_loads_messages_should_also_fold_them() {
        let all = ["find", "insert", "update"];
        let load = ["admissions", "runs", "runs.leases"].map(|place| on("hospital", place, &all));
        let folded = ["patients".to_owned()];
        let check = |list: &[Document], state: State, part: &str| {
            let found = examined_with(false, list.to_vec(), &folded);
            assert!(found.len() == 1 && found[0].0 == state && found[0].1.contains(part), "{found:?}");
        };
        let missing = "missing privileges: find on hospital.patients, insert on hospital.patients, remove on";
        check(&load, State::Warning, missing);
        let fold = on("hospital", "patients", &["find", "insert", "remove", "update"]);
        check(&[&load[..], &[fold]].concat(), State::Ok, "may load and verify");
        check(&load[..1], State::Ok, "but not load");
    }

    #[test]
    fn an_empty_name_means_all_and_another_name_does_not_match() {
        let all = ["find", "insert", "update"];
        for (database, collection, covered) in [
            ("", "", true),
            ("hospital", "", true),
            ("hospitals", "", false),
            ("pharmacy", "admissions", false),
            ("hospital", "admission", false),
        ] {
            let found = examined(false, vec![on(database, collection, &all)]);
            assert_eq!(found[0].0 == State::Ok, covered, "{database}.{collection}: {found:?}");
        }
        let any = doc! { "resource": { "anyResource": true }, "actions": all.to_vec() };
        check(&[any], State::Ok, "may load");
        let cluster = doc! { "resource": { "cluster": true }, "actions": all.to_vec() };
        check(&[cluster], State::Failed, "no role on hospital");
    }

    #[test]
    fn readers_analysts_and_administrators_have_different_findings() {
        check(
            &[on("hospital", "admissions", &["find"])],
            State::Ok,
            "may read hospital.admissions, but not load; missing privileges: insert",
        );
        check(
            &[on("hospital", "admissions_deidentified", &["find"])],
            State::Ok,
            "may read only hospital.admissions_deidentified",
        );
        check(
            &[on("hospital", "admissions", &["collMod"])],
            State::Ok,
            "may administer hospital.admissions, but neither",
        );
        check(&[], State::Failed, "no role on hospital; grant one (`medlift provision -c x` creates users");
        check(&[on("pharmacy", "admissions", &["find"])], State::Failed, "no role on hospital");
        check(
            &[on("hospital", "stays", &["find"])],
            State::Failed,
            "may neither read nor load hospital.admissions, but has other rights on hospital; ask for more",
        );
    }

    #[test]
    fn a_user_who_may_bypass_validation_gets_a_warning() {
        let wide = vec![on("hospital", "", &["find", "insert", "update", "bypassDocumentValidation"])];
        let found = examined(false, wide.clone());
        assert!(found.len() == 2 && found[1].0 == State::Warning && found[1].1.contains("may bypass"), "{found:?}");
        assert_eq!((examined(true, wide).len(), examined(true, Vec::new())[0].0), (1, State::Ok));
    }
}
