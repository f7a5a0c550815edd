//! The challenges that are pending: files in the state directory, which any of several servers
//! answers the ACME server from.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{found, write};
use crate::values::DomainName;

/// The challenges that are pending. Clones are cheap.
#[derive(Clone, Debug)]
pub(in super::super) struct Challenges(Arc<Path>);

/// A challenge that is answered until this is dropped.
pub(super) struct PendingChallenge(PathBuf);

impl Challenges {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir.into())
    }

    /// Removes those that a server left when it was killed.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            found(fs::remove_file(entry?.path()))?;
        }
        Ok(())
    }

    /// Answers a TLS-ALPN-01 challenge for `name`.
    pub(super) fn answer_tls(
        &self,
        name: &str,
        authorization: &str,
    ) -> io::Result<PendingChallenge> {
        self.answer(&tls_file(name), authorization)
    }

    /// Answers an HTTP-01 challenge.
    pub(super) fn answer_http(
        &self,
        token: &str,
        authorization: &str,
    ) -> io::Result<PendingChallenge> {
        if !is_token(token) {
            let told = "the challenge's token has characters that are not allowed";
            return Err(io::Error::new(ErrorKind::InvalidData, told));
        }
        self.answer(&http_file(token), authorization)
    }

    fn answer(&self, file: &str, authorization: &str) -> io::Result<PendingChallenge> {
        write(&self.0, file, authorization.as_bytes())?;
        Ok(PendingChallenge(self.0.join(file)))
    }

    /// The answer to a request for `path`, if that is where a pending challenge is looked for.
    pub(in super::super) fn http_answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix("/.well-known/acme-challenge/")?;
        is_token(token).then(|| self.read(&http_file(token)))?
    }

    /// The key authorization of the challenge that is pending for `name`.
    pub(super) fn tls_authorization(&self, name: &str) -> Option<String> {
        let name: DomainName = name.parse().ok()?;
        self.read(&tls_file(name.as_str()))
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.join(file)).ok()
    }
}

impl Drop for PendingChallenge {
    fn drop(&mut self) {
        // One that stays proves nothing to anybody: each challenge has its own token.
        let _ = fs::remove_file(&self.0);
    }
}

fn http_file(token: &str) -> String {
    format!("http-{token}")
}

fn tls_file(name: &str) -> String {
    format!("tls-{name}")
}

/// Whether it is base64url (RFC 8555 section 8.1), and fits a file's name.
fn is_token(token: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=200).contains(&token.len()) && token.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_answered_while_they_are_pending() {
        let dir = tempfile::tempdir().unwrap();
        let challenges = Challenges::new(dir.path().to_owned());
        let path = "/.well-known/acme-challenge/token_-1";
        let http = challenges.answer_http("token_-1", "token.print").unwrap();
        let tls = challenges.answer_tls("example.org", "token.print").unwrap();
        let wanted = Some("token.print".to_owned());
        assert_eq!(challenges.http_answer(path), wanted);
        assert_eq!(challenges.tls_authorization("example.org"), wanted);
        for path in [
            "/",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/other",
            "/.well-known/acme-challenge/../account.json",
            "/.well-known/acme-challenge/token_-1/",
        ] {
            assert_eq!(challenges.http_answer(path), None, "{path}");
        }
        assert_eq!(challenges.tls_authorization("../account"), None);
        assert!(challenges.answer_http("../x", "").is_err());
        drop((http, tls));
        assert_eq!(challenges.http_answer(path), None);
        assert_eq!(challenges.tls_authorization("example.org"), None);
    }
}
