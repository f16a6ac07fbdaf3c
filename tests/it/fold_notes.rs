//! Tests of the notes of a fold: which messages touch which documents.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, Uuid, doc};
use futures_util::TryStreamExt;
use medlift::encode::{Id, IdentityKey};
use medlift::fold::shell::{Job, Turn};
use medlift::spec::Dataset;
use mongodb::Client;

use crate::concerns::target;
use crate::fold::{message, number, stream};
use crate::load::{Place, block_on};
use crate::server::shared;

/// A message with the potassium of the order F1.
fn potassium(minute: u32, value: &str, status: &str) -> String {
    message("ORU^R01", minute, "P1", "V1", &format!("OBR|1||F1^LAB|CBC\rOBX|1|NM|K^Potassium^L||{value}||||||{status}"))
}

impl Place {
    /// Returns how many notes the only result has.
    fn notes_of_result(&self) -> u64 {
        let id = self.one("results", doc! {}).get("_id").cloned();
        let Some(Bson::Binary(id)) = id else { panic!("a UUID, not {id:?}") };
        let bound = |end: u8| {
            let bytes = [&id.bytes[..], &[end; 16]].concat();
            Binary { subtype: BinarySubtype::Generic, bytes }
        };
        let notes = self.collection("messages.folded");
        let filter = doc! { "_id": { "$gte": bound(0), "$lte": bound(0xff) } };
        block_on(async { notes.count_documents(filter).await }).expect("counted")
    }

    /// Returns the `_id`s of all messages, in order.
    fn ids(&self) -> Vec<Id> {
        let messages = self.collection("messages");
        let found =
            block_on(async { messages.find(doc! {}).sort(doc! { "_id": 1 }).await?.try_collect::<Vec<_>>().await });
        let id = |message: &Document| bson::deserialize_from_bson::<Uuid>(message.get("_id")?.clone()).ok();
        found.expect("read").iter().map(|message| Id(id(message).expect("a UUID").bytes())).collect()
    }

    fn result(&self) -> Document {
        self.one("results", doc! {})
    }
}

#[test]
fn a_document_has_notes_when_a_second_message_touches_it() {
    let (later, earlier) = (Place::new("notes_later"), Place::new("notes_earlier"));
    let messages = [potassium(5, "4", "F"), potassium(6, "5", "F"), potassium(7, "6", "P")];
    later.load_folding("a.hl7", &messages[..1], &[]);
    assert_eq!(later.notes_of_result(), 0);
    later.load_folding("b.hl7", &messages[1..2], &[]);
    assert_eq!(later.notes_of_result(), 2);
    later.load_folding("c.hl7", &messages[2..], &[]);
    assert_eq!(later.notes_of_result(), 3);
    // An earlier message makes the result be folded from all messages. The first one is known only from the document.
    earlier.load_folding("b.hl7", &messages[1..2], &[]);
    earlier.load_folding("a.hl7", &messages[..1], &[]);
    assert_eq!(earlier.notes_of_result(), 2);
    earlier.load_folding("c.hl7", &messages[2..], &[]);
    assert_eq!(earlier.state(), later.state());
    // A new result with several messages at once, and a fold of all messages, have one note.
    let all = Place::new("notes_all");
    all.load_folding("x.hl7", &[message("ADT^A28", 1, "P9", "V9", "")], &[]);
    all.load_folding("a.hl7", &messages, &[]);
    assert_eq!(all.notes_of_result(), 1);
    later.fold(&["--rebuild"]);
    assert_eq!(later.notes_of_result(), 1);
    assert_eq!(all.result(), later.result());
    assert_eq!(number(&later.verify_state("a.hl7", 0), "not_folded"), 0);
}

#[test]
fn a_removed_document_with_one_message_is_found_by_a_verification() {
    let place = Place::new("notes_removed");
    let messages = [potassium(5, "4", "C"), potassium(6, "5", "F")];
    place.load_folding("a.hl7", &messages[..1], &[]);
    let results = place.collection("results");
    block_on(async { results.delete_one(doc! {}).await.expect("deleted") });
    place.load_folding("b.hl7", &messages[1..], &[]);
    let value = place.result().get_str("value").expect("a text").to_owned();
    assert_eq!(value, "5", "the removed document alone named the correction");
    place.verify_state("b.hl7", 5);
    place.fold(&["--rebuild"]);
    assert_eq!(place.result().get_str("value").expect("a text"), "4");
}

#[test]
fn a_document_that_another_program_changed_is_replaced_and_counted() {
    let (place, whole) = (Place::new("notes_changed"), Place::new("notes_whole"));
    let messages = [potassium(5, "4", "F"), potassium(6, "5", "F")];
    whole.load_folding("a.hl7", &messages, &[]);
    let results = place.collection("results");
    place.load_folding("a.hl7", &messages[..1], &[]);
    let change = || {
        let change = doc! { "$unset": { "asOf": "" }, "$set": { "value": "of another program" } };
        block_on(async { results.update_one(doc! {}, change).await.expect("changed") })
    };
    change();
    let folded = place.load_folding("b.hl7", &messages[1..], &[]);
    assert_eq!((number(&folded, "messages"), number(&folded, "foreign")), (1, 1));
    assert_eq!(place.state(), whole.state());
    change();
    assert_eq!(number(&place.fold(&["--rebuild"]), "foreign"), 1);
    assert_eq!(place.state(), whole.state());
}

#[test]
fn messages_that_are_received_again_hide_no_others() {
    let (place, whole) = (Place::new("notes_again"), Place::new("notes_all_at_once"));
    whole.load_folding("b.hl7", &stream(), &[]);
    place.load_folding("a.hl7", &stream()[..1], &[]);
    let folded = place.ids()[0];
    place.load_messages("b.hl7", &stream());
    let new: Vec<Id> = place.ids().into_iter().filter(|id| *id != folded).collect();
    let spec = Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind of document");
    block_on(async {
        let client = Client::with_uri_str(shared().uri()).await.expect("connected");
        let (target, identity) = (target(&place, client, "messages"), IdentityKey::default());
        let (target, spec, identity) = (&target, &spec, &identity);
        let job = Job { target, spec, identity, rebuild: false, read: std::sync::Arc::default() };
        let mut turn = Turn::take(&job, false).await.expect("a turn");
        // The notes of both calls begin with the same message. A message that is not stored yet is not noted as folded.
        turn.fold(vec![new[0], new[1]]).await.expect("folds");
        turn.fold(vec![new[2], new[0], Id([0xff; 16])]).await.expect("folds");
        turn.end().await;
    });
    assert_eq!(number(&place.fold(&[]), "messages"), new.len() as u64 - 3);
    assert_eq!(place.state(), whole.state());
    let last = Binary { subtype: BinarySubtype::Generic, bytes: [[0; 16], [0xff; 16]].concat() };
    let notes = place.collection("messages.folded");
    assert_eq!(block_on(async { notes.count_documents(doc! { "_id": last }).await }).expect("counted"), 0);
}
