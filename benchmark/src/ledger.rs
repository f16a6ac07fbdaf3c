//! Sends commands like those of a ledger, one after another, and prints how long they took. The model of large loads
//! (`cargo xtask model`) needs the time of an update, and the time to read the documents of the parts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::stand::DATABASE;
use testkit::wire::Wire;
use testkit::{Error, Result};

const COLLECTION: &str = "ledger";
const TIMEOUT: Duration = Duration::from_mins(1);
/// Number of documents in the collection. A read returns all of them.
const DOCUMENTS: i32 = 1_000;
const UPDATES: u32 = 1_000;
const READS: u32 = 50;
/// The document of a part has about this size.
const DOCUMENT_BYTES: usize = 1_200;

/// Runs the commands. The arguments are the address of the server, and `updates` or `reads`.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let wrong = || Error::failed("ledger is for internal use: the benchmark starts itself with it");
    let &[address, kind] = arguments else { return Err(wrong()) };
    let mut wire = Wire::connect(address.parse::<SocketAddr>().map_err(|_| wrong())?, TIMEOUT)?;
    prepare(&mut wire)?;
    let started = Instant::now();
    match kind {
        "updates" => (0..UPDATES).try_for_each(|number| update(&mut wire, number))?,
        "reads" => (0..READS).try_for_each(|_| read(&mut wire))?,
        _ => return Err(wrong()),
    }
    println!("{{\"seconds\":{}}}", started.elapsed().as_secs_f64());
    Ok(())
}

fn prepare(wire: &mut Wire) -> Result<()> {
    let documents: Vec<Document> =
        (0..DOCUMENTS).map(|id| doc! { "_id": id, "fence": 1, "text": "x".repeat(DOCUMENT_BYTES) }).collect();
    wire.command(&doc! { "insert": COLLECTION, "documents": documents, "$db": DATABASE }).map(drop)
}

/// Changes a document if it has the expected fence, as durably as a load does.
fn update(wire: &mut Wire, number: u32) -> Result<()> {
    let change = doc! { "q": { "_id": 0, "fence": 1 }, "u": { "$set": { "blocks": number } } };
    let durable = doc! { "w": "majority", "j": true };
    let update = doc! { "update": COLLECTION, "updates": [change], "writeConcern": durable, "$db": DATABASE };
    let reply = wire.command(&update)?;
    if reply.get_i32("n").is_ok_and(|changed| changed == 1) {
        Ok(())
    } else {
        Err(Error::failed(format!("an update changed nothing: {reply}")))
    }
}

/// Reads the documents of all parts, as a worker does before it takes a part.
fn read(wire: &mut Wire) -> Result<()> {
    let ids: Vec<i32> = (0..DOCUMENTS).collect();
    let find =
        doc! { "find": COLLECTION, "filter": { "_id": { "$in": ids } }, "batchSize": DOCUMENTS, "$db": DATABASE };
    let reply = wire.command(&find)?;
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    match batch {
        Ok(batch) if batch.len() == DOCUMENTS as usize => Ok(()),
        _ => Err(Error::failed("a read did not return all documents")),
    }
}
