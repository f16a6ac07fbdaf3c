//! Writes the rejects of a load, either to files or to objects in S3.

use std::ops::Range;
use std::path::Path;

use super::objects::ObjectRejects;
use super::target::s3_address;
use super::{LeftFile, Rejects, Resumed};
use crate::error::Error;
use crate::ledger::{LoadDocument, RejectsState};
use crate::pipeline::plan::Plan;
use crate::report::summary::FileOfRejects;

/// The reject files of a load.
pub(in crate::pipeline) enum RejectWriter<'a> {
    Files(Rejects<'a>),
    Objects(ObjectRejects<'a>),
    /// No reject files are written.
    None,
}

impl<'a> RejectWriter<'a> {
    /// Checks that rejects can be written. `target` is the file, the directory or the prefix of a bucket that the user
    /// named. If it is `None`, each source has a reject file beside it.
    ///
    /// # Errors
    /// The same as for [`Rejects::open`] or [`ObjectRejects::open`].
    pub(in crate::pipeline) fn open(plan: &'a Plan, target: Option<&Path>) -> Result<Self, Error> {
        match target.and_then(s3_address) {
            Some(address) => ObjectRejects::open(plan, address).map(Self::Objects),
            None => Rejects::open(plan, target).map(Self::Files),
        }
    }

    /// Sets the load that writes the rejects, and its fence. Call this function before the load writes documents.
    /// `left` are the reject files of earlier loads with the same key.
    ///
    /// # Errors
    /// The same as for [`Rejects::check_named`].
    pub(in crate::pipeline) fn register(&mut self, load: &LoadDocument, left: Vec<LeftFile>) -> Result<(), Error> {
        match self {
            Self::Files(files) => {
                files.replaceable = left;
                files.load = Some(load.id.to_string());
                files.check_named()
            }
            Self::Objects(objects) => {
                objects.register(load.id.to_string(), load.fence);
                Ok(())
            }
            Self::None => Ok(()),
        }
    }

    /// See [`Rejects::check_named`].
    pub(in crate::pipeline) fn check_named(&mut self) -> Result<(), Error> {
        match self {
            Self::Files(files) => files.check_named(),
            Self::Objects(_) | Self::None => Ok(()),
        }
    }

    /// Returns the files for the rejects of a source.
    pub(in crate::pipeline) fn slots_of(&self, source: usize) -> Range<usize> {
        match self {
            Self::Files(files) => files.slots_of(source),
            Self::Objects(objects) => objects.files_of(source),
            Self::None => 0..0,
        }
    }

    /// Continues the reject files of an interrupted load.
    ///
    /// # Errors
    /// If a file was changed since the interruption, another process uses it, or it cannot be read.
    pub(in crate::pipeline) fn resume(&mut self, load: &LoadDocument) -> Result<Resumed, Error> {
        match self {
            Self::Files(files) => files.resume(load),
            Self::Objects(objects) => objects.resume(load),
            Self::None => Ok(Resumed::Yes),
        }
    }

    /// Opens the reject file with the index `slot`. Returns true if the ledger must record the file before rows are
    /// appended.
    ///
    /// # Errors
    /// The same as for [`Rejects::prepare`].
    pub(in crate::pipeline) fn prepare(&mut self, slot: usize) -> Result<bool, Error> {
        match self {
            Self::Files(files) => files.prepare(slot),
            // The names of objects contain the load, so the ledger need not record them first.
            Self::Objects(_) | Self::None => Ok(false),
        }
    }

    /// Appends lines to the reject file with the index `slot`, and waits until they are durable.
    ///
    /// # Errors
    /// If the lines cannot be written.
    pub(in crate::pipeline) fn append(&mut self, slot: usize, lines: &[u8]) -> Result<(), Error> {
        match self {
            Self::Files(files) => files.append(slot, lines),
            Self::Objects(objects) => objects.append(slot, lines),
            Self::None => Ok(()),
        }
    }

    /// Closes the files of all sources before `source`.
    pub(in crate::pipeline) fn close_before(&mut self, source: usize) {
        if let Self::Files(files) = self {
            files.close_before(source);
        }
    }

    /// Completes the files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(in crate::pipeline) fn finish(&mut self) -> Result<(), Error> {
        match self {
            Self::Files(files) => files.finish(),
            Self::Objects(objects) => objects.finish(),
            Self::None => Ok(()),
        }
    }

    /// Removes files without rows. In S3 there are none, because an object is created only for rejects.
    pub(in crate::pipeline) fn remove_empty(&mut self) {
        if let Self::Files(files) = self {
            files.remove_empty();
        }
    }

    /// Deletes objects that are not needed after the load is complete.
    pub(in crate::pipeline) fn clean_up(&mut self) {
        if let Self::Objects(objects) = self {
            objects.clean_up();
        }
    }

    /// Returns the current state of each file that the load has begun to write.
    pub(in crate::pipeline) fn states(&self) -> Vec<RejectsState> {
        match self {
            Self::Files(files) => files.states(),
            Self::Objects(objects) => objects.states(),
            Self::None => Vec::new(),
        }
    }

    /// Returns the files that contain rejects of this load.
    pub(in crate::pipeline) fn files(&self) -> Vec<FileOfRejects> {
        match self {
            Self::Files(files) => files.files(),
            Self::Objects(objects) => objects.listed(),
            Self::None => Vec::new(),
        }
    }

    /// Returns the reject files that the complete load `load` wrote and that are unchanged. Adds a note about each file
    /// that was changed or is missing.
    pub(in crate::pipeline) fn left_by(&mut self, load: &LoadDocument) -> Vec<FileOfRejects> {
        match self {
            Self::Files(files) => files.left_by(load),
            Self::Objects(objects) => objects.left_by(load),
            Self::None => Vec::new(),
        }
    }

    /// Sentences for the summary: which rows were moved to another file, and which existing files were not used.
    pub(in crate::pipeline) fn notes(&self) -> &[String] {
        match self {
            Self::Files(files) => &files.notes,
            Self::Objects(objects) => &objects.notes,
            Self::None => &[],
        }
    }
}
