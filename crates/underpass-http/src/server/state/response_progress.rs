//! What an observer is told of a response if it is broken off.

use std::sync::Mutex;

use http::Uri;

use super::lock;
use crate::server::observe::PartialResponse;

/// It is empty if there is no observer.
#[derive(Debug, Default)]
pub(crate) struct ResponseProgress(Mutex<Option<Response>>);

#[derive(Debug)]
struct Response {
    target: Box<str>,
    /// The length of its body, once it is known.
    len: Option<u64>,
}

impl ResponseProgress {
    /// A response to a request for `target` is to come.
    pub(crate) fn begin(&self, target: Option<&Uri>) {
        *lock(&self.0) = target.map(|uri| {
            let target = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
            Response {
                target: target.into(),
                len: None,
            }
        });
    }

    /// The body of the response has `len` bytes, if that is known.
    pub(crate) fn set_len(&self, len: Option<u64>) {
        if let Some(response) = lock(&self.0).as_mut() {
            response.len = len;
        }
    }

    /// Calls `tell` with the response, and forgets it, so that it is told once. `sent` is how many
    /// bytes of its body were sent, if that is known.
    pub(crate) fn tell(&self, sent: Option<u64>, tell: impl FnOnce(Option<PartialResponse<'_>>)) {
        let response = lock(&self.0).take();
        tell(response.as_ref().map(|response| PartialResponse {
            target: &response.target,
            sent: sent.zip(response.len),
        }));
    }
}
