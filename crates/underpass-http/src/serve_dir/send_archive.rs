//! The response to a directory as an archive.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::archives::SharedArchives;
use super::lookup::{FileLookup, blocking};
use super::response::{self, Sendable};
use crate::archive::{Format, Parts, Plan, PlanError, PlanLimits, Tree};
use crate::body::{BodyOptions, BodyPart, BodyParts, FileBody};
use crate::file::Root;
use crate::listing;
use crate::path_rules::{ActiveRules, Authenticated};
use crate::semantics::conditional::Validators;
use crate::semantics::multipart::Multipart;
use crate::semantics::path;

/// What the archive of the root is called. The root's own name is not told to clients.
const ROOT: &str = "files";

/// When a client may ask again that was answered 503, in seconds.
const LATER: u32 = 10;

/// Responds to `?archive=…`; `None` if the query does not ask for one.
pub(super) fn send<B>(
    lookup: &Arc<FileLookup>,
    path: &[u8],
    request: &Request<B>,
) -> Option<impl Future<Output = Response<FileBody>> + Send + use<B>> {
    let word = listing::wanted_archive(request.uri().query().unwrap_or_default())?;
    let wanted = Wanted {
        format: Format::from_word(word),
        path: path.to_owned(),
        method: request.method().clone(),
        headers: request.headers().clone(),
        authenticated: request.extensions().get::<Authenticated>().is_some(),
        rules: lookup.options.rules(),
    };
    let lookup = Arc::clone(lookup);
    Some(async move {
        wanted
            .respond(&lookup)
            .await
            .unwrap_or_else(|refusal| refusal)
    })
}

struct Wanted {
    /// `None` if the query names another one.
    format: Option<Format>,
    /// The path of the directory, below the root.
    path: Vec<u8>,
    method: Method,
    headers: HeaderMap,
    authenticated: bool,
    /// The same from the listing to the last byte.
    rules: Option<ActiveRules>,
}

type Answer = Response<FileBody>;

impl Wanted {
    /// The response; a refusal is an error.
    async fn respond(self, lookup: &Arc<FileLookup>) -> Result<Answer, Answer> {
        let is_allowed = self
            .rules
            .as_ref()
            .is_none_or(|rules| rules.archives(&self.path, self.authenticated));
        let shared = lookup.archives.as_ref().filter(|_| is_allowed);
        let (Some(shared), Some(root)) = (shared, lookup.source.root()) else {
            let reason = "archives of directories are not served here";
            return Err(response::text(StatusCode::NOT_FOUND, reason));
        };
        let Some(format) = self.format else {
            let reason = "?archive=tar or ?archive=zip";
            return Err(response::text(StatusCode::BAD_REQUEST, reason));
        };
        let until = Instant::now() + shared.limits.max_listing_time.min(MOST_TIME);
        let mut zip = None;
        if format.has_checksums() {
            zip = Some(permit(&shared.zips, until).await?);
        }
        let plan = self.plan(lookup, shared, root, format, until).await?;
        let plan = plan.map_err(|error| refusal(&error, shared))?;
        lookup.options.stats.archive_left_out.add(plan.left_out());
        let mut fields = fields(&plan);
        if let Some(rules) = &self.rules {
            rules.settings(&self.path).add_fields(&mut fields);
        }
        let fields = Cow::Owned(fields);
        let archive = Archive {
            plan: Arc::new(plan),
            shared: shared.clone(),
            zip: zip.map(Arc::new),
        };
        let (method, headers) = (&self.method, &self.headers);
        let sent = response::with_fields(&archive, fields, method, headers, &lookup.options);
        Ok(sent)
    }

    /// Lists the directory on a blocking thread. If the client leaves meanwhile, that ends.
    async fn plan(
        &self,
        lookup: &Arc<FileLookup>,
        shared: &SharedArchives,
        root: &Arc<Root>,
        format: Format,
        until: Instant,
    ) -> Result<Result<Plan, PlanError>, Answer> {
        let permit = permit(&shared.listings, until).await?;
        let tree = Arc::new(Tree {
            root: Arc::clone(root),
            path: self.path.clone(),
            hidden: lookup.options.hidden,
            symlinks: lookup.options.symlinks,
            rules: self.rules.clone(),
            authenticated: self.authenticated,
        });
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let cancel = CancelOnDrop(Arc::clone(&is_cancelled));
        let limits = PlanLimits {
            entries: shared.limits.max_entries,
            bytes: shared.limits.max_bytes,
            until,
            is_cancelled,
        };
        let top = self.top();
        let listed = blocking(move || {
            let _permit = permit;
            Ok(Plan::make(tree, format, top, &limits))
        });
        let plan = listed.await;
        drop(cancel);
        plan.map_err(|error| response::failure(&error))
    }

