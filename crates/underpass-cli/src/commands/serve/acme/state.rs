//! The state directory: for each ACME server, the account, the certificates with their keys, the
//! pending challenges, failures, and a lock. Several servers may share it.
//!
//! Every file appears whole or not at all, and only its owner can read it. A certificate and its
//! key are in one file, so that they are replaced together.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use underpass_tls::Identity;

use super::challenges::Challenges;
use super::files::{begin, found, write};
use crate::values::DomainName;

/// The part of the state directory that belongs to one ACME server.
pub(super) struct State {
    root: PathBuf,
    challenges: Challenges,
}

/// A certificate and its key.
pub(super) struct Certificate {
    pub(super) identity: Identity,
    pub(super) pem: Vec<u8>,
    pub(super) version: Version,
}

/// Differs between two files that had the same name one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

/// The lock; dropping it opens it.
pub(super) struct Lock {
    _file: File,
}

/// Failures in a row to get a certificate.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailureRecord {
    pub(super) failures: u32,
    /// Milliseconds since 1970.
    failed_at: u64,
    retry_at: u64,
}

/// The most that is read of a certificate and its chain: Let's Encrypt's have some five KiB.
const MOST_PEM: u64 = 1 << 20;

const CHALLENGES: &str = "challenges";
const ACCOUNT: &str = "account.json";

impl State {
    /// Makes the directories that are missing, and checks that files can be made.
    pub(super) fn open(dir: &Path, directory_url: &str) -> io::Result<Self> {
        let root = dir.join(folder(directory_url));
        let challenges = root.join(CHALLENGES);
        let state = Self {
            root,
            challenges: Challenges::new(challenges),
        };
        state.make_directories()?;
        // Dropping the file removes it.
        drop(begin(&state.root, "probe")?);
        Ok(state)
    }

    /// Also while the server runs: somebody may remove them to begin anew.
    fn make_directories(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.root.join(CHALLENGES))
    }

    pub(super) fn challenges(&self) -> Challenges {
        self.challenges.clone()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the lock, if no other server has it, and removes the answers to challenges that a
    /// server left when it was killed.
    pub(super) fn try_lock(&self) -> io::Result<Option<Lock>> {
        self.make_directories()?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.root.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.challenges.clear()?;
                Ok(Some(Lock { _file: file }))
            }
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        found(fs::read(self.account_path()))
    }

    pub(super) fn save_account(&self, credentials: &[u8]) -> io::Result<()> {
        write(&self.root, ACCOUNT, credentials)
    }

    /// Puts the account aside, which cannot be used any more. Returns where it is.
    pub(super) fn put_account_aside(&self) -> io::Result<PathBuf> {
        let aside = self.root.join("account.old.json");
        found(fs::rename(self.account_path(), &aside))?;
        Ok(aside)
    }

    pub(super) fn account_path(&self) -> PathBuf {
        self.root.join(ACCOUNT)
    }

    pub(super) fn has_certificate(&self, name: &DomainName) -> bool {
        self.certificate_path(name).is_file()
    }

    /// Which file has the certificate now.
    pub(super) fn version(&self, name: &DomainName) -> io::Result<Option<Version>> {
        Ok(found(fs::metadata(self.certificate_path(name)))?.map(|it| Version::of(&it)))
    }

    pub(super) fn certificate(&self, name: &DomainName) -> io::Result<Option<Certificate>> {
        let path = self.certificate_path(name);
        found(read_certificate(&path, name)).map_err(|error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })
    }

    pub(super) fn save_certificate(&self, name: &DomainName, pem: &[u8]) -> io::Result<()> {
        write(&self.root, &format!("{name}.pem"), pem)
    }

    pub(super) fn failure(&self, name: &DomainName) -> Option<FailureRecord> {
        let record = fs::read(self.failure_path(name)).ok()?;
        serde_json::from_slice(&record).ok()
    }

    pub(super) fn save_failure(&self, name: &DomainName, record: &FailureRecord) -> io::Result<()> {
        let record = serde_json::to_vec(record)?;
        write(&self.root, &format!("{name}.failure.json"), &record)
    }

    pub(super) fn clear_failure(&self, name: &DomainName) {
        // If it stays, it only says when not to try before a time that has passed.
        let _ = fs::remove_file(self.failure_path(name));
    }

    fn certificate_path(&self, name: &DomainName) -> PathBuf {
        self.root.join(format!("{name}.pem"))
    }

    fn failure_path(&self, name: &DomainName) -> PathBuf {
        self.root.join(format!("{name}.failure.json"))
    }
}

fn read_certificate(path: &Path, name: &DomainName) -> io::Result<Certificate> {
    let file = File::open(path)?;
    let version = Version::of(&file.metadata()?);
    let mut pem = Vec::new();
    file.take(MOST_PEM).read_to_end(&mut pem)?;
    let identity = check_name(Identity::from_pem(&pem, &pem)?, name)?;
    Ok(Certificate {
        identity,
        pem,
        version,
    })
}

fn check_name(identity: Identity, name: &DomainName) -> io::Result<Identity> {
    if identity.names().iter().any(|it| it == name.as_str()) {
        return Ok(identity);
    }
    let told = "the certificate is for another name";
    Err(io::Error::new(ErrorKind::InvalidData, told))
}

impl Version {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl FailureRecord {
    pub(super) fn new(failures: u32, now: SystemTime, retry_at: SystemTime) -> Self {
        Self {
            failures,
            failed_at: milliseconds(now),
            retry_at: milliseconds(retry_at),
        }
    }

    pub(super) fn is_since(&self, time: SystemTime) -> bool {
        self.failed_at >= milliseconds(time)
    }

    pub(super) fn retry_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.retry_at)
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// The name of the folder for an ACME server: `acme.example.org-directory`.
fn folder(directory_url: &str) -> String {
    let place = directory_url.strip_prefix("https://");
    let place = place.unwrap_or(directory_url).trim_matches(['/', '.']);
    place
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || c == '.' => c,
            _ => '-',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_name() {
        for (url, wanted) in [
            (
                "https://acme.example.org/directory",
                "acme.example.org-directory",
            ),
            ("https://localhost:14000/dir", "localhost-14000-dir"),
            ("https://../x/../..", "x"),
            ("https://[::1]/", "---1-"),
        ] {
            let name = folder(url);
            assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
            assert_eq!(name, wanted);
        }
    }

    #[test]
    fn one_server_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let open = || State::open(dir.path(), "https://acme.example.org/").unwrap();
        let (one, other) = (open(), open());
        let lock = one.try_lock().unwrap();
        assert!(lock.is_some() && other.try_lock().unwrap().is_none());
        // As if the server were killed, which then removes nothing.
        std::mem::forget(
            one.challenges()
                .answer_tls("example.org", "token.print")
                .unwrap(),
        );
        drop(lock);
        let challenges = other.challenges();
        assert!(challenges.tls_authorization("example.org").is_some());
        assert!(other.try_lock().unwrap().is_some());
        assert_eq!(challenges.tls_authorization("example.org"), None);
        fs::remove_dir_all(one.root()).unwrap();
        assert!(one.try_lock().unwrap().is_some());
    }
}
