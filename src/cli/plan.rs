//! `medlift plan`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use medlift::error::Error;
use medlift::outputs::{Output, SHARED_MODE, write_hint};
use medlift::pipeline::manifest::{Cuts, Manifest};
use medlift::server::{Settings, refuse_name_for_data};

use super::connection::{ConnectionArgs, tell_ignored_name};
use super::reading::ReadingArgs;
use super::{output, settings};

const EXAMPLES: &str = "Examples:
  medlift plan 'more/*.csv.gz' --out load.manifest.json
  medlift plan data.csv --part-size 64 --out load.manifest.json
  medlift plan results.csv --spec laboratory.toml --add --out load.manifest.json";

/// Make a manifest: the sources of a load, divided into parts that several workers can load at the same time
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    reading: ReadingArgs,
    #[arg(short, long, value_name = "NAME", help = "Collection [env: COLLECTION_NAME] [default: the spec's]")]
    collection: Option<String>,
    /// Manifest to write
    #[arg(short, long, value_name = "FILE", help_heading = "Manifest")]
    out: PathBuf,
    /// Add the sources as a further table to the manifest that --out names
    #[arg(long, help_heading = "Manifest")]
    add: bool,
    /// Replace the manifest that --out names, if its content differs. Do this only if no load uses it
    #[arg(long, conflicts_with = "add", help_heading = "Manifest")]
    overwrite: bool,
    /// Size of a part, in MiB. Larger files are cut, and smaller files are combined
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_048_576), help_heading = "Manifest")]
    part_size: u32,
    /// Do not cut files
    #[arg(long, help_heading = "Manifest")]
    no_cut: bool,
}

impl PlanArgs {
    /// Runs the command.
    pub(super) fn run(mut self) -> Result<ExitCode, Error> {
        let mut connection = ConnectionArgs::default();
        connection.take_uri(self.reading.positional())?;
        let settings = settings::load()?;
        let progress = self.reading.progress();
        let plan = self.reading.plan_and_tell(&progress)?;
        if self.collection.is_some() && plan.kinds.len() > 1 {
            return Err(Error::Usage(
                "the spec describes several kinds of documents and names a collection for each; leave out --collection"
                    .into(),
            ));
        }
        let spec = &plan.kinds[0];
        if self.collection.is_none() && spec.has_own_collection() {
            tell_ignored_name(spec, &settings);
            self.collection = Some(spec.collection.clone());
        }
        let collection = collection(self.collection.take(), &settings)?;
        let earlier = if self.add { Some(read(&self.out)?) } else { None };
        let sources = plan.sources.iter().filter_map(|source| source.origin.path().map(Path::to_owned));
        let inputs: Vec<PathBuf> = sources.chain(self.reading.spec_path()).chain(settings.files()).collect();
        output::refuse_inputs("--out", &self.out, &inputs)?;
        let replaced = if self.add { earlier.clone() } else { self.existing()? };
        let cuts = Cuts { part_bytes: u64::from(self.part_size) << 20, are_made: !self.no_cut };
        let manifest = Manifest::with_table(earlier, &plan, collection, cuts)?;
        self.replace(replaced.as_ref(), &manifest)?;
        output::print(&manifest.overview(), self.reading.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl PlanArgs {
    /// Returns the manifest that `--out` names. `None` if there is no such file.
    fn existing(&self) -> Result<Option<Manifest>, Error> {
        if !self.out.exists() {
            return Ok(None);
        }
        let other = || format!("--out {} exists and is not a manifest; give another file", self.out.display());
        read(&self.out).map(Some).map_err(|_| Error::Usage(other()))
    }

    /// Writes the manifest. A manifest with other content is replaced only with `--add` or `--overwrite`. The user is
    /// then told what this means for a load of the earlier manifest.
    fn replace(&self, earlier: Option<&Manifest>, manifest: &Manifest) -> Result<(), Error> {
        match earlier {
            Some(earlier) if earlier.id == manifest.id => return Ok(()),
            Some(earlier) if !self.add && !self.overwrite => {
                return Err(Error::Usage(format!(
                    "--out {} is the manifest {} of other sources or parts, and a load may use it; give another file, or \
                     add --overwrite if no load uses it",
                    self.out.display(),
                    earlier.id
                )));
            }
            Some(earlier) => output::tell(format_args!(
                "notice: manifest {} replaces {} in {}; if a load of the earlier one is not complete, workers that start \
                 now begin it anew",
                manifest.id,
                earlier.id,
                self.out.display()
            )),
            None => {}
        }
        write(&self.out, &manifest.to_json())
    }
}

/// Returns the collection that `--collection` or `COLLECTION_NAME` names. The database is not known yet.
fn collection(option: Option<String>, settings: &Settings) -> Result<Option<String>, Error> {
    let variable = "COLLECTION_NAME";
    let (setting, named) = match option {
        Some(name) => ("--collection", Some(name)),
        None => (variable, settings.get(variable).map(str::to_owned)),
    };
    named.iter().try_for_each(|name| refuse_name_for_data(setting, "", name))?;
    Ok(named)
}

fn read(path: &Path) -> Result<Manifest, Error> {
    Manifest::read(&path.display().to_string())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        let hint = write_hint(&error);
        Error::Output { path: path.display().to_string(), hint, error }
    };
    let mut out = Output::file(path, SHARED_MODE).map_err(failed)?;
    out.write_all(text.as_bytes()).and_then(|()| out.finish()).map_err(failed)
}