    /// The name of the directory, as text: it is part of the archive's name.
    fn top(&self) -> String {
        match path::file_name(&self.path) {
            b"" => ROOT.to_owned(),
            name => String::from_utf8_lossy(name).into_owned(),
        }
    }
}

/// A day: more than anybody waits, and not so much that a time overflows.
const MOST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

async fn permit(of: &Arc<Semaphore>, until: Instant) -> Result<OwnedSemaphorePermit, Answer> {
    let permit = tokio::time::timeout_at(until.into(), Arc::clone(of).acquire_owned()).await;
    match permit {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(later("too many archives are made at the moment")),
    }
}

fn later(reason: &str) -> Answer {
    let mut response = response::text(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, LATER.into());
    response
}

fn refusal(error: &PlanError, shared: &SharedArchives) -> Answer {
    let forbidden = |reason: &str| response::text(StatusCode::FORBIDDEN, reason);
    match error {
        PlanError::Io(error) => response::error(error),
        PlanError::TooMany => forbidden(&format!(
            "the directory has more than {} files, the most for an archive here",
            shared.limits.max_entries
        )),
        PlanError::TooLarge => forbidden(&format!(
            "the archive would have more than {} bytes, the most here",
            shared.limits.max_bytes
        )),
        PlanError::TooLong => later("listing the directory takes too long"),
    }
}

/// An archive that can be sent.
struct Archive {
    plan: Arc<Plan>,
    shared: SharedArchives,
    /// Held until the last part was produced.
    zip: Option<Arc<OwnedSemaphorePermit>>,
}

impl Archive {
    fn parts(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = io::Result<BodyPart>> + Send + use<> {
        let zip = self.zip.clone();
        let parts = Parts::new(Arc::clone(&self.plan), Arc::clone(&self.shared.sums), range);
        parts.inspect(move |_| {
            let _held = &zip;
        })
    }
}

impl Sendable for Archive {
    fn len(&self) -> u64 {
        self.plan.len()
    }

    fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.plan.etag(),
            modified: None,
        }
    }

    fn range(&self, range: Range<u64>, options: BodyOptions) -> FileBody {
        let len = range.end - range.start;
        BodyParts::produced(len, self.parts(range))
            .options(options)
            .into()
    }

    fn ranges(&self, ranges: Multipart, options: BodyOptions) -> FileBody {
        let len = ranges.content_length();
        let mut parts: Vec<Box<dyn Iterator<Item = io::Result<BodyPart>> + Send>> = Vec::new();
        for part in ranges.parts {
            parts.push(Box::new(std::iter::once(Ok(BodyPart::bytes(part.head)))));
            parts.push(Box::new(self.parts(part.range)));
        }
        parts.push(Box::new(std::iter::once(Ok(BodyPart::bytes(
            ranges.closing,
        )))));
        BodyParts::produced(len, parts.into_iter().flatten())
            .options(options)
            .into()
    }
}

fn fields(plan: &Plan) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(8);
    let format = plan.format();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    fields.insert(CONTENT_LENGTH, plan.len().into());
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response::insert(&mut fields, ETAG, plan.etag().to_owned());
    response::insert(&mut fields, CONTENT_DISPOSITION, disposition(plan));
    fields
}

/// The name under which clients save the archive (RFC 6266): as text that every client can read,
/// and as it is.
fn disposition(plan: &Plan) -> String {
    let name = format!("{}.{}", plan.top(), plan.format().word());
    let is_safe = |c: char| c.is_ascii_alphanumeric() || " .-_()+,".contains(c);
    let ascii: String = name
        .chars()
        .map(|c| if is_safe(c) { c } else { '_' })
        .collect();
    let disposition = format!("attachment; filename=\"{ascii}\"");
    if ascii == name {
        return disposition;
    }
    let encoded = percent_encode(name.as_bytes(), NON_ALPHANUMERIC);
    format!("{disposition}; filename*=UTF-8''{encoded}")
}
