//! The answer to one request: a refusal, or what the application responds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::server::app::App;
use crate::server::refusal::Refusal;
use crate::server::request_body::RequestBody;
use crate::stats::ServerStats;

pin_project! {
    /// The future of an answer.
    pub(super) struct Answer<A: App> {
        #[pin]
        step: Step<A, A::Future>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<A, F> {
        Refused { refusal: Option<Refusal> },
        Waiting { app: A, request: Option<Request<RequestBody>> },
        Called { #[pin] future: F },
    }
}

impl<A: App> Answer<A> {
    /// The application is not asked.
    pub(super) fn refused(refusal: Refusal, stats: &ServerStats) -> Self {
        stats.requests_refused.add(1);
        let refusal = Some(refusal);
        Self {
            step: Step::Refused { refusal },
        }
    }

    /// The application is asked as soon as it is ready.
    pub(super) fn of(app: A, request: Request<RequestBody>) -> Self {
        let request = Some(request);
        Self {
            step: Step::Waiting { app, request },
        }
    }
}

impl<A: App> Future for Answer<A> {
    type Output = Response<Content<A::Body>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            match step.as_mut().project() {
                StepProjection::Refused { refusal } => {
                    let response = refused(refusal.take().unwrap_or_default());
                    return Poll::Ready(response.map(|text| Content::Ours { text: Some(text) }));
                }
                StepProjection::Waiting { app, request } => {
                    let Ok(()) = ready!(app.poll_ready(cx));
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    let future = app.call(request);
                    step.set(Step::Called { future });
                }
                StepProjection::Called { future } => {
                    let Ok(response) = ready!(future.poll(cx));
                    return Poll::Ready(response.map(|body| Content::Theirs { body }));
                }
            }
        }
    }
}

fn refused(refusal: Refusal) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(refusal.reason.as_bytes()));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    response
}

pin_project! {
    #[project = ContentProjection]
    /// The body of an answer.
    pub(super) enum Content<B> {
        Ours { text: Option<Bytes> },
        Theirs { #[pin] body: B },
    }
}

impl<B: Body<Data = Bytes>> Body for Content<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            ContentProjection::Ours { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
            ContentProjection::Theirs { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours { text } => text.is_none(),
            Self::Theirs { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours { text } => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Theirs { body } => body.size_hint(),
        }
    }
}
