//! The option `--spec`.

use std::path::PathBuf;

use clap::Args;
use medlift::error::Error;
use medlift::spec::{Dataset, Spec};

/// The dataset spec that a command uses.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct DatasetArgs {
    /// Dataset spec: a file, or one of the built-in specs `admissions` and `hl7v2` [default: admissions]
    #[arg(long = "spec", value_name = "FILE|NAME")]
    pub(super) path: Option<PathBuf>,
}

impl DatasetArgs {
    /// Reads the dataset spec that the user gave, or returns the built-in one.
    pub(super) fn dataset(&self) -> Result<Dataset, Error> {
        Ok(self.path.as_deref().map_or_else(|| Ok(Spec::built_in().into()), Dataset::from_file)?)
    }

    /// Returns the spec of a dataset with only one kind of document.
    ///
    /// # Errors
    /// The dataset has several kinds of documents.
    pub(super) fn spec(&self) -> Result<Spec, Error> {
        Ok(self.dataset()?.into_only()?)
    }
}
