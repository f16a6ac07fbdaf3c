//! Finds the sources that the arguments of a command name.

use std::fs;
use std::path::Path;

use super::reject_name::{is_reject_path, wants_rejects};
use super::{FileOrigin, ObjectOrigin, Origin};
use crate::read::ReadError;

pub(super) const STDIN: &str = "-";

/// Returns the sources that the arguments name, in the order of the arguments. The argument `-` is standard input. The
/// matches of a glob pattern are sorted by path. A path of an existing file is not a pattern, even if it contains `*`,
/// `?` or `[`. The same is true of the key of an existing object in S3. The address of an object begins with `s3://`.
///
/// All checks that do not need the content of the sources are done here, so that an error is reported before anything
/// is written.
pub(crate) fn expand(args: &[String]) -> Result<Vec<Origin>, ReadError> {
    let mut sources: Vec<Origin> = Vec::new();
    for arg in args {
        for source in expand_one(arg)? {
            match sources.iter().find(|earlier| earlier.is_same(&source)) {
                Some(earlier) if earlier.name() == source.name() => {
                    return Err(ReadError::GivenTwice { name: source.name().to_owned() });
                }
                Some(earlier) => {
                    let (name, earlier) = (source.name().to_owned(), earlier.name().to_owned());
                    return Err(ReadError::SameFile { name, earlier });
                }
                None => sources.push(source),
            }
        }
    }
    if sources.is_empty() { Err(ReadError::NoSource) } else { Ok(sources) }
}

fn expand_one(arg: &str) -> Result<Vec<Origin>, ReadError> {
    if !is_pattern(arg) {
        return Ok(vec![Origin::named(arg, None)?]);
    }
    if ObjectOrigin::is_address(arg) {
        return Ok(ObjectOrigin::matching(arg)?.into_iter().map(Origin::Object).collect());
    }
    if fs::symlink_metadata(arg).is_ok() {
        return Ok(vec![file(Path::new(arg))?]);
    }
    expand_pattern(arg)
}

fn is_pattern(arg: &str) -> bool {
    arg.contains(['*', '?', '['])
}

/// Returns the files that match a pattern.
///
/// By default, a load writes its reject file beside the source. A pattern such as `*.csv` therefore skips reject files.
/// Otherwise the same pattern would match more files after the load than before. A pattern whose file name contains
/// `.rejects.` matches reject files.
fn expand_pattern(pattern: &str) -> Result<Vec<Origin>, ReadError> {
    let bad = |error: glob::PatternError| ReadError::BadPattern { pattern: pattern.to_owned(), reason: error.msg };
    let wants_rejects = wants_rejects(pattern);
    let mut paths = Vec::new();
    for entry in glob::glob(pattern).map_err(bad)? {
        let path = entry.map_err(|error| {
            let name = error.path().display().to_string();
            ReadError::from_io(&name, 0, error.into())
        })?;
        if !path.is_dir() && (wants_rejects || !is_reject_path(&path)) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(ReadError::NoMatch { pattern: pattern.to_owned() });
    }
    paths.sort();
    paths.iter().map(|path| file(path)).collect()
}

fn file(path: &Path) -> Result<Origin, ReadError> {
    FileOrigin::new(path).map(Origin::File)
}
