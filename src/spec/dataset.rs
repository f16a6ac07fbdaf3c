//! A dataset: one or more kinds of documents that each row of the sources gives.

use std::fs;
use std::path::Path;

use super::{Identity, OnConflict, Shape, Spec, SpecError, from_toml};

/// The kinds of documents of a dataset, and the columns that they need.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The fields of all kinds, one kind after another. The columns of a source are bound to them. If there is only one
    /// kind, this is its spec.
    pub columns: Spec,
    /// The kinds. Each row gives one document of each kind.
    pub kinds: Vec<Spec>,
}

impl Dataset {
    /// Reads a dataset from its TOML text. Messages use `origin` as the name of the text.
    ///
    /// # Errors
    /// If the text is wrong.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, SpecError> {
        from_toml::read(text, origin)
    }

    /// Reads a dataset from a file.
    ///
    /// # Errors
    /// If the file cannot be read, or its text is wrong.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        let text =
            fs::read_to_string(path).map_err(|source| SpecError::Unreadable { path: path.to_owned(), source })?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// The dataset of these kinds, of which there is at least one.
    pub(super) fn of(name: &str, kinds: Vec<Spec>) -> Self {
        if let [only] = &kinds[..] {
            return Self { columns: only.clone(), kinds };
        }
        let fields: Vec<_> = kinds.iter().flat_map(|kind| kind.fields.clone()).collect();
        let columns = Spec {
            name: name.to_owned(),
            identity: Identity { fields: (0..fields.len()).collect(), on_conflict: OnConflict::KeepFirst },
            shape: Shape::joined(kinds.iter().map(|kind| (&kind.shape, kind.fields.len()))),
            fields,
            plausibility: Vec::new(),
            indexes: Vec::new(),
            ..kinds[0].clone()
        };
        Self { columns, kinds }
    }

    /// Returns the only kind.
    ///
    /// # Errors
    /// If there are several kinds.
    pub fn into_only(mut self) -> Result<Spec, SpecError> {
        match self.kinds.len() {
            1 => Ok(self.kinds.remove(0)),
            _ => Err(SpecError::SeveralDocuments { origin: self.columns.origin }),
        }
    }

    /// Returns the kind whose documents go to this collection.
    pub fn kind_of(&self, collection: &str) -> Option<&Spec> {
        self.kinds.iter().find(|kind| kind.collection == collection)
    }
}

impl From<Spec> for Dataset {
    fn from(spec: Spec) -> Self {
        Self { columns: spec.clone(), kinds: vec![spec] }
    }
}
