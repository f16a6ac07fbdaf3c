//! The reasons why a source cannot be read. No message contains content of the source.

use std::io;

use crate::s3::Problem;

/// The reason why a source cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The command names no source.
    #[error("no source was given; give a file, a glob pattern, or `-` for standard input")]
    NoSource,
    /// The file does not exist.
    #[error("cannot read `{name}`: there is no such file")]
    NotFound {
        /// The name of the source.
        name: String,
    },
    /// The pattern is not a valid glob pattern.
    #[error("cannot read `{pattern}`: not a valid glob pattern ({reason}); write `[*]` for a literal `*`")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong in the pattern.
        reason: &'static str,
    },
    /// No file matches the pattern.
    #[error("cannot read `{pattern}`: no file matches this pattern")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// The arguments contain the same source twice.
    #[error("`{name}` is given twice; give each source once")]
    GivenTwice {
        /// The name of the source.
        name: String,
    },
    /// Two paths lead to the same file.
    #[error("`{name}` is the same file as `{earlier}`; give each file once, because its rows would be read twice")]
    SameFile {
        /// The name of the source.
        name: String,
        /// The name of the source that was given first.
        earlier: String,
    },
    /// The path refers to a directory.
    #[error("cannot read `{name}`: it is a directory; give the files in it, for example `{name}/*.csv`")]
    IsDirectory {
        /// The name of the source.
        name: String,
    },
    /// The user who runs the program has no permission to read the file.
    #[error("cannot read `{name}`: permission denied for the user who runs medlift")]
    NoPermission {
        /// The name of the source.
        name: String,
    },
    /// The file was changed after the command began.
    #[error("`{name}` was changed while it was read; wait until the file is complete, and run the same command again")]
    Changed {
        /// The name of the source.
        name: String,
    },
    /// A part of a source ends inside a row, because the source was cut at a wrong place.
    #[error(
        "cannot read `{name}`: the part ends inside a quoted cell, so the file was cut at a wrong place; other parts may have \
         stored wrong rows: drop the collection, and plan again with --no-cut"
    )]
    WrongSeam {
        /// The name of the part.
        name: String,
    },
    /// The source contains no text, or only a byte order mark.
    #[error("cannot read `{name}`: it is empty")]
    Empty {
        /// The name of the source.
        name: String,
    },
    /// The source is not text, or is text in an encoding that Medlift cannot read. An example is UTF-32.
    #[error("cannot read `{name}`: it is {what}, not text; export the data as CSV or NDJSON")]
    Binary {
        /// The name of the source.
        name: String,
        /// A description of the format, for example `a PDF document`.
        what: &'static str,
    },
    /// The compressed data end before their end mark.
    #[error("cannot read `{name}` to its end: the {archive} data are truncated; get a complete copy and load it again")]
    Truncated {
        /// The name of the source.
        name: String,
        /// `gzip` or `zstd`.
        archive: &'static str,
    },
    /// The compressed data are damaged.
    #[error(
        "cannot read `{name}`: the {archive} data are damaged near byte {offset} of the file; get an undamaged copy and load it again"
    )]
    Corrupt {
        /// The name of the source.
        name: String,
        /// `gzip` or `zstd`.
        archive: &'static str,
        /// Number of bytes of the file that had been read when the damage was found.
        offset: u64,
    },
    /// The source was compressed with a zstd window that is larger than Medlift accepts.
    #[error(
        "cannot read `{name}`: it is compressed with a zstd window of {}, and medlift reads windows of at most {} MiB; \
         compress it again with `zstd --long=27`, or decompress it first",
        window_size(*.window_bytes), .window_bytes_max >> 20
    )]
    Window {
        /// The name of the source.
        name: String,
        /// Size of the window in bytes. `None` if it is unknown.
        window_bytes: Option<u64>,
        /// Largest window that Medlift accepts, in bytes.
        window_bytes_max: u64,
    },
    /// An object in S3 cannot be read.
    #[error("cannot read `{name}`: {problem}")]
    Object {
        /// The address of the object, or the pattern.
        name: String,
        /// The reason.
        problem: Problem,
    },
    /// The operating system reported another error.
    #[error("cannot read `{name}` at byte {offset}: {error}")]
    Io {
        /// The name of the source.
        name: String,
        /// Number of bytes of the file that were read before the error.
        offset: u64,
        /// The error of the operating system.
        #[source]
        error: io::Error,
    },
}

fn window_size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "a larger size".to_owned(), |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)))
}

impl ReadError {
    /// Converts an error of the operating system. `name` is the name of the source. `offset` is the number of bytes
    /// that were read before the error. If `error` contains a `ReadError`, returns that `ReadError` unchanged. The
    /// reader of an object makes such errors.
    pub(super) fn from_io(name: &str, offset: u64, error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(carried) => return carried,
            Err(error) => error,
        };
        let name = name.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { name },
            io::ErrorKind::PermissionDenied => Self::NoPermission { name },
            io::ErrorKind::IsADirectory => Self::IsDirectory { name },
            _ => Self::Io { name, offset, error },
        }
    }

    /// Returns the error for an object in S3. `name` is its address.
    pub(super) fn in_object(name: &str, problem: Problem) -> Self {
        Self::Object { name: name.to_owned(), problem }
    }

    /// Returns true if the operating system could not read the source. The next attempt may succeed.
    pub const fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NoPermission { .. } | Self::NotFound { .. })
    }

    /// Returns the exit code. It is 1, except for these problems with an object in S3:
    /// - 2 if the address or a setting is wrong.
    /// - 3 if the store cannot be reached, if there are no credentials, or if the store refuses them.
    /// - 6 if the same command may succeed later.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Object { problem, .. } => problem.exit_code(),
            _ => 1,
        }
    }
}
