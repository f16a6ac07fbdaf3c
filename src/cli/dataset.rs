//! The option `--spec`.

use std::path::PathBuf;

use clap::Args;
use medlift::error::Error;
use medlift::server::collection_of_view;
use medlift::spec::{Dataset, Spec};

use super::settings;

/// The dataset spec that a command uses.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct DatasetArgs {
    /// Dataset spec: a file, or one of the built-in specs admissions, hl7v2 and fhir-r4 [default: admissions; load,
    /// verify and plan use hl7v2 for HL7 messages and fhir-r4 for FHIR resources]
    #[arg(long = "spec", value_name = "FILE|NAME")]
    pub(super) path: Option<PathBuf>,
}

impl DatasetArgs {
    /// Reads the dataset spec that the user gave, or returns the built-in one.
    pub(super) fn dataset(&self) -> Result<Dataset, Error> {
        Ok(self.path.as_deref().map_or_else(|| Ok(Spec::built_in().into()), Dataset::from_file)?)
    }

    /// Returns the spec of one kind of document. If the dataset has several kinds, returns the kind whose collection
    /// is named `collection`. If `collection` is `None`, its name is the value of `COLLECTION_NAME`. The name of the
    /// collection's de-identified view is accepted too.
    ///
    /// # Errors
    /// The dataset has several kinds, and none of them has this collection.
    pub(super) fn kind(&self, collection: Option<&str>) -> Result<Spec, Error> {
        let dataset = self.dataset()?;
        if dataset.kinds.len() == 1 {
            return Ok(dataset.into_only()?);
        }
        let settings = settings::load()?;
        let collection = collection.or(settings.get("COLLECTION_NAME"));
        let collection = collection.map(|name| collection_of_view(name).unwrap_or(name));
        let kind = collection.and_then(|collection| dataset.kind_of(collection));
        kind.cloned().ok_or_else(|| {
            let known: Vec<&str> = dataset.kinds.iter().map(|kind| kind.collection.as_str()).collect();
            let known = known.join(" or ");
            Error::Usage(format!(
                "the spec describes several kinds of documents; choose one kind with --collection {known}"
            ))
        })
    }
}
