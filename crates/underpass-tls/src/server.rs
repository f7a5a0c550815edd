//! What a server offers.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SupportedProtocolVersion};

use crate::acme::{self, ACME_TLS, Challenges};
use crate::crypto;
use crate::identity::{Identity, pem};
use underpass::TlsVersion;

#[cfg(test)]
mod early_data;

/// What a server offers: its identities, and what it asks of clients. Clones share everything, so
/// that identities can be replaced while a server runs.
///
/// ```
/// use underpass_tls::{Identity, ServerConfig};
///
/// let identity = Identity::self_signed(["localhost"])?;
/// let config = ServerConfig::new([identity])?.alpn(["http/1.1"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerConfig {
    pub(crate) ktls: bool,
    resolver: Arc<Resolver>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Replaced when the authorities of clients are.
    current: Arc<RwLock<Current>>,
}

/// The parts that can be replaced while a server runs.
#[derive(Clone, Debug)]
struct Current {
    rustls: Arc<rustls::ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerConfig {
    /// A server with these identities. A client that asks for a name gets the identity whose
    /// certificate has it; one that asks for none, or for another, gets the first.
    ///
    /// The kernel is used where it can ([`ktls`](Self::ktls)), sessions can be resumed by tickets
    /// ([`resumption`](Self::resumption)), and clients are not asked for certificates.
    ///
    /// # Errors
    /// `InvalidInput` if there is no identity; those of the system's random numbers.
    pub fn new(identities: impl IntoIterator<Item = Identity>) -> io::Result<Self> {
        Self::with_table(Table::new(identities)?)
    }

    /// A server that has no identity yet. Until [`replace_identities`](Self::replace_identities)
    /// gives it some, every handshake fails by an alert.
    ///
    /// # Errors
    /// Those of the system's random numbers.
    pub fn without_identities() -> io::Result<Self> {
        Self::with_table(Table {
            identities: Vec::new(),
            by_name: HashMap::new(),
        })
    }

    fn with_table(table: Table) -> io::Result<Self> {
        let resolver = Arc::new(Resolver {
            table: RwLock::new(table),
            challenges: OnceLock::new(),
        });
        let mut rustls = build(&resolver, rustls::ALL_VERSIONS, None)?;
        rustls.ticketer = crypto::ticketer().map_err(io::Error::other)?;
        let current = Current {
            rustls: Arc::new(rustls),
            verifier: None,
        };
        Ok(Self {
            ktls: true,
            resolver,
            versions: rustls::ALL_VERSIONS,
            current: Arc::new(RwLock::new(current)),
        })
    }

    /// rustls's configuration for the next handshake.
    pub(crate) fn rustls(&self) -> Arc<rustls::ServerConfig> {
        self.current().rustls
    }

    /// The application protocols that are spoken, the preferred one first. Clients that offer
    /// others only are refused; those that offer none are not.
    pub fn alpn<P: AsRef<[u8]>>(self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter().map(|it| it.as_ref().to_vec());
        let challenges = self.resolver.challenges.get().map(|_| ACME_TLS.to_vec());
        let protocols = protocols.chain(challenges).collect();
        self.change(|config| config.alpn_protocols = protocols)
    }

    #[cfg(feature = "http")]
    pub(crate) fn has_alpn(&self) -> bool {
        let rustls = self.rustls();
        let mut protocols = rustls.alpn_protocols.iter();
        protocols.any(|protocol| protocol != ACME_TLS)
    }

    /// Answers ACME servers that check a TLS-ALPN-01 challenge (RFC 8737). `find` is called in the
    /// handshake of each, with the name that it asks for in lower case, and returns the key
    /// authorization of the challenge that is pending for that name. Where it finds none, the
    /// handshake fails.
    ///
    /// A connection on which a challenge was checked has the application protocol `acme-tls/1`. It
    /// is to be closed after the handshake, which `TlsListener` does. A second call changes
    /// nothing.
    ///
    /// ```
    /// use underpass_tls::{Identity, ServerConfig};
    ///
    /// let config = ServerConfig::new([Identity::self_signed(["localhost"])?])?
    ///     .alpn(["http/1.1"])
    ///     .acme_challenges(|name| (name == "localhost").then(|| "token.thumbprint".to_owned()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn acme_challenges(
        self,
        find: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        if self.resolver.challenges.set(Challenges::new(find)).is_err() {
            return self;
        }
        self.change(|config| config.alpn_protocols.push(ACME_TLS.to_vec()))
    }

