//! What each step of a load costs, computed from the constants.

use super::constants::{Constants, Prices};

const MIB: f64 = 1_048_576.0;
/// Number of chunks that a worker writes together in `_id` order, and the size of a chunk (`--run-size`).
const CHUNKS: f64 = 8.0;
const CHUNK_BYTES: f64 = 20.0 * MIB;
/// Updates of the ledger for one part: take, begin, complete, release.
const UPDATES_PER_PART: f64 = 4.0;
/// Documents of the ledger for one part: the part and its lease.
const DOCUMENTS_PER_PART: f64 = 2.0;
/// The storage engine writes all changed pages to disk once in this time.
pub(super) const CHECKPOINT_SECONDS: f64 = 60.0;
/// At most this share of the storage engine's cache may be pages that are changed and not yet written to disk.
const DIRTY_SHARE: f64 = 0.2;

/// The machines and the network of a load.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The storage engine's cache on each shard.
    pub(super) cache_bytes: f64,
    pub(super) disk_operations_per_s: f64,
    pub(super) disk_bytes_per_s: f64,
    /// Time to read one page from disk.
    pub(super) page_seconds: f64,
    /// How fast one worker can read its sources.
    pub(super) source_bytes_per_s: f64,
    /// Time between the end of a batch and its acknowledgement.
    pub(super) commit_seconds: f64,
    /// The factor by which other programs slow down everything that needs a processor. 1 is the speed of the
    /// measurements.
    pub(super) slowdown: f64,
}

impl Place {
    /// The deployment of size large on AWS.
    pub(super) fn aws(constants: &Constants, prices: &Prices) -> Self {
        let get = |name| constants.get(name);
        Self {
            cache_bytes: (get("shard_memory_gib") - 1.0) / 2.0 * 1024.0 * MIB,
            disk_operations_per_s: prices.disk_operations_per_s,
            disk_bytes_per_s: prices.disk_bytes_per_s,
            page_seconds: get("disk_latency_ms") / 1e3,
            source_bytes_per_s: get("s3_mb_per_s_per_connection") * 1e6 * get("s3_connections"),
            commit_seconds: (get("ledger_update_ms") + get("majority_round_trip_ms")) / 1e3,
            slowdown: 1.0,
        }
    }
}

/// The seconds of each step, and the constants from which other costs are computed.
#[derive(Debug, Clone)]
pub(super) struct Costs {
    /// Rows of a batch. With many shards, a batch contains only the rows of one shard.
    pub(super) batch_rows: f64,
    /// Seconds to read one row.
    pub(super) read: f64,
    /// Seconds to parse, clean and encode one row, and to send its document.
    pub(super) encode: f64,
    /// Seconds to wait for the acknowledgement of a batch, divided by the rows of the batch.
    pub(super) commit: f64,
    /// Seconds of the ledger to commit a chunk, divided by the rows of the chunk.
    pub(super) checkpoint: f64,
    /// The ledger's time for the four updates of a part: taken, begun, complete, released.
    pub(super) part_updates: f64,
    /// A worker's time to take, begin and end a part.
    pub(super) part_seconds: f64,
    look: f64,
    server: f64,
    page: f64,
    index_bytes: f64,
    page_bytes: f64,
    page_factor: f64,
    sweep_rows: f64,
    disk_bytes: f64,
    cache_share: f64,
    place: Place,
}

/// The time that one document takes, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteCost {
    /// Processor time of the shard.
    pub(super) cpu: f64,
    /// Time in which the shard's disk is busy.
    pub(super) disk: f64,
    /// Time in which the connection waits until the shard has read index pages for the document, one after another.
    pub(super) wait: f64,
}

impl Costs {
    /// `batch_rows` is the option `--batch-size`.
    pub(super) fn new(constants: &Constants, place: &Place, shards: usize, batch_rows: f64) -> Self {
        let get = |name| constants.get(name);
        let chunk_rows = CHUNK_BYTES / get("document_bytes");
        let sweep_rows = CHUNKS * chunk_rows / shards as f64;
        let batch_rows = batch_rows.min(sweep_rows);
        // On real machines, the cores are idle while a process waits for a lock or for the journal. The model has no
        // such waits. Instead, it makes everything that needs a processor slower.
        let slowdown = place.slowdown / get("cores_used_share");
        let update = get("ledger_update_cpu_us") / 1e6 * slowdown;
        Self {
            batch_rows,
            read: get("row_bytes") / place.source_bytes_per_s,
            encode: get("worker_cpu_us_per_row") / 1e6 * slowdown,
            commit: place.commit_seconds / batch_rows,
            checkpoint: update / chunk_rows,
            part_updates: UPDATES_PER_PART * update,
            part_seconds: get("part_seconds") * slowdown,
            look: DOCUMENTS_PER_PART * get("ledger_read_us_per_document") / 1e6 * slowdown,
            // In addition to its documents, each batch costs the server as much as an update of the ledger. The
            // measured cost of a document already contains 1/5000 of this cost, because the measured batches had 5,000
            // rows. This share is subtracted.
            server: (get("server_cpu_us_per_document") / 1e6
                + get("ledger_update_cpu_us") / 1e6 * (1.0 / batch_rows - 1.0 / 5_000.0))
                * slowdown,
            page: get("server_cpu_us_per_page_read") / 1e6 * slowdown,
            index_bytes: get("id_index_bytes_per_document"),
            page_bytes: get("index_page_bytes"),
            page_factor: get("page_factor"),
            sweep_rows,
            disk_bytes: get("disk_bytes_per_document"),
            cache_share: get("index_share_of_cache"),
            place: place.clone(),
        }
    }

