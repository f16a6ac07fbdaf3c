//! A dataset: the kinds of documents that Medlift makes from the rows of the sources.

use std::fs;
use std::path::Path;

use super::{BUILT_IN, BUILT_IN_ORIGIN, Identity, OnConflict, Shape, Spec, SpecError, from_toml};

/// A dataset has one or more *kinds* of documents, for example `patient` and `admission`. Each row of the sources gives
/// one document of each kind. FHIR is an exception: a resource gives a document of only one kind. A [`Spec`] describes
/// one kind.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The fields of all kinds, one kind after another, as if there were only one kind. The columns of a source are
    /// assigned to these fields. With a single kind, this is the spec of that kind.
    pub columns: Spec,
    /// The spec of each kind.
    pub kinds: Vec<Spec>,
}

impl Dataset {
    /// Reads a dataset from its TOML text. Error messages name the text `origin`.
    ///
    /// # Errors
    /// The text is not valid TOML or not a valid spec.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, SpecError> {
        from_toml::read(text, origin)
    }

    /// Reads a dataset from a file. If there is no such file, and `path` is the name of a built-in spec, returns the
    /// built-in spec.
    ///
    /// # Errors
    /// The file cannot be read, or its text is not a valid spec.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        if let Some(dataset) = path.to_str().and_then(Self::built_in).filter(|_| !path.exists()) {
            return Ok(dataset);
        }
        let text =
            fs::read_to_string(path).map_err(|source| SpecError::Unreadable { path: path.to_owned(), source })?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// Returns the built-in dataset with this name, or `None` if there is none.
    pub fn built_in(name: &str) -> Option<Self> {
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        let dataset = Self::from_toml(text, &format!("{BUILT_IN_ORIGIN}{name}"));
        Some(dataset.expect("the built-in specs are valid, which a test checks"))
    }

    /// Creates a dataset from its kinds. There must be at least one.
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
            patient: None,
            resources: kinds.iter().flat_map(|kind| kind.resources.clone()).collect(),
            ..kinds[0].clone()
        };
        Self { columns, kinds }
    }

    /// Returns the only kind of documents.
    ///
    /// # Errors
    /// There are several kinds.
    pub fn into_only(mut self) -> Result<Spec, SpecError> {
        match self.kinds.len() {
            1 => Ok(self.kinds.remove(0)),
            _ => Err(SpecError::SeveralDocuments { origin: self.columns.origin }),
        }
    }

    /// Returns the kind whose documents are stored in this collection.
    pub fn kind_of(&self, collection: &str) -> Option<&Spec> {
        self.kinds.iter().find(|kind| kind.collection == collection)
    }
}

impl From<Spec> for Dataset {
    fn from(spec: Spec) -> Self {
        Self { columns: spec.clone(), kinds: vec![spec] }
    }
}
