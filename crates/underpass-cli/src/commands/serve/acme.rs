//! Certificates from an ACME server (RFC 8555).
//!
//! A thread of its own looks after the certificates: it gets missing ones, renews them in time,
//! and offers what another server on the same state directory got. The ACME server's challenges are
//! answered by the serving threads, from files in the state directory, so that it does not matter
//! which of several servers it reaches.
//!
//! While there is no certificate for any name, TLS connections fail by an alert, as in Caddy: a
//! certificate that signs itself would only teach people to ignore warnings.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use underpass_tls::{ClientConfig, Connector, Identity, ServerConfig};

use crate::args::AcmeArgs;
use crate::exit::Failure;
use crate::report;
use crate::server;
use crate::values::DomainName;

mod account;
mod challenges;
mod client;
mod error;
mod files;
mod keeper;
mod managed;
mod order;
mod schedule;
mod state;
mod status;
mod supervisor;

use keeper::Keeper;
use order::Method;
use state::State;
use status::{Status, StatusCollector};

pub(super) use challenges::Challenges;

/// What the thread and the server share.
#[derive(Clone)]
pub(super) struct Acme {
    shared: Arc<Shared>,
}

struct Shared {
    names: Vec<DomainName>,
    directory: String,
    email: Option<String>,
    retry: Duration,
    /// The challenges that can be answered, the preferred one first.
    methods: Vec<Method>,
    connector: Connector,
    state: State,
    status: Arc<Status>,
}

impl Acme {
    /// Opens the state directory; `None` if no certificates are wanted. HTTP-01 challenges can be
    /// answered if `redirects` says that the server listens for plain HTTP.
    pub(super) fn open(args: &AcmeArgs, redirects: bool) -> Result<Option<Self>, Failure> {
        let (false, Some(dir)) = (args.acme.is_empty(), &args.acme_state) else {
            return Ok(None);
        };
        let mut names: Vec<DomainName> = Vec::new();
        for name in &args.acme {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let trusted = match &args.acme_ca {
            Some(file) => ClientConfig::ca_file(file).map_err(|error| ("--acme-ca", error)),
            None => ClientConfig::system_roots().map_err(|error| ("--acme", error)),
        };
        // These few requests are not worth sockets that know kTLS.
        let trusted = trusted
            .map_err(|(option, error)| Failure::failed(format_args!("{option}: {error}")))?
            .alpn(["http/1.1"])
            .ktls(false);
        let state = State::open(dir, &args.acme_directory).map_err(|error| {
            let dir = dir.display();
            Failure::failed(format_args!(
                "--acme-state {dir}: {error}; the account and the keys must be kept somewhere"
            ))
        })?;
        let http = redirects.then_some(Method::Http);
        let status = Arc::new(Status::new(&names));
        Ok(Some(Self {
            shared: Arc::new(Shared {
                names,
                directory: args.acme_directory.clone(),
                email: args.acme_email.clone(),
                retry: args.acme_retry,
                methods: [Method::Tls].into_iter().chain(http).collect(),
                connector: Connector::new(trusted),
                state,
                status,
            }),
        }))
    }

    /// A server with the certificates that there are already, which answers TLS-ALPN-01 challenges.
    pub(super) fn server_config(&self) -> io::Result<ServerConfig> {
        let challenges = self.challenges();
        let config = ServerConfig::without_identities()?
            .acme_challenges(move |name| challenges.tls_authorization(name));
        let identities = self.identities();
        if !identities.is_empty() {
            config.replace_identities(identities)?;
        }
        Ok(config)
    }

    /// What people need to know before they connect.
    pub(super) fn notes(&self) -> Vec<String> {
        let shared = &self.shared;
        let missing = shared.names.iter();
        let missing = missing.filter(|name| !shared.state.has_certificate(name));
        let missing: Vec<String> = missing.map(ToString::to_string).collect();
        if missing.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "there is no certificate yet for {}: asking {}; until it has come, TLS connections fail",
            server::sentence_list(&missing),
            shared.directory
        )]
    }

    /// The challenges that are pending.
    pub(super) fn challenges(&self) -> Challenges {
        self.shared.state.challenges()
    }

    /// Adds the metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let status = Arc::clone(&self.shared.status);
        registry.register_collector(Box::new(StatusCollector(status)));
    }

    /// What starts the thread that looks after the certificates of `config`. It ends with the
    /// process.
    pub(super) fn starter(&self, config: ServerConfig, quiet: bool) -> Box<dyn FnOnce() + Send> {
        let shared = Arc::clone(&self.shared);
        Box::new(move || {
            let started = thread::Builder::new()
                .name("acme".to_owned())
                .spawn(move || look_after(&shared, &config, quiet));
            if let Err(error) = started {
                report::notice(format_args!("certificates are not renewed: {error}"));
            }
        })
    }

    fn identities(&self) -> Vec<Identity> {
        let shared = &self.shared;
        let names = shared.names.iter();
        // The thread reports those that cannot be read.
        names
            .filter_map(|name| shared.state.certificate(name).ok()?)
            .map(|certificate| certificate.identity)
            .collect()
    }
}

/// Looks after the certificates until the process ends.
fn look_after(shared: &Arc<Shared>, config: &ServerConfig, quiet: bool) {
    let begun = Instant::now();
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let keeper = Keeper::new(Arc::clone(shared), config.clone(), quiet);
        runtime.block_on(keeper.run());
        Ok(())
    };
    let restarts = &shared.status.restarts;
    supervisor::supervise(work, restarts, || begun.elapsed(), thread::sleep);
}
