//! The objects of a run, in all their versions, and what is said of a body that came.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::client::{self, Answer};
use crate::error::{Error, Result};
use crate::simulate::popularity::{Chance, mix};

/// The bucket that everything is in.
pub(super) const BUCKET: &str = "cluster";
/// An object that shows that its store is there.
pub(super) const READY: &str = "ready";
/// Sizes, most of them small, as on the web. Two are of more than one block.
const SIZES: [usize; 8] = [
    1 << 10,
    4 << 10,
    10_000,
    64 << 10,
    100_000,
    300_000,
    1 << 20,
    9_000_000,
];

/// What a client saw of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All bytes came, and they are of the version that the ETag names.
    Whole,
    /// The body broke off. What came is of the version that the ETag names.
    Cut,
    /// Another status.
    Refused(u16),
    /// Not even a head came.
    Nothing(String),
    /// What must never be.
    Wrong(String),
}

/// Everything that was ever stored.
pub(super) struct Objects {
    seed: u64,
    count: usize,
    store: SocketAddr,
    /// By ETag, what it is the content of.
    known: Mutex<HashMap<String, Arc<Vec<u8>>>>,
}

impl Objects {
    /// Makes the bucket and the first version of all objects. `store` is where S3 is.
    pub(super) fn make(store: SocketAddr, count: usize, seed: u64) -> Result<Self> {
        let objects = Self {
            seed,
            count,
            store,
            known: Mutex::default(),
        };
        for object in 0..count {
            objects.replace(object, 0)?;
        }
        Ok(objects)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn size(&self, object: usize) -> usize {
        let chosen = mix(self.seed ^ (object as u64) << 20);
        // The largest are rare.
        let at = (chosen % 16) as usize;
        SIZES[if at < 8 { at } else { at % 6 }]
    }

    /// Puts a version of an object into the store.
    pub(super) fn replace(&self, object: usize, version: u64) -> Result<()> {
        let content = self.content(object, version);
        // Clients may see the new ETag before the store answers, so it is learned beforehand.
        let etag = put(self.store, "learned", &content)?;
        self.remember(etag, content.clone());
        let etag = put(self.store, &name(object), &content)?;
        self.remember(etag, content);
        Ok(())
    }

    fn remember(&self, etag: String, content: Arc<Vec<u8>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(etag, content);
    }

    fn content(&self, object: usize, version: u64) -> Arc<Vec<u8>> {
        let seed = mix(self.seed ^ mix(object as u64 + 1) ^ mix(version).rotate_left(32));
        let mut chance = Chance::new(seed);
        let size = self.size(object);
        let words = (0..size.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes());
        let mut content: Vec<u8> = words.collect();
        content.truncate(size);
        Arc::new(content)
    }

    /// Compares every byte that came with the version that the ETag names. `asked` is the range.
    pub(super) fn judge(
        &self,
        answer: std::result::Result<Answer, String>,
        asked: Option<(u64, u64)>,
    ) -> Outcome {
        let answer = match answer {
            Ok(answer) if [200, 206].contains(&answer.status) => answer,
            Ok(answer) => return Outcome::Refused(answer.status),
            Err(why) => return Outcome::Nothing(why),
        };
        let Some(etag) = &answer.etag else {
            return Outcome::Wrong("no ETag".to_owned());
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(content) = known.get(etag).cloned() else {
            return Outcome::Wrong(format!("an ETag that no version has: {etag}"));
        };
        drop(known);
        let (from, to) = match (answer.status, asked) {
            (206, Some((from, to))) => (from, (to + 1).min(content.len() as u64)),
            (206, None) => return Outcome::Wrong("a part that was not asked for".to_owned()),
            _ => (0, content.len() as u64),
        };
        if answer.from != from || answer.length != to - from {
            return Outcome::Wrong(format!(
                "{} bytes from {} for {from}-{to} of {etag}",
                answer.length, answer.from
            ));
        }
        let expected = &content[from as usize..to as usize];
        if !expected.starts_with(&answer.body) {
            let at = expected
                .iter()
                .zip(&answer.body)
                .position(|(one, other)| one != other);
            return Outcome::Wrong(format!("another byte at {at:?} of {from}-{to} of {etag}"));
        }
        if answer.is_whole() {
            Outcome::Whole
        } else {
            Outcome::Cut
        }
    }
}

/// The key of an object.
pub(super) fn name(object: usize) -> String {
    format!("object-{object:05}")
}

/// Stores something, and returns its ETag.
pub(super) fn put(store: SocketAddr, key: &str, content: &[u8]) -> Result<String> {
    let line = format!("PUT /{BUCKET}/{key}");
    let answer = client::request(store, &line, "", content)
        .map_err(|why| Error::new(format!("cannot put {key}: {why}")))?;
    match answer.etag {
        Some(etag) if answer.status == 200 => Ok(etag),
        _ => Err(Error::new(format!(
            "cannot put {key}: the store answered {}",
            answer.status
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Objects {
        let objects = Objects {
            seed: 1,
            count: 1,
            store: SocketAddr::from(([127, 0, 0, 1], 1)),
            known: Mutex::default(),
        };
        for version in 0..2 {
            objects.remember(format!("\"{version}\""), objects.content(0, version));
        }
        objects
    }

    fn answer(objects: &Objects, version: u64, range: std::ops::Range<usize>) -> Answer {
        let body = objects.content(0, version)[range.clone()].to_vec();
        Answer {
            status: 206,
            etag: Some(format!("\"{version}\"")),
            length: body.len() as u64,
            from: range.start as u64,
            body,
        }
    }

    #[test]
    fn a_body_of_one_version_is_whole_or_cut() {
        let objects = objects();
        let whole = answer(&objects, 0, 10..20);
        assert_eq!(
            objects.judge(Ok(whole.clone()), Some((10, 19))),
            Outcome::Whole
        );
        let mut cut = whole;
        cut.body.truncate(4);
        assert_eq!(objects.judge(Ok(cut), Some((10, 19))), Outcome::Cut);
    }

    #[test]
    fn mixed_versions_and_other_bytes_are_wrong() {
        let objects = objects();
        let judge = |answer| objects.judge(Ok(answer), Some((10, 19)));
        let mut mixed = answer(&objects, 0, 10..20);
        mixed.body[5..].copy_from_slice(&objects.content(0, 1)[15..20]);
        let mut unknown = answer(&objects, 0, 10..20);
        unknown.etag = Some("\"2\"".to_owned());
        let mut of_another = answer(&objects, 0, 10..20);
        of_another.etag = Some("\"1\"".to_owned());
        let elsewhere = answer(&objects, 0, 11..21);
        let longer = answer(&objects, 0, 10..21);
        // Zeros, as a hole in a file has.
        let mut hole = answer(&objects, 0, 10..20);
        hole.body[9] = !hole.body[9];
        for answer in [mixed, unknown, of_another, elsewhere, longer, hole] {
            let outcome = judge(answer);
            assert!(matches!(outcome, Outcome::Wrong(_)), "{outcome:?}");
        }
        let failed = objects.judge(Err("gone".to_owned()), None);
        assert_eq!(failed, Outcome::Nothing("gone".to_owned()));
    }
}
