//! Tests of `on_conflict = "newest"`. A load compares a document with a record, and then replaces it. In these tests,
//! another program changes the document between these two steps, or has written it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use medlift::encode::IdentityKey;
use medlift::pipeline::load::load;
use medlift::pipeline::{Interrupt, Plan, Wishes};
use medlift::report::Progress;
use medlift::spec::Spec;
use medlift::write::Mode;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use crate::concerns::{options, target};
use crate::load::{Place, block_on, text};
use crate::server::shared;

/// Number of stays. If two versions of a document have the same time, the one with the greater digest counts as newer.
/// A change of all documents makes about half of their digests greater. With this many stays, each test therefore has
/// newer and older documents.
const STAYS: i32 = 24;

const SPEC: &str = "name = 'stays'\ncollection = 'stays'\n[identity]\nfields = ['No']\non_conflict = 'newest'\n\
                    order_by = 'changed.at'\n\
                    [[field]]\nname = 'No'\ntype = 'int32'\nprivacy = 'none'\n\
                    [[field]]\nname = 'Ward'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'changed.at'\ncolumn = 'At'\ntype = 'KIND'\npresence = 'nullable'\nprivacy = 'none'\n";

/// Returns the rows of a load: one for each stay, all with the time `at`.
fn rows(ward: &str, at: &str) -> String {
    let row = |stay: i32| format!("{stay},{ward} {stay},{at}\n");
    std::iter::once("No,Ward,At\n".to_owned()).chain((0..STAYS).map(row)).collect()
}

struct Case<'a> {
    kind: &'a str,
    /// The time of all records of the first load, and that of the second load.
    times: [&'a str; 2],
    /// A change of all documents before the second load.
    before: Option<Document>,
    /// A change of all documents after the second load has compared them, and before it replaces them.
    meanwhile: Option<Document>,
}

async fn change(documents: &Collection<Document>, change: Document) {
    let changed = documents.update_many(doc! {}, doc! { "$set": change }).bypass_document_validation(true).await;
    assert_eq!(changed.unwrap().modified_count, STAYS as u64);
}

/// Returns a client that makes the change `meanwhile` directly before it sends its first update. The flag is true from
/// that moment on.
async fn disturbed(place: &Place, collection: &str, meanwhile: Option<Document>) -> (Client, Arc<AtomicBool>) {
    let is_done = Arc::new(AtomicBool::new(false));
    let (flag, database, collection) = (Arc::clone(&is_done), place.database.clone(), collection.to_owned());
    let mut options = ClientOptions::parse(shared().uri()).await.unwrap();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        let CommandEvent::Started(started) = event else { return };
        let is_meant = started.command.get_str("update").is_ok_and(|name| name == collection);
        if !is_meant || flag.swap(true, Ordering::SeqCst) {
            return;
        }
        let Some(meanwhile) = meanwhile.clone() else { return };
        let (database, collection) = (database.clone(), collection.clone());
        // The callback blocks a thread of the runtime that all tests share. So the change needs a runtime of its own.
        let changing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let client = Client::with_uri_str(shared().uri()).await.unwrap();
                change(&client.database(&database).collection(&collection), meanwhile).await;
            });
        });
        changing.join().unwrap();
    }));
    (Client::with_options(options).unwrap(), is_done)
}