    /// Whether records are sealed by the kernel, where it can. Default: true.
    pub fn ktls(mut self, wanted: bool) -> Self {
        self.ktls = wanted;
        self
    }

    /// Whether sessions can be resumed, by tickets. Default: true.
    ///
    /// # Errors
    /// Those of the system's random numbers.
    pub fn resumption(self, wanted: bool) -> io::Result<Self> {
        let ticketer = if wanted {
            crypto::ticketer().map_err(io::Error::other)?
        } else {
            Arc::new(NoTickets) as Arc<_>
        };
        Ok(self.change(|config| {
            config.send_tls13_tickets = if wanted { TICKETS } else { 0 };
            config.ticketer = ticketer;
        }))
    }

    /// The oldest version that is spoken. Default: TLS 1.2.
    ///
    /// # Errors
    /// None is known.
    pub fn min_version(mut self, version: TlsVersion) -> io::Result<Self> {
        self.versions = match version {
            TlsVersion::Tls12 => rustls::ALL_VERSIONS,
            _ => TLS13_ONLY,
        };
        let verifier = self.current().verifier;
        self.rebuilt(verifier)
    }

    /// Asks clients for a certificate that an authority in this PEM file has signed, and refuses
    /// those without.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` if there is no certificate in it.
    pub fn client_ca_file(self, path: impl AsRef<Path>) -> io::Result<Self> {
        let verifier = verifier_of(path.as_ref())?;
        self.rebuilt(Some(verifier))
    }

