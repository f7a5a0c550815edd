//! The certificates and keys of a server: from files, or made for this run.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use underpass_tls::{Identity, ServerConfig};

use crate::args::HttpsArgs;
use crate::exit::Failure;
use crate::io::listen::ListeningSocket;
use crate::io::tls::read_identity;
use crate::report;
use crate::server::{ReloadAction, WatchedFiles, reachable_addresses};
use crate::values::date;

pub(super) struct Certificates {
    /// Certificates and their keys, in the order of the command line; none if a certificate is made
    /// for this run.
    files: Vec<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
}

impl Certificates {
    pub(super) fn of(args: &HttpsArgs) -> Result<Self, Failure> {
        let (certificates, keys) = (&args.tls_cert, &args.tls_key);
        if certificates.len() != keys.len() {
            return Err(Failure::usage(match (certificates.len(), keys.len()) {
                (_, 0) => {
                    "--tls-cert needs its private key: --tls-key FILE (one file may hold both)"
                        .to_owned()
                }
                (certificates, keys) => format!(
                    "{certificates} --tls-cert and {keys} --tls-key: each certificate needs its key, in the same order"
                ),
            }));
        }
        let pairs = certificates.iter().cloned().zip(keys.iter().cloned());
        Ok(Self {
            files: pairs.collect(),
            client_ca: args.tls_client_ca.clone(),
        })
    }

    /// The files as they are now, to be noticed when they change.
    pub(super) fn watched(&self) -> WatchedFiles {
        let pairs = self.files.iter();
        let files = pairs.flat_map(|(certificate, key)| [certificate, key]);
        WatchedFiles::new(files.chain(&self.client_ca).cloned().collect())
    }

    /// Reads them, or makes one for the addresses of `sockets`.
    pub(super) fn identities(&self, sockets: &[ListeningSocket]) -> Result<Vec<Identity>, Failure> {
        if self.files.is_empty() {
            let made = Identity::self_signed(own_names(sockets)).map_err(Failure::failed)?;
            return Ok(vec![made]);
        }
        let identities = self.read().map_err(Failure::failed)?;
        self.warn(&identities);
        Ok(identities)
    }

    /// Checks that the files can be used.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let identities = self.read().map_err(Failure::failed)?;
        self.warn(&identities);
        if let Some(file) = &self.client_ca {
            let config = ServerConfig::new(identities).map_err(Failure::failed)?;
            let believing = config.client_ca_file(file).map_err(Failure::failed)?;
            drop(believing);
        }
        Ok(())
    }

    /// What people need to know before they connect.
    pub(super) fn notes(&self, identities: &[Identity]) -> Vec<String> {
        let made = identities.iter().filter(|_| self.files.is_empty());
        made.map(|identity| {
            format!(
                "the certificate is for this run only, and nobody has signed it; its key: {}",
                identity.fingerprint()
            )
        })
        .collect()
    }

    /// The action that reads the files again, if there are any. If one of them is wrong, the old
    /// certificates stay.
    pub(super) fn renewal(self, config: ServerConfig) -> Option<ReloadAction> {
        if self.files.is_empty() && self.client_ca.is_none() {
            return None;
        }
        Some(Box::new(move || {
            self.renew(&config)
                .map_err(|error| format!("{error}; the previous certificates stay in use"))?;
            Ok("certificates and keys are read again".to_owned())
        }))
    }

    fn renew(&self, config: &ServerConfig) -> Result<(), String> {
        let identities = self.read()?;
        if let Some(file) = &self.client_ca {
            let replaced = config.replace_client_ca_file(file);
            replaced.map_err(|error| client_ca_failed(&error))?;
        }
        if identities.is_empty() {
            return Ok(());
        }
        self.warn(&identities);
        let replaced = config.replace_identities(identities);
        replaced.map_err(|error| format!("--tls-cert: {error}"))
    }

    fn read(&self) -> Result<Vec<Identity>, String> {
        let files = self.files.iter();
        files
            .map(|(cert, key)| read_identity(cert, key, ["--tls-cert", "--tls-key"]))
            .collect()
    }

    /// Reports certificates that clients refuse for their days.
    fn warn(&self, identities: &[Identity]) {
        for ((file, _), identity) in self.files.iter().zip(identities) {
            if let Some(warning) = warning(file, identity, SystemTime::now()) {
                report::notice(warning);
            }
        }
    }
}

/// What is told of authorities that cannot be read.
pub(super) fn client_ca_failed(error: &io::Error) -> String {
    format!("--tls-client-ca: {error}")
}

fn warning(file: &Path, identity: &Identity, now: SystemTime) -> Option<String> {
    let validity = identity.validity();
    let (what, at, advice) = match (validity.not_before, validity.not_after) {
        (_, Some(end)) if end < now => ("expired at", end, "renew it"),
        (Some(start), _) if start > now => ("is not valid before", start, "is the clock right?"),
        _ => return None,
    };
    let (file, at) = (file.display(), date::rfc3339(at));
    Some(format!(
        "--tls-cert: {file}: the certificate {what} {at}: clients will refuse it; {advice}"
    ))
}

/// What clients may call this machine.
fn own_names(sockets: &[ListeningSocket]) -> Vec<String> {
    let host = rustix::system::uname();
    let host = host.nodename().to_str().ok().map(str::to_owned);
    let addresses = sockets
        .iter()
        .filter_map(ListeningSocket::ip_address)
        .flat_map(reachable_addresses)
        .map(|address| address.ip().to_string());
    let mut names = vec!["localhost".to_owned()];
    let local = ["127.0.0.1", "::1"].map(str::to_owned);
    for name in host
        .into_iter()
        .filter(|name| name.is_ascii())
        .chain(local)
        .chain(addresses)
    {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
