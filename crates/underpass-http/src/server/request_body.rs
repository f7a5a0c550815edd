//! The body of a request, as applications behind [`serve`](crate::serve()) see it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::server::state::{ConnectionState, Stream, WaitsFor};

/// The body of a request, read as it arrives. While the application waits for more of it,
/// [`Timeouts::body`](crate::Timeouts::body) applies.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    reader: Reader,
}

/// Who notes that the application waits for more.
#[derive(Debug)]
enum Reader {
    Connection(Arc<ConnectionState>),
    Stream(Arc<Stream>),
}

impl Reader {
    fn set_body_wanted(&self, wanted: bool) {
        match self {
            Self::Connection(state) => state.stream.set_body_wanted(wanted),
            Self::Stream(stream) if wanted => stream.set_waits_for(WaitsFor::Body),
            Self::Stream(stream) => stream.set_waits_for(WaitsFor::Application),
        }
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, state: Arc<ConnectionState>) -> Self {
        Self {
            incoming,
            reader: Reader::Connection(state),
        }
    }

    pub(crate) fn of_stream(incoming: Incoming, stream: Arc<Stream>) -> Self {
        Self {
            incoming,
            reader: Reader::Stream(stream),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        self.reader.set_body_wanted(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.reader.set_body_wanted(false);
    }
}