    /// Reads the authorities of clients from this file, instead of those before. Connections that
    /// are established stay; sessions that began with the old authorities cannot be resumed. If
    /// this fails, the old authorities stay.
    ///
    /// # Errors
    /// As for [`client_ca_file`](Self::client_ca_file); those of the system's random numbers.
    pub fn replace_client_ca_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let verifier = verifier_of(path.as_ref())?;
        let mut rustls = self.build_with(Some(Arc::clone(&verifier)))?;
        if rustls.ticketer.enabled() {
            rustls.ticketer = crypto::ticketer().map_err(io::Error::other)?;
        }
        let current = Current {
            rustls: Arc::new(rustls),
            verifier: Some(verifier),
        };
        let mut shared = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *shared = current;
        Ok(())
    }

    /// Replaces the identities; connections that are established keep theirs. If this fails, the
    /// old ones stay.
    ///
    /// # Errors
    /// `InvalidInput` if there is no identity.
    pub fn replace_identities(
        &self,
        identities: impl IntoIterator<Item = Identity>,
    ) -> io::Result<()> {
        let table = Table::new(identities)?;
        *self
            .resolver
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    /// The identities that are offered now.
    pub fn identities(&self) -> Vec<Identity> {
        self.resolver.read(|table| table.identities.clone())
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what a clone of this configuration does not share.
    fn change(self, change: impl FnOnce(&mut rustls::ServerConfig)) -> Self {
        let mut current = self.current();
        change(Arc::make_mut(&mut current.rustls));
        self.with(current)
    }

    fn with(self, current: Current) -> Self {
        Self {
            current: Arc::new(RwLock::new(current)),
            ..self
        }
    }

    fn rebuilt(self, verifier: Option<Arc<dyn ClientCertVerifier>>) -> io::Result<Self> {
        let rustls = Arc::new(self.build_with(verifier.clone())?);
        Ok(self.with(Current { rustls, verifier }))
    }

    /// A configuration of rustls with these authorities of clients. All else stays.
    fn build_with(
        &self,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> io::Result<rustls::ServerConfig> {
        let old = self.rustls();
        let mut new = build(&self.resolver, self.versions, verifier)?;
        new.ticketer = Arc::clone(&old.ticketer);
        new.send_tls13_tickets = old.send_tls13_tickets;
        new.alpn_protocols.clone_from(&old.alpn_protocols);
        Ok(new)
    }
}

/// How many bytes of early data are skipped: a client that has been here before a change of
/// servers may send some, 16 KiB for most. rustls is shown one record after another, and counts
/// those that it has skipped again each time.
const MOST_EARLY_DATA: u32 = 1 << 20;

/// A configuration of rustls that makes no tickets.
fn build(
    resolver: &Arc<Resolver>,
    versions: &[&'static SupportedProtocolVersion],
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> io::Result<rustls::ServerConfig> {
    let builder = rustls::ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certificates = Arc::clone(resolver) as Arc<dyn ResolvesServerCert>;
    let mut rustls = builder.with_cert_resolver(certificates);
    rustls.enable_secret_extraction = true;
    rustls.session_storage = Arc::new(NoServerSessionStorage {});
    // No data is accepted before the handshake is complete: that needs stored sessions, and there
    // are none. But this is also how much of it is skipped.
    rustls.max_early_data_size = MOST_EARLY_DATA;
    Ok(rustls)
}

/// Believes the certificates that the authorities of a PEM file have signed.
fn verifier_of(path: &Path) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let roots = Arc::new(read_roots(path)?);
    WebPkiClientVerifier::builder_with_provider(roots, crypto::provider())
        .build()
        .map_err(|error| {
            let told = format!("{}: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, told)
        })
}

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How many tickets a TLS 1.3 client gets: browsers open several connections at once.
const TICKETS: usize = 2;

/// The most that is read of a file of authorities: those of a whole system have some 200 KiB.
const MOST_AUTHORITIES: usize = 16 << 20;

/// The certificates of a PEM file, as authorities.
pub(crate) fn read_roots(path: &Path) -> io::Result<RootCertStore> {
    let wrong = |how: &str| pem::wrong(&path.display(), how);
    let read = underpass::read_small_file(path, MOST_AUTHORITIES);
    let bytes = read.map_err(|error| pem::unreadable(path, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate
            .map_err(|error| wrong(&format!("is not PEM, or not the whole of it: {error}")))?;
        roots.add(certificate).map_err(|error| {
            wrong(&format!(
                "has a certificate that cannot be used: {error}; leave it out"
            ))
        })?;
    }
    match (roots.is_empty(), pem::otherwise(&bytes)) {
        (false, _) => Ok(roots),
        (true, pem::NO_PEM) => Err(wrong(
            "has no CERTIFICATE in PEM: give the certificate of the authority",
        )),
        (true, otherwise) => Err(wrong(otherwise)),
    }
}

/// Finds the certificate for a client, and keeps the name that it asked for.
#[derive(Debug)]
struct Resolver {
    table: RwLock<Table>,
    challenges: OnceLock<Challenges>,
}

#[derive(Debug)]
struct Table {
    identities: Vec<Identity>,
    /// The identities that have a name, by their places.
    by_name: HashMap<String, Vec<usize>>,
}

impl Table {
    fn new(identities: impl IntoIterator<Item = Identity>) -> io::Result<Self> {
        let identities: Vec<Identity> = identities.into_iter().collect();
        if identities.is_empty() {
            let told = "a TLS server needs a certificate and its key";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, identity) in identities.iter().enumerate() {
            for name in identity.names() {
                by_name.entry(name.clone()).or_default().push(at);
            }
        }
        Ok(Self {
            identities,
            by_name,
        })
    }

    /// The identities that have `name`, or a wildcard that covers it; else all.
    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Identity> {
        let name = name.map(str::to_ascii_lowercase);
        let exact = name.as_deref().and_then(|name| self.by_name.get(name));
        let wild = || {
            let (_, parent) = name.as_deref()?.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        let places = exact.or_else(wild);
        let named = places.into_iter().flatten();
        let named = named.map(|at| &self.identities[*at]);
        let rest = if places.is_none() {
            &self.identities[..]
        } else {
            &[]
        };
        named.chain(rest)
    }
}

impl Resolver {
    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        server_name::note(name);
        if let Some(challenges) = self.challenges.get()
            && acme::is_challenge(&hello)
        {
            return challenges.certificate(name?);
        }
        let schemes = hello.signature_schemes();
        self.read(|table| {
            let mut usable = table
                .candidates(name)
                .filter(|it| it.certified.key.choose_scheme(schemes).is_some());
            // Without a usable one, rustls says what is wrong: there is no signature scheme in
            // common. If there were no certificate at all, it would say that access is denied.
            let identity = usable.next().or_else(|| table.candidates(name).next());
            identity.map(|it| Arc::clone(&it.certified))
        })
    }
}

/// The name that a client asked for. rustls tells it only to the resolver, which it calls in the
/// middle of a step of the handshake; the handshake takes it after that step, on the same thread.
pub(crate) mod server_name {
    use std::cell::Cell;

    thread_local! {
        static ASKED_FOR: Cell<Option<String>> = const { Cell::new(None) };
    }

    pub(super) fn note(name: Option<&str>) {
        ASKED_FOR.set(name.map(ToOwned::to_owned));
    }

    pub(crate) fn take() -> Option<String> {
        ASKED_FOR.take()
    }
}

/// For servers whose sessions are not resumed.
#[derive(Debug)]
struct NoTickets;

impl rustls::server::ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
