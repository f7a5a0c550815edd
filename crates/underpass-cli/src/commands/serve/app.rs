//! The service that answers: files, and what stands before them.

use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use http::{Request, Response};
use tower::Layer;
use tower::util::BoxCloneSyncService;
use underpass_http::{Cache, FileBody, RequestBody, ServeDir, ServerStats, Symlinks, Uploads};

use super::auth::{Auth, Gate, Users};
use super::cors;
use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::server::{self, ReloadAction};

pub(super) enum App {
    /// Files alone, called directly.
    Files(ServeDir),
    /// With authentication, CORS or both.
    Guarded(Guarded),
}

pub(super) type Guarded = BoxCloneSyncService<Request<RequestBody>, Response<FileBody>, Infallible>;

/// What answers, and what SIGHUP renews of it.
pub(super) fn build(
    args: &ServeArgs,
    stats: &Arc<ServerStats>,
) -> Result<(App, Option<ReloadAction>), Failure> {
    let users = Users::new(&args.access.auth, args.access.auth_file.as_deref())?;
    if args.uploads.upload && !args.uploads.insecure_upload && users.is_empty() {
        return Err(Failure::usage(
            "--upload needs --auth or --auth-file to say who may; --insecure-upload lets everybody",
        ));
    }
    let files = files(args, stats)?;
    let origins = &args.access.cors;
    if users.is_empty() && origins.is_empty() {
        return Ok((App::Files(files), None));
    }
    let mut app = Guarded::new(files);
    let mut renewal = None;
    if !users.is_empty() {
        let gate = Gate::new(users);
        let file = args.access.auth_file.as_deref();
        renewal = file.map(|file| gate.renewal(&args.access.auth, file));
        app = Guarded::new(Auth { inner: app, gate });
    }
    if !origins.is_empty() {
        // Outside authentication: browsers ask beforehand without credentials.
        app = Guarded::new(cors::layer(origins, args.uploads.wanted()).layer(app));
    }
    Ok((App::Guarded(app), renewal))
}

fn files(args: &ServeArgs, stats: &Arc<ServerStats>) -> Result<ServeDir, Failure> {
    let failed = |error| Failure::failed(format_args!("{}: {error}", args.dir.display()));
    let given = &args.files;
    let symlinks = if given.symlinks {
        Symlinks::Confine
    } else {
        Symlinks::Refuse
    };
    let entries = server::kept_open(args.memory.cache_entries);
    let cache = Cache::new(entries, args.memory.cache_valid);
    let mut files = ServeDir::open(&args.dir)
        .map_err(failed)?
        .append_index_html_on_directories(given.index())
        .listing(!given.no_listing)
        .hidden(given.hidden)
        .symlinks(symlinks)
        .polite_cache(args.memory.polite_cache)
        .cache(cache)
        .stats(Arc::clone(stats));
    if given.precompressed {
        files = files
            .precompressed_br()
            .precompressed_zstd()
            .precompressed_gzip();
    }
    for (extension, value) in &given.mime {
        files = files.media_type(extension, value.clone());
    }
    if let Some(value) = &given.cache_control {
        files = files.cache_control(value.clone());
    }
    if let Some(page) = &given.spa {
        files = files.spa(page_of(&args.dir, page, "--spa")?);
    }
    if let Some(page) = &given.not_found {
        files = files.not_found_page(page_of(&args.dir, page, "--not-found")?);
    }
    if args.uploads.wanted() {
        files = files.uploads(Uploads::up_to(args.uploads.upload_limit));
    }
    Ok(files)
}

/// A page given by its path below the directory, which must be there.
fn page_of(dir: &Path, page: &Path, option: &str) -> Result<PathBuf, Failure> {
    let names = page.components();
    let below = names.filter(|it| !matches!(it, Component::RootDir | Component::CurDir));
    let page: PathBuf = below.collect();
    if dir.join(&page).is_file() {
        return Ok(page);
    }
    Err(Failure::failed(format_args!(
        "{option} {}: there is no such file in {}",
        page.display(),
        dir.display()
    )))
}
