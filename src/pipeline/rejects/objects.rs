//! Reject files in S3. Nothing can be appended to an object. So each checkpoint that has new rejects writes one more
//! *segment*: an object with the header line and these rejects. When the load ends, the segments of a source are joined
//! to one object with the usual name, and deleted.
//!
//! The name of a segment contains the load, the fence of the lease, and a number. Two processes therefore never write
//! the same segment, even if one of them has lost its lease and does not know it yet. The checkpoint says which
//! segments belong to the load. All others are left over from a killed process, and are deleted when the load ends.

use std::ops::Range;
use std::path::PathBuf;

use super::Resumed;
use super::streams::Streams;
use crate::error::Error;
use crate::ledger::{LoadDocument, RejectsState, SegmentsOf};
use crate::pipeline::plan::Plan;
use crate::read::{RejectKind, reject_path, segment_name, segment_stem};
use crate::report::summary::FileOfRejects;
use crate::s3::{Prefix, Problem, Segments};

/// The reject files of a load under a prefix of a bucket, one or two for each source.
pub(in crate::pipeline) struct ObjectRejects<'a> {
    plan: &'a Plan,
    prefix: Prefix,
    streams: Streams,
    /// The state of each file of `streams`.
    files: Vec<ObjectFile>,
    /// The id of this load, and the fence of its lease. `None` until the load is in the ledger.
    load: Option<(String, i64)>,
    /// Whether an earlier process of this load may have left segments.
    is_resumed: bool,
    pub(super) notes: Vec<String>,
}

/// The state of one reject file.
#[derive(Default)]
struct ObjectFile {
    /// Length and hash of the file into which the segments will be joined.
    bytes: u64,
    hasher: blake3::Hasher,
    segments: Vec<SegmentsOf>,
    /// The name of the joined object.
    joined: Option<String>,
}

impl ObjectFile {
    fn blake3(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// Returns the number of the last segment, or 0.
    fn last(&self) -> u32 {
        self.segments.last().map_or(0, |segments| segments.last)
    }
}

impl<'a> ObjectRejects<'a> {
    /// Checks that objects can be written under `address`.
    ///
    /// # Errors
    /// If the address is wrong or an action is not permitted.
    pub(super) fn open(plan: &'a Plan, address: &str) -> Result<Self, Error> {
        let probe = format!("medlift-access-check-{}", bson::Uuid::new());
        let prefix = Prefix::open(address, &probe).map_err(|problem| failed(address.to_owned(), problem))?;
        let streams = Streams::new(plan, false);
        let files = (0..streams.len()).map(|_| ObjectFile::default()).collect();
        Ok(Self { plan, prefix, streams, files, load: None, is_resumed: false, notes: Vec::new() })
    }

    pub(super) fn register(&mut self, load: String, fence: i64) {
        self.load = Some((load, fence));
    }

    /// Continues after the segments of an interrupted load. Reads them, to compute their hash.
    ///
    /// # Errors
    /// If a segment was changed, or cannot be read.
    pub(super) fn resume(&mut self, load: &LoadDocument) -> Result<Resumed, Error> {
        let mut files = Vec::new();
        for state in load.checkpoint.rejects.iter().filter(|state| state.bytes > 0) {
            if state.source as usize >= self.plan.sources.len() || state.segments.is_empty() {
                return Ok(Resumed::Gone(state.name.clone()));
            }
            let number = self.streams.of_state(state);
            let stem = self.stem(number, &load.id.to_string());
            let segments = self.segments(number, &stem, &state.segments);
            let found = self.prefix.hash(segments).map_err(|problem| self.failed(&state.name, problem))?;
            let Some((bytes, hasher)) = found else { return Ok(Resumed::Gone(state.name.clone())) };
            let file = ObjectFile { bytes, hasher, segments: state.segments.clone(), joined: None };
            if (file.bytes, file.blake3()) != (state.bytes, state.blake3.clone()) {
                return Err(Error::RejectFile {
                    path: self.all_segments(number, &load.id.to_string()),
                    problem: "the objects have changed since this load was interrupted; restore them, or delete them: \
                              the load then starts from the beginning and writes all rejects again"
                        .into(),
                });
            }
            files.push((number, file));
        }
        for (number, file) in files {
            self.files[number] = file;
        }
        self.is_resumed = true;
        Ok(Resumed::Yes)
    }

    /// Returns the files for the rejects of a source.
    pub(super) fn files_of(&self, source: usize) -> Range<usize> {
        self.streams.of_source(source)
    }

