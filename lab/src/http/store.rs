//! A store for the servers that have a cache in front of one. It is in this process, and must have
//! nothing to do while what is in their caches is measured.

use std::fs;
use std::path::{Path, PathBuf};

use underpass_testing::s3::{BUCKET, S3};

use crate::contender::{Contender, Places};
use crate::error::{Context, Error, Result};

pub(crate) struct Store {
    s3: S3,
    /// Each server's cache is in a directory of its own in here.
    caches: PathBuf,
}

impl Store {
    /// An empty store. The caches of its servers are made in `root`.
    pub(crate) fn start(root: &Path) -> Self {
        Self {
            s3: S3::start(),
            caches: root.join("caches"),
        }
    }

    /// Puts a file into the store, under its name.
    pub(super) fn put(&self, file: &Path) -> Result<()> {
        let content = fs::read(file).context(|| format!("cannot read {}", file.display()))?;
        self.s3.put(&key(file), content);
        Ok(())
    }

    pub(super) fn remove(&self, file: &Path) {
        self.s3.remove(&key(file));
    }

    /// Adds where the store is, and the cache of this server.
    pub(crate) fn places(&self, who: &Contender, places: Places) -> Result<Places> {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = who.name().chars().map(letter).collect();
        let cache = self.caches.join(name);
        fs::create_dir_all(&cache).context(|| format!("cannot make {}", cache.display()))?;
        let endpoint = self.s3.endpoint();
        let addr = endpoint.trim_start_matches("http://");
        let port = addr.rsplit(':').next().unwrap_or_default();
        Ok(places
            .with("STORE", addr)
            .with("STORE_PORT", port)
            .with("BUCKET", BUCKET)
            .with("CACHE", &cache.display()))
    }

    /// How often a file was asked for.
    pub(super) fn asked(&self, file: &Path) -> usize {
        self.s3.count("GET", &key(file))
    }

    /// Fails if a file was asked for more often than `before`.
    pub(super) fn check_idle(&self, file: &Path, before: usize) -> Result<()> {
        match self.asked(file) - before {
            0 => Ok(()),
            more => Err(Error::new(format!(
                "not from its cache: it asked the store {more} times"
            ))),
        }
    }
}

fn key(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::contender::Row;

    #[test]
    fn a_server_that_asks_again_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hot-0");
        fs::write(&file, "content").unwrap();
        let store = Store::start(dir.path());
        store.put(&file).unwrap();
        let who = Contender {
            row: Row {
                name: "a, b".to_owned(),
                ..Row::default()
            },
            program: Ok(PathBuf::new()),
        };
        let places = store.places(&who, Places::default()).unwrap();
        assert!(places.get("CACHE").unwrap().ends_with("/caches/a--b"));
        let before = store.asked(&file);
        assert!(store.check_idle(&file, before).is_ok());
        let mut socket = TcpStream::connect(places.get("STORE").unwrap()).unwrap();
        let path = places.fill("/{BUCKET}/hot-0").unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\ncontent"), "{answer}");
        let error = store.check_idle(&file, before).unwrap_err().to_string();
        assert_eq!(error, "not from its cache: it asked the store 1 times");
    }
}
