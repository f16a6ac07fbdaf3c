//! Removes empty reject files when a load ends. A killed process cannot remove its own, so the next process of the load
//! does.

use std::path::PathBuf;

use super::target::file_name;
use super::{Rejects, Slot};
use crate::report::rejects::RejectFile;

impl Rejects<'_> {
    /// Removes the empty reject files that this process, or an interrupted process of the same load, created. Keeps an
    /// empty file that Medlift did not create, and a file that another process has locked. Does nothing in a dry run.
    pub(in crate::pipeline) fn remove_empty(&mut self) {
        if self.load.is_none() {
            return;
        }
        let mut own = Vec::new();
        for slot in &mut self.slots {
            match slot {
                Slot::Open(file) if file.is_empty() => own.push(file.path().to_owned()),
                Slot::Closed { path, bytes: 0, .. } => own.push(path.clone()),
                // The file that the user named, without rows. If this process created the file, unlocking the slot
                // removes it. If a killed process of Medlift created it, the file has a mark, and the end of this
                // function removes it.
                Slot::Unused(Some(_)) => {}
                _ => continue,
            }
            // Unlocks the file.
            *slot = Slot::Unused(None);
        }
        let named = self.target.named();
        let is_meant = |path: &PathBuf, name: &String| named.is_none() || file_name(path) == *name;
        let left = self.replaceable.iter().map(|left| (self.path_of_state(&left.state), &left.state.name));
        own.extend(left.filter(|(path, name)| is_meant(path, name)).map(|(path, _)| path));
        for path in &own {
            remove_if_empty(path, |_| true);
        }
        // A process may have been killed before the ledger recorded its file. Such a file has the mark of Medlift.
        let is_marked = |file: &RejectFile| file.marked_by().is_some();
        for slot in 0..self.slots.len() {
            remove_if_empty(&self.path(slot, 1), is_marked);
        }
    }
}

/// Removes the file if it is empty, if no other process has locked it, and if `is_ours` returns true.
fn remove_if_empty(path: &PathBuf, is_ours: impl Fn(&RejectFile) -> bool) {
    if !std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        return;
    }
    if let Ok(file) = RejectFile::open(path)
        && is_ours(&file)
    {
        file.remove_if_empty();
    }
}
