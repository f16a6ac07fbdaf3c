//! Errors that prevent a source from being read. No message contains any of the source's content.

use std::io;

/// The reason why a source cannot be read, or cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No source was given.
    #[error("no source was given; name a file, a glob pattern, or `-` for standard input")]
    NoSource,
    /// There is no such file.
    #[error("cannot read `{name}`: there is no such file")]
    NotFound {
        /// The source as it was named.
        name: String,
    },
    /// The pattern is not a valid glob pattern.
    #[error("cannot read `{pattern}`: not a valid glob pattern ({reason}); write `[*]` for a literal `*`")]
    BadPattern {
        /// The pattern as it was given.
        pattern: String,
        /// The error in the pattern.
        reason: &'static str,
    },
    /// No file matches the pattern.
    #[error("cannot read `{pattern}`: no file matches this pattern")]
    NoMatch {
        /// The pattern as it was given.
        pattern: String,
    },
    /// The same source is given twice in the arguments.
    #[error("`{name}` is given twice; name each source once")]
    GivenTwice {
        /// The source as it was named.
        name: String,
    },
    /// Two paths refer to the same file.
    #[error("`{name}` is the same file as `{earlier}`; name each file once, or its rows are read twice")]
    SameFile {
        /// The source as it was named.
        name: String,
        /// The name of the earlier source.
        earlier: String,
    },
    /// The path refers to a directory.
    #[error("cannot read `{name}`: it is a directory; name the files in it, for example `{name}/*.csv`")]
    IsDirectory {
        /// The source as it was named.
        name: String,
    },
    /// The user who runs the program has no permission to read the file.
    #[error("cannot read `{name}`: permission denied for the user who runs medlift")]
    NoPermission {
        /// The source as it was named.
        name: String,
    },
    /// The file was changed while it was read.
    #[error("`{name}` was changed while it was read; wait until it is written whole, and run the same command again")]
    Changed {
        /// The source as it was named.
        name: String,
    },
    /// The source contains no bytes, or only a byte order mark.
    #[error("cannot read `{name}`: it is empty, not even a header")]
    Empty {
        /// The source as it was named.
        name: String,
    },
    /// The source is not text.
    #[error("cannot read `{name}`: it is {what}, not text; export the data as CSV or NDJSON")]
    Binary {
        /// The source as it was named.
        name: String,
        /// A description of the format, with an article.
        what: &'static str,
    },
    /// The compressed data end too early.
    #[error("cannot read `{name}` to its end: the {archive} data are truncated; get a whole copy and load it again")]
    Truncated {
        /// The source as it was named.
        name: String,
        /// `gzip` or `zstd`.
        archive: &'static str,
    },
    /// The compressed data are damaged.
    #[error(
        "cannot read `{name}`: the {archive} data are damaged near byte {offset} of the file; get a sound copy and load it again"
    )]
    Corrupt {
        /// The source as it was named.
        name: String,
        /// `gzip` or `zstd`.
        archive: &'static str,
        /// Bytes of the file consumed when the damage was found.
        offset: u64,
    },
    /// Decompression needs more memory than the program allows.
    #[error(
        "cannot read `{name}`: it is compressed with a zstd window of {}, and medlift reads windows of at most {} MiB; \
         compress it again with `zstd --long=27`, or decompress it first",
        window_size(*.window_bytes), .window_bytes_max >> 20
    )]
    Window {
        /// The source as it was named.
        name: String,
        /// Size of the window, if the first frame's header gives it and it is too large.
        window_bytes: Option<u64>,
        /// Largest window that is read, in bytes.
        window_bytes_max: u64,
    },
    /// The operating system failed to read.
    #[error("cannot read `{name}` at byte {offset}: {error}")]
    Io {
        /// The source as it was named.
        name: String,
        /// Bytes of the file read before the error.
        offset: u64,
        /// The operating system's own error.
        #[source]
        error: io::Error,
    },
}

fn window_size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "a larger size".to_owned(), |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)))
}

impl ReadError {
    /// Converts the error of a failed call on the source `name`, after `offset` bytes.
    pub(super) fn from_io(name: &str, offset: u64, error: io::Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { name },
            io::ErrorKind::PermissionDenied => Self::NoPermission { name },
            io::ErrorKind::IsADirectory => Self::IsDirectory { name },
            _ => Self::Io { name, offset, error },
        }
    }
}
