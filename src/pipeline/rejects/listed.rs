//! Lists the reject files that a load writes, and those that a complete load has written.

use std::path::Path;

use super::streams::Stream;
use super::target::file_name;
use super::{Rejects, Slot};
use crate::ledger::{LoadDocument, RejectsState};
use crate::read::RejectKind;
use crate::report::rejects::RejectFile;
use crate::report::summary::FileOfRejects;

impl Rejects<'_> {
    /// Returns the current state of each file that the load has begun to write.
    pub(in crate::pipeline) fn states(&self) -> Vec<RejectsState> {
        let state = |(index, slot): (usize, &Slot)| {
            let (path, (bytes, blake3)) = match slot {
                Slot::Unused(_) => return None,
                Slot::Open(file) => (file.path(), file.state()),
                Slot::Closed { path, bytes, blake3 } => (path.as_path(), (*bytes, blake3.clone())),
            };
            let Stream { source, kind } = self.streams.get(index);
            let state = RejectsState::of_file(source as u32, file_name(path), bytes, blake3);
            Some(RejectsState { has_positions: kind == RejectKind::Positions, ..state })
        };
        self.slots.iter().enumerate().filter_map(state).collect()
    }

    /// Returns the files that contain rejects of this load.
    pub(in crate::pipeline) fn files(&self) -> Vec<FileOfRejects> {
        let is_used = |slot: &Slot| match slot {
            Slot::Unused(_) => false,
            Slot::Open(file) => !file.is_empty(),
            Slot::Closed { bytes, .. } => *bytes > 0,
        };
        let used = (0..self.slots.len()).filter(|slot| is_used(&self.slots[*slot]));
        used.filter_map(|slot| Some(self.listed(slot, &self.path_of(slot)?))).collect()
    }

    /// Returns the reject files that the complete load `load` wrote and that are unchanged. Adds a note about each file
    /// that was changed or is missing. First unlocks the files that this process has locked. Otherwise it could not
    /// open them again.
    pub(in crate::pipeline) fn left_by(&mut self, load: &LoadDocument) -> Vec<FileOfRejects> {
        self.slots.iter_mut().for_each(Slot::release);
        let mut left = Vec::new();
        for state in load.checkpoint.rejects.iter().filter(|state| state.bytes > 0) {
            let path = self.path_of_state(state);
            match std::fs::metadata(&path) {
                Ok(found) if !found.is_file() => {}
                Ok(found) if found.len() == state.bytes && is_unchanged(&path, state) => {
                    left.push(self.listed(self.streams.of_state(state), &path));
                }
                Ok(_) if file_name(&path) == state.name => self.notes.push(about_changed(&path, load)),
                Err(_) if file_name(&path) == state.name => self.notes.push(format!(
                    "the reject file {} of that load is not there; --reload writes it again",
                    path.display()
                )),
                // The user has named another file now than when the load `load` was executed.
                _ => self.notes.push(format!(
                    "nothing was written to {0}: that load wrote its rejects to a file with the name {1}; --reload writes \
                     them to {0}",
                    path.display(),
                    state.name
                )),
            }
        }
        left
    }

    fn listed(&self, slot: usize, path: &Path) -> FileOfRejects {
        let source = self.streams.get(slot).source;
        let source = self.streams.are_of_several_sources().then(|| self.plan.sources[source].origin.name().to_owned());
        FileOfRejects { path: path.display().to_string(), source }
    }
}

/// Returns the note about a file that has the name of a reject file of the complete load `load`, but not the rows that
/// this load wrote. The file can belong to another load, for example if `--rejects` now names another directory.
fn about_changed(path: &Path, load: &LoadDocument) -> String {
    let path_shown = path.display();
    match RejectFile::open(path).ok().and_then(|file| file.marked_by()) {
        Some(mark) if mark != load.id.to_string() => {
            format!(
                "the reject file {path_shown} belongs to another load ({mark}); it does not contain the rejects of the \
                 load that is repeated"
            )
        }
        _ => format!(
            "the reject file {path_shown} does not have the rows that the load wrote; if you corrected its rows, load \
             them with `medlift load {path_shown}`"
        ),
    }
}

fn is_unchanged(path: &Path, state: &RejectsState) -> bool {
    let on_disk = RejectFile::open(path).ok().and_then(|file| file.on_disk().ok().flatten());
    on_disk.is_some_and(|(_, blake3)| blake3 == state.blake3)
}
