//! The options of `medlift load` for a load that several workers share.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use medlift::error::Error;
use medlift::s3::is_address;
use medlift::verify::Share;

/// The options of a load that several workers share.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Several workers")]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    pub(super) share: ShareArgs,
    /// Maximum number of bulk inserts that all workers together have under way [default: no limit]
    #[arg(long, value_name = "N", requires = "manifest")]
    pub(super) writers_max: Option<NonZeroU32>,
    /// Load no part. If all parts are loaded, finish the load: build the indexes, attach the validator, verify
    #[arg(long, requires = "manifest")]
    pub(super) finish: bool,
}

/// The manifest, and the place of this worker among the others.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Several workers")]
pub(super) struct ShareArgs {
    /// Use the sources of a manifest, which medlift plan makes, instead of the given sources; a file, or the address of
    /// an object in S3
    #[arg(long, value_name = "FILE")]
    pub(super) manifest: Option<String>,
    #[arg(
        long,
        value_name = "N",
        requires = "manifest",
        help = "Index of this worker, from 0 [env: AWS_BATCH_JOB_ARRAY_INDEX, JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID]"
    )]
    index: Option<u32>,
    /// Number of workers [default: the number of parts]
    #[arg(long, value_name = "N", requires = "manifest")]
    of: Option<NonZeroU32>,
}

/// The environment variables in which AWS Batch, Kubernetes and Slurm give the index of this worker.
const INDEX_VARIABLES: [&str; 3] = ["AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"];

/// The environment variables in which AWS Batch and Slurm give the number of workers.
const COUNT_VARIABLES: [&str; 2] = ["AWS_BATCH_JOB_ARRAY_SIZE", "SLURM_ARRAY_TASK_COUNT"];

impl ShareArgs {
    /// Returns the index of this worker and the number of workers. Returns `None` if neither `--index` nor a variable
    /// gives an index. If neither `--of` nor a variable gives the number of workers, it is `parts`, the number of parts
    /// of the manifest.
    ///
    /// # Errors
    /// Both `--index` and `--of` are given, and the index is not smaller than the number of workers. Or a variable of
    /// the scheduler does not contain a whole number.
    pub(super) fn place(&self, parts: usize) -> Result<Option<(u32, u32)>, Error> {
        let index = match self.index {
            Some(index) => Some(index),
            None => first_number(&INDEX_VARIABLES)?,
        };
        let Some(index) = index else { return Ok(None) };
        let of = match self.of {
            Some(of) => Some(of.get()),
            None => first_number(&COUNT_VARIABLES)?,
        };
        match (self.index, self.of) {
            (Some(index), Some(of)) if index >= of.get() => Err(Error::Usage(format!(
                "--index {index} --of {of}: the workers have the indexes 0 to {}",
                of.get() - 1
            ))),
            _ => Ok(Some((index, of.unwrap_or(parts as u32).max(1)))),
        }
    }

    /// Returns the share of the `_id`s that this worker verifies. Without an index, the share contains all `_id`s.
    ///
    /// # Errors
    /// The same as for `place`, or the index is not smaller than the number of workers. An unknown number of workers
    /// counts as 1.
    pub(super) fn share(&self) -> Result<Share, Error> {
        match self.place(0)? {
            None => Ok(Share::ALL),
            Some((index, of)) if index < of => Ok(Share { index, of }),
            Some((index, _)) => Err(Error::Usage(format!(
                "this worker has the index {index}; give the number of workers with --of, larger than the index"
            ))),
        }
    }
}

impl WorkerArgs {
    /// Returns the directory or the prefix in S3 for reject files. If the user named none, it is the directory of the
    /// manifest file, or the working directory if the manifest is in S3.
    ///
    /// # Errors
    /// The path that the user named is not in S3 and not an existing directory.
    pub(super) fn rejects(manifest: &str, named: Option<PathBuf>) -> Result<PathBuf, Error> {
        match named {
            Some(path) if path.is_dir() || path.to_str().is_some_and(is_address) => Ok(path),
            Some(path) => Err(Error::Usage(format!(
                "--rejects {}: with --manifest, give a directory that exists, or an address such as \
                 s3://BUCKET/rejects/; each part has its own file there",
                path.display()
            ))),
            None if is_address(manifest) => Ok(PathBuf::from(".")),
            None => {
                let directory = Path::new(manifest).parent().filter(|parent| !parent.as_os_str().is_empty());
                Ok(directory.map_or_else(|| PathBuf::from("."), Path::to_owned))
            }
        }
    }
}

fn first_number(names: &[&str]) -> Result<Option<u32>, Error> {
    let Some((name, text)) = names.iter().find_map(|name| Some((name, std::env::var(name).ok()?))) else {
        return Ok(None);
    };
    let number = text.trim().parse();
    number.map(Some).map_err(|_| Error::Usage(format!("the variable {name} must be a whole number from 0")))
}