    /// Writes lines to the next segment of a file.
    ///
    /// # Errors
    /// If the segment cannot be written.
    pub(super) fn append(&mut self, number: usize, lines: &[u8]) -> Result<(), Error> {
        let (load, fence) = self.load.clone().expect("a load must be in the ledger before it has rejects");
        let header = self.header(number);
        let segment = self.files[number].last() + 1;
        let name = segment_name(&self.stem(number, &load), fence, segment, self.streams.get(number).kind);
        let content = [&header[..], lines].concat();
        // Ignore an object that exists already: this process wrote it, but did not receive the reply of the store.
        self.prefix.create(&name, &load, content).map_err(|problem| self.failed(&name, problem))?;
        let file = &mut self.files[number];
        if file.bytes == 0 {
            file.hasher.update(&header);
            file.bytes += header.len() as u64;
        }
        file.hasher.update(lines);
        file.bytes += lines.len() as u64;
        match file.segments.last_mut() {
            Some(segments) if segments.fence == fence => segments.last = segment,
            _ => file.segments.push(SegmentsOf { fence, last: segment }),
        }
        Ok(())
    }

    /// Joins the segments of each file.
    ///
    /// # Errors
    /// If a segment was changed or is missing, or a request fails.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let used: Vec<usize> = (0..self.files.len()).filter(|file| self.files[*file].bytes > 0).collect();
        used.into_iter().try_for_each(|file| self.join(file))
    }

    /// Joins the segments of a file to an object with the first name that is not used. If an earlier process of this
    /// load has joined such an object, uses it if it has the same content, and replaces it if not.
    fn join(&mut self, file: usize) -> Result<(), Error> {
        let load = self.load.as_ref().map(|(load, _)| load.clone()).unwrap_or_default();
        let blake3 = self.files[file].blake3();
        let mark = format!("{load} {blake3}");
        let segments = self.segments(file, &self.stem(file, &load), &self.files[file].segments);
        for number in 1..super::NAMES_MAX {
            let name = self.name(file, number);
            let failed = |problem| self.failed(&name, problem);
            let found = self.prefix.find(&name).map_err(failed)?.map(|found| found.mark.unwrap_or_default());
            let is_own = |found: &String| *found == mark && !self.is_used(&name);
            let is_of_load = |found: &String| found.starts_with(&load) && !self.is_used(&name);
            match found {
                Some(found) if is_own(&found) => {}
                Some(found) if is_of_load(&found) => {
                    self.prefix.delete(&name).map_err(failed)?;
                    if !self.prefix.join(segments.clone(), &name, &mark, &blake3).map_err(failed)? {
                        continue;
                    }
                }
                Some(_) => {
                    self.note_left(&name);
                    continue;
                }
                None => {
                    let is_new = self.prefix.join(segments.clone(), &name, &mark, &blake3).map_err(failed)?;
                    // An object of this name exists. If the reply to this join was lost, it can be the object that was
                    // just joined. The mark shows that.
                    let found = if is_new { None } else { self.prefix.find(&name).map_err(failed)? };
                    if !is_new && found.and_then(|found| found.mark).is_none_or(|found| found != mark) {
                        self.note_left(&name);
                        continue;
                    }
                }
            }
            self.files[file].joined = Some(name);
            return Ok(());
        }
        let problem = format!("there are already {} reject files for this source; move some away", super::NAMES_MAX);
        Err(Error::RejectFile { path: self.prefix.address(&self.name(file, 1)), problem })
    }

    fn note_left(&mut self, name: &str) {
        if !self.is_used(name) {
            self.notes.push(format!("{} was not changed: this load did not write it", self.prefix.address(name)));
        }
    }

    /// Deletes the segments. Call it after the ledger has the names of the joined objects.
    pub(super) fn clean_up(&mut self) {
        let Some((load, _)) = self.load.clone() else { return };
        for file in 0..self.files.len() {
            if self.files[file].joined.is_some() || self.is_resumed {
                let stem = self.stem(file, &load);
                if let Err(problem) = self.prefix.delete_all(&stem) {
                    let segments = self.all_segments(file, &load);
                    self.notes.push(format!("the objects {segments} are not needed any more: delete them ({problem})"));
                }
            }
        }
    }

