//! What is known about the bytes that arrived.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock};

use super::lock;
use crate::server::refusal::Refusal;

#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Whether the last byte belongs to a head that is not complete.
    in_head: AtomicBool,
    /// The number of the request whose body is not complete; 0 for none.
    in_body_of: AtomicU64,
    /// Whether bytes that might be another request were passed on without a check of their framing.
    unchecked: AtomicBool,
    malformed: Mutex<Option<MalformedRequest>>,
    /// Why nothing of a body is read any more.
    malformed_body: OnceLock<Refusal>,
}

/// What arrived in place of a valid request.
#[derive(Debug)]
pub(crate) struct MalformedRequest {
    pub(crate) refusal: Refusal,
    /// Its first line, or the beginning of it.
    pub(crate) line: Vec<u8>,
}

impl Received {
    pub(super) fn set_in_head(&self, in_head: bool) {
        self.in_head.store(in_head, Relaxed);
    }

    pub(super) fn is_in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    /// Records the number, counted from 1, of the request whose body is not complete.
    pub(crate) fn set_in_body_of(&self, request: Option<u64>) {
        self.in_body_of.store(request.unwrap_or(0), Relaxed);
    }

    pub(super) fn in_body_of(&self) -> u64 {
        self.in_body_of.load(Relaxed)
    }

    pub(crate) fn set_unchecked(&self) {
        self.unchecked.store(true, Relaxed);
    }

    pub(crate) fn is_unchecked(&self) -> bool {
        self.unchecked.load(Relaxed)
    }

    /// Keeps the malformed request for the service, which answers the request that stands for it.
    pub(crate) fn set_malformed(&self, malformed: MalformedRequest) {
        *lock(&self.malformed) = Some(malformed);
    }

    /// The framing of the body that is arriving is not valid. Nothing more is read then.
    pub(crate) fn set_malformed_body(&self, refusal: Refusal) {
        self.malformed_body.get_or_init(|| refusal);
    }

    pub(crate) fn malformed_body(&self) -> Option<Refusal> {
        self.malformed_body.get().copied()
    }

    pub(crate) fn take_malformed(&self) -> Option<MalformedRequest> {
        lock(&self.malformed).take()
    }
}