impl Case<'_> {
    /// Loads the first records, and then the second ones. Makes the changes `before` between the two loads, and the
    /// change `meanwhile` before the first update of the second load. Returns the documents.
    fn load(
        &self,
        place: &Place,
        collection: &'static str,
        before: &[&Document],
        meanwhile: Option<Document>,
    ) -> Vec<Document> {
        let documents = place.collection(collection);
        block_on(async {
            let (client, _) = disturbed(place, collection, None).await;
            self.load_with(place, client, collection, 0).await;
            for before in before {
                change(&documents, (*before).clone()).await;
            }
            let is_disturbed = meanwhile.is_some();
            let (client, is_done) = disturbed(place, collection, meanwhile).await;
            self.load_with(place, client, collection, 1).await;
            assert!(!is_disturbed || is_done.load(Ordering::SeqCst), "the second load replaces documents");
            documents.find(doc! {}).sort(doc! { "No": 1 }).await.unwrap().try_collect().await.unwrap()
        })
    }

    async fn load_with(&self, place: &Place, client: Client, collection: &str, number: usize) {
        let spec = Spec::from_toml(&SPEC.replace("KIND", self.kind), "a test").unwrap();
        let path = place.write(&format!("{number}.csv"), rows(["first", "second"][number], self.times[number]));
        let wishes = Wishes { sources: vec![text(&path).to_owned()], workers: 1, ..Wishes::default() };
        let plan = Plan::new(spec, IdentityKey::default(), &wishes).unwrap();
        let target = target(place, client, collection);
        let options = options(Mode::Insert);
        load(&plan, &target, &options, &Interrupt::default(), &Progress::default()).await.unwrap();
    }

    /// Checks the stays whose document the second load replaces if the change `meanwhile` is not made. With this
    /// change, the result must be the same as if the change had been made before the second load.
    fn check(&self, purpose: &str) {
        let place = Place::new(purpose);
        let before: Vec<&Document> = self.before.iter().collect();
        let undisturbed = self.load(&place, "undisturbed", &before, None);
        let found = self.load(&place, "found", &before, self.meanwhile.clone());
        let after: Vec<&Document> = self.before.iter().chain(&self.meanwhile).collect();
        let expected = self.load(&place, "expected", &after, None);
        let mut replaced = 0;
        for ((undisturbed, found), expected) in undisturbed.iter().zip(&found).zip(&expected) {
            if undisturbed.get_str("Ward").unwrap().starts_with("second") {
                assert_eq!(found, expected, "{purpose}");
                replaced += 1;
            }
        }
        assert_eq!(found.len(), STAYS as usize);
        let all = self.times[0] != self.times[1] || self.before.is_some();
        assert!(if all { replaced == STAYS } else { replaced > STAYS / 8 }, "{purpose}: {replaced}");
    }
}

const DAYS: [&str; 2] = ["2026-01-01T08:00", "2026-01-03T08:00"];

#[test]
fn a_document_that_became_newer_after_the_comparison_is_not_replaced() {
    let later = DateTime::from_millis(1_800_000_000_000);
    let meanwhile = Some(doc! { "changed.at": later });
    Case { kind: "datetime", times: DAYS, before: None, meanwhile }.check("newest_later");
}

#[test]
fn of_equally_old_documents_every_change_is_noticed() {
    let times = [DAYS[0], DAYS[0]];
    for (purpose, meanwhile) in
        [("newest_tie_value", doc! { "Ward": "third" }), ("newest_tie_field", doc! { "more": 1 })]
    {
        Case { kind: "datetime", times, before: None, meanwhile: Some(meanwhile) }.check(purpose);
    }
}

#[test]
fn a_value_of_another_type_is_not_the_same_value() {
    let (before, meanwhile) = (Some(doc! { "changed.at": 7.0 }), Some(doc! { "changed.at": 7 }));
    Case { kind: "int32", times: ["3", "5"], before, meanwhile }.check("newest_type");
}

#[test]
fn documents_without_a_value_that_orders_are_replaced() {
    let at = DateTime::from_millis(1_800_000_000_000);
    for (purpose, before) in [
        ("newest_array", doc! { "changed": [{ "at": at }] }),
        ("newest_array_value", doc! { "changed.at": [at] }),
        ("newest_undefined", doc! { "changed.at": Bson::Undefined }),
        ("newest_text", doc! { "changed": "text" }),
    ] {
        Case { kind: "datetime", times: DAYS, before: Some(before), meanwhile: None }.check(purpose);
    }
}
