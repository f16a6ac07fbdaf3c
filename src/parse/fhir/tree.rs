//! The values that a spec reads from a resource, as a tree of keys. While a resource is converted, this tree says which
//! values to note.

use crate::spec::json_path::{Path, Reading, Step};

/// A value of a resource that the spec reads, or through which a path of the spec leads.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    keys: Vec<(Box<str>, Node)>,
    items: Vec<(u32, Node)>,
    all: Option<Box<Node>>,
    /// The number of the repeating group of which this value is an item.
    pub(super) item_of: Option<usize>,
    /// The places to which the value goes.
    pub(super) sinks: Vec<Sink>,
}

/// A place to which a value goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sink {
    pub(super) to: To,
    pub(super) reading: Reading,
    /// A cell can have several paths. The first one that has a value wins.
    pub(super) rank: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    /// The cell with this number.
    Cell(usize),
    /// A new item of the list with this number.
    List(usize),
    /// A column of the current item of a repeating group.
    Column { group: usize, column: usize },
}

impl Node {
    /// Returns the node at the end of a path, and makes it if it does not exist.
    pub(super) fn at(&mut self, steps: &[Step]) -> &mut Self {
        steps.iter().fold(self, |node, step| match step {
            Step::Key(key) => node.key_mut(key),
            Step::Item(item) => node.item_mut(*item),
            Step::All => node.all.get_or_insert_default(),
        })
    }

    /// Adds a sink at the end of a path.
    pub(super) fn add(&mut self, path: &Path, to: To, rank: usize) {
        self.at(&path.steps).sinks.push(Sink { to, reading: path.reading, rank });
    }

    fn key_mut(&mut self, key: &str) -> &mut Self {
        let known = self.keys.iter().position(|(known, _)| **known == *key);
        let place = known.unwrap_or_else(|| {
            self.keys.push((key.into(), Self::default()));
            self.keys.len() - 1
        });
        &mut self.keys[place].1
    }

    fn item_mut(&mut self, item: u32) -> &mut Self {
        let known = self.items.iter().position(|(known, _)| *known == item);
        let place = known.unwrap_or_else(|| {
            self.items.push((item, Self::default()));
            self.items.len() - 1
        });
        &mut self.items[place].1
    }

    /// Completes the tree. Example: if a spec reads `name[*].family` and `name[0].given`, the first name is read for
    /// both.
    pub(super) fn finish(&mut self) {
        if let Some(all) = &self.all {
            self.items.iter_mut().for_each(|(_, item)| item.join(all));
        }
        let nodes = self.keys.iter_mut().map(|(_, node)| node).chain(self.items.iter_mut().map(|(_, node)| node));
        nodes.chain(self.all.as_deref_mut()).for_each(Self::finish);
    }

    fn join(&mut self, other: &Self) {
        self.sinks.extend(&other.sinks);
        self.item_of = self.item_of.or(other.item_of);
        other.keys.iter().for_each(|(key, node)| self.key_mut(key).join(node));
        other.items.iter().for_each(|(item, node)| self.item_mut(*item).join(node));
        if let Some(all) = &other.all {
            self.all.get_or_insert_default().join(all);
        }
    }

    /// Returns the node of a key of an object.
    pub(super) fn key(&self, key: &[u8]) -> Option<&Self> {
        // A value that could repeat but does not is read like an array with one item.
        let node = if self.keys.is_empty() { self.all.as_deref()? } else { self };
        node.keys.iter().find(|(known, _)| known.as_bytes() == key).map(|(_, node)| node)
    }

    /// Returns the node of an item of an array.
    pub(super) fn item(&self, item: usize) -> Option<&Self> {
        let numbered = self.items.iter().find(|(known, _)| *known as usize == item);
        numbered.map(|(_, node)| node).or(self.all.as_deref())
    }

    /// Returns the node for a value that is neither an object nor an array.
    pub(super) fn value(&self) -> &Self {
        if self.sinks.is_empty() { self.all.as_deref().unwrap_or(self) } else { self }
    }

    /// Returns the number of the group if an object here is an item of a repeating group.
    pub(super) fn group(&self) -> Option<usize> {
        self.item_of.or_else(|| if self.keys.is_empty() { self.all.as_deref()?.item_of } else { None })
    }
}