    /// The ledger's time to find a free part among this number of parts.
    pub(super) fn look(&self, parts: usize) -> f64 {
        self.look * parts as f64
    }

    /// The cost of one more document if the shard has `stored` documents and receives `rate` documents per second.
    pub(super) fn write(&self, stored: f64, rate: f64) -> WriteCost {
        let read = self.pages_read(stored);
        let changed_max = DIRTY_SHARE * self.place.cache_bytes / self.page_bytes;
        let window = (rate * CHECKPOINT_SECONDS).max(self.sweep_rows).min(changed_max);
        let written = self.page_factor * self.pages(stored, window);
        let operations = (read + written) / self.place.disk_operations_per_s;
        let bytes = (self.disk_bytes + read * self.page_bytes) / self.place.disk_bytes_per_s;
        WriteCost {
            cpu: self.server + self.page * read,
            disk: operations.max(bytes),
            wait: read * self.place.page_seconds,
        }
    }

    /// Number of pages of the `_id` index that the server reads from disk for one more document.
    pub(super) fn pages_read(&self, stored: f64) -> f64 {
        let index_bytes = (stored * self.index_bytes).max(1.0);
        let missing = (1.0 - self.cache_share * self.place.cache_bytes / index_bytes).max(0.0);
        self.page_factor * missing * self.pages(stored, self.sweep_rows)
    }

    /// Number of different pages that `window` random documents touch, divided by `window`. A page that several of
    /// these documents touch counts once.
    fn pages(&self, stored: f64, window: f64) -> f64 {
        let pages = (stored * self.index_bytes / self.page_bytes).max(1.0);
        pages / window * (1.0 - (-window / pages).exp())
    }

    /// Number of pages read while `documents` documents are loaded into an empty shard.
    pub(super) fn pages_read_in_all(&self, documents: f64) -> f64 {
        const STEPS: u32 = 1_000;
        let step = documents / f64::from(STEPS);
        (0..STEPS).map(|number| step * self.pages_read(step * (f64::from(number) + 0.5))).sum()
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are not rounded")]
mod tests {
    use super::*;

    fn costs(cache_mb: f64, shards: usize) -> Costs {
        let constants = Constants::read().expect("reads");
        let prices = Prices::read().expect("reads");
        let place = Place { cache_bytes: cache_mb * 1e6, ..Place::aws(&constants, &prices) };
        Costs::new(&constants, &place, shards, 5_000.0)
    }

    #[test]
    fn an_index_that_fits_into_the_cache_is_not_read() {
        let costs = costs(1_000.0, 1);
        assert_eq!(costs.pages_read_in_all(1e6), 0.0);
        assert!(costs.pages_read_in_all(1e8) > 0.0);
        assert!(costs.write(1e9, 1e4).cpu > costs.write(1e6, 1e4).cpu);
        assert!(costs.write(1e9, 1e4).disk > costs.write(1e6, 1e4).disk);
    }

    #[test]
    fn many_documents_share_pages() {
        let costs = costs(1_000.0, 1);
        // In a large index, each of a few documents touches its own page. In a small index, many documents together
        // touch every page, and each page counts once.
        assert!((costs.pages(1e12, 1.0) - 1.0).abs() < 1e-3);
        let pages = 1e4 * costs.index_bytes / costs.page_bytes;
        assert!((costs.pages(1e4, 1e6) * 1e6 / pages - 1.0).abs() < 1e-9);
    }

    #[test]
    fn with_many_shards_a_batch_is_smaller() {
        assert_eq!(costs(1_000.0, 1).batch_rows, 5_000.0);
        assert!(costs(1_000.0, 1_000).batch_rows < 1_000.0);
    }
}
