//! Runs the tasks of streams.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use crate::server::state::{Stream, Streams};

/// Spawns each stream as a task of its own, so that an application can answer the requests of one
/// connection on several threads.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    streams: Arc<Streams>,
}

impl StreamExecutor {
    pub(super) fn new(streams: Arc<Streams>) -> Self {
        Self { streams }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        // hyper spawns a stream's task right after it has called the service. Other tasks belong to
        // streams that were upgraded.
        match self.streams.take_called() {
            None => drop(tokio::spawn(future)),
            Some(stream) => {
                let guard = Guard {
                    streams: Arc::clone(&self.streams),
                    stream,
                };
                let future = Some(future);
                drop(tokio::spawn(StreamTask { future, guard }));
            }
        }
    }
}

pin_project! {
    /// Answers one request. Ends early if its stream is cut: dropping what hyper has of a stream
    /// resets it.
    struct StreamTask<F> {
        #[pin]
        future: Option<F>,
        guard: Guard,
    }
}

/// Notes the end of a task, however it ends.
struct Guard {
    streams: Arc<Streams>,
    stream: Arc<Stream>,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let stream = &this.guard.stream;
        stream.keep_waker(cx.waker());
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Ready(()),
        };
        if polled.is_pending() && !stream.is_cut() {
            return Poll::Pending;
        }
        this.future.set(None);
        Poll::Ready(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.streams.task_ended(&self.stream);
    }
}