    pub(super) fn states(&self) -> Vec<RejectsState> {
        let load = self.load.as_ref().map(|(load, _)| load.as_str()).unwrap_or_default();
        let used = self.files.iter().enumerate().filter(|(_, file)| file.bytes > 0);
        let state = |(number, file): (usize, &ObjectFile)| RejectsState {
            source: self.streams.get(number).source as u32,
            name: file.joined.clone().unwrap_or_else(|| self.stem(number, load)),
            bytes: file.bytes,
            blake3: file.blake3(),
            has_positions: self.streams.get(number).kind == RejectKind::Positions,
            segments: if file.joined.is_some() { Vec::new() } else { file.segments.clone() },
        };
        used.map(state).collect()
    }

    /// Returns the addresses of the reject files. For a file that is not joined, returns the pattern that matches the
    /// addresses of its segments.
    pub(super) fn listed(&self) -> Vec<FileOfRejects> {
        let load = self.load.as_ref().map(|(load, _)| load.as_str()).unwrap_or_default();
        let used = self.files.iter().enumerate().filter(|(_, file)| file.bytes > 0);
        let listed = |(number, file): (usize, &ObjectFile)| {
            let joined = file.joined.as_ref().map(|name| self.prefix.address(name));
            self.file(number, joined.unwrap_or_else(|| self.all_segments(number, load)))
        };
        used.map(listed).collect()
    }

    /// Returns the reject files that the complete load `load` wrote and that are unchanged. Adds a note about each file
    /// that was changed or is missing.
    pub(super) fn left_by(&mut self, load: &LoadDocument) -> Vec<FileOfRejects> {
        let mut left = Vec::new();
        for state in load.checkpoint.rejects.iter().filter(|state| state.bytes > 0) {
            let mark = format!("{} {}", load.id, state.blake3);
            let address = self.prefix.address(&state.name);
            match self.prefix.find(&state.name) {
                Ok(Some(found)) if found.mark.as_ref() == Some(&mark) && found.bytes == state.bytes => {
                    left.push(self.file(self.streams.of_state(state), address));
                }
                Ok(Some(_)) => self.notes.push(format!(
                    "the reject file {address} was changed after the load wrote it; if you corrected its rows, load them \
                     with `medlift load {address}`"
                )),
                Ok(None) => self.notes.push(format!(
                    "the reject file {address} of that load is not there; --reload writes it again"
                )),
                Err(problem) => self.notes.push(format!("cannot examine the reject file {address}: {problem}")),
            }
        }
        left
    }

    fn file(&self, number: usize, path: String) -> FileOfRejects {
        let source = self.streams.get(number).source;
        let of = self.streams.are_of_several_sources().then(|| self.plan.sources[source].origin.name().to_owned());
        FileOfRejects { path, source: of }
    }

    /// Returns the pattern that matches the segments of a file.
    fn all_segments(&self, number: usize, load: &str) -> String {
        let (stem, kind) = (self.stem(number, load), self.streams.get(number).kind);
        format!("{}*.{}", self.prefix.address(&stem), kind.extension())
    }

    /// Returns true if this process has already joined the segments of a file to the object with this name. Example:
    /// the reject files of the sources `a/x.csv` and `b/x.csv` would both get the name `x.csv.rejects.csv`.
    fn is_used(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.joined.as_deref() == Some(name))
    }

    fn header(&self, number: usize) -> Vec<u8> {
        self.streams.header(number, self.plan)
    }

    /// Returns the beginning of the names of a file's objects.
    fn base(&self, number: usize) -> PathBuf {
        let base = self.plan.sources[self.streams.get(number).source].origin.rejects_base();
        base.file_name().unwrap_or_default().into()
    }

    /// Returns a name for a joined file. `try_number` is 1 for the first name that is tried.
    fn name(&self, number: usize, try_number: usize) -> String {
        reject_path(&self.base(number), try_number, self.streams.get(number).kind).display().to_string()
    }

    fn stem(&self, number: usize, load: &str) -> String {
        segment_stem(&self.base(number), load, number)
    }

    fn segments(&self, number: usize, stem: &str, runs: &[SegmentsOf]) -> Segments {
        let (mut names, mut first, kind) = (Vec::new(), 1, self.streams.get(number).kind);
        for run in runs {
            names.extend((first..=run.last).map(|segment| segment_name(stem, run.fence, segment, kind)));
            first = run.last + 1;
        }
        Segments { names, header_bytes: self.header(number).len() }
    }

    fn failed(&self, name: &str, problem: Problem) -> Error {
        failed(self.prefix.address(name), problem)
    }
}

fn failed(address: String, problem: Problem) -> Error {
    Error::RejectObject { address, problem: Box::new(problem) }
}
