//! What is served: a directory, or one file in it, or a bucket.

use std::io;
use std::path::{Path, PathBuf};

use super::bucket::Bucket;
use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::values::Address;

pub(super) enum Target {
    Directory {
        dir: PathBuf,
        /// The name of the one file that is served.
        only: Option<PathBuf>,
    },
    Bucket(Bucket),
}

impl Target {
    /// Looks at the path that was given, and checks that the options suit it.
    pub(super) fn of(args: &ServeArgs) -> Result<Self, Failure> {
        if let Some(bucket) = Bucket::of(args)? {
            return Ok(Self::Bucket(bucket));
        }
        let path = &args.path;
        let failed = |error| {
            Failure::failed(format_args!(
                "{}: {error}{}",
                path.display(),
                meant(path, &error)
            ))
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            let dir = path.clone();
            return Ok(Self::Directory { dir, only: None });
        }
        if !metadata.is_file() {
            let line = format!("{}: neither a directory nor a regular file", path.display());
            return Err(Failure::failed(line));
        }
        refuse_options(args)?;
        // A link that was named is followed, once.
        let found = std::fs::canonicalize(path).map_err(failed)?;
        let name = found.file_name().map(PathBuf::from);
        let dir = found.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self::Directory { dir, only: name })
    }

    /// The bucket, if it is one.
    pub(super) fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Directory { .. } => None,
            Self::Bucket(bucket) => Some(bucket),
        }
    }
}

/// Fails if an option was given that is for directories.
fn refuse_options(args: &ServeArgs) -> Result<(), Failure> {
    let table = [
        ("--spa", args.files.spa.is_some()),
        ("--not-found", args.files.not_found.is_some()),
        ("--upload", args.uploads.wanted()),
    ];
    match table.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::usage(format_args!(
            "{} is a file: {option} needs a directory to serve",
            args.path.display()
        ))),
    }
}

/// What was probably meant by a path that is not there: a clause for the error.
fn meant(path: &Path, error: &io::Error) -> String {
    let text = path.to_string_lossy();
    if error.kind() != io::ErrorKind::NotFound {
        String::new()
    } else if text.to_ascii_lowercase().starts_with("s3:") {
        "; a bucket is written s3://BUCKET/PREFIX".to_owned()
    } else if text.parse::<u16>().is_ok() {
        format!("; to listen at port {text}, write --port {text}")
    } else if !text.contains('/') && text.parse::<Address>().is_ok() {
        format!("; to listen there, write --listen {text}")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_addresses_are_recognised() {
        let meant = |text: &str, kind: io::ErrorKind| meant(Path::new(text), &kind.into());
        let missing = io::ErrorKind::NotFound;
        assert!(meant("8080", missing).ends_with("--port 8080"));
        assert!(meant(":8080", missing).ends_with("--listen :8080"));
        assert!(meant("0.0.0.0:80", missing).ends_with("--listen 0.0.0.0:80"));
        for text in ["photos", "70000", "a/b:80"] {
            assert_eq!(meant(text, missing), "");
        }
        assert_eq!(meant("8080", io::ErrorKind::PermissionDenied), "");
    }
}
