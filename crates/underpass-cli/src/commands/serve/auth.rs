//! HTTP Basic authentication (RFC 7617) in front of a service.

use std::convert::Infallible;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{Either, Ready, ready};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use subtle::{Choice, ConstantTimeEq};
use tower_service::Service;
use underpass_http::FileBody;

use crate::exit::Failure;

/// Name, colon and password are compared as blocks of this size, whatever their lengths.
const BLOCK: usize = 256;

/// A name with a password.
#[derive(Clone)]
struct User {
    /// `user:password` with zeros behind it. Control characters are in neither, so the zeros are unambiguous.
    block: [u8; BLOCK],
}

/// Shows no password.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text holds a password: no message repeats it.
        match text.split_once(':') {
            None => return Err("no colon; write user:password".to_owned()),
            Some(("", _)) => return Err("no name before the colon; write user:password".to_owned()),
            Some((_, "")) => return Err("no password after the colon".to_owned()),
            Some(_) => {}
        }
        if text.chars().any(char::is_control) {
            return Err("control characters cannot be in a name or a password".to_owned());
        }
        let block = block(text.as_bytes());
        let block = block.ok_or(format!("name and password together exceed {BLOCK} bytes"))?;
        Ok(Self { block })
    }
}

/// Everybody who may ask.
#[derive(Debug)]
pub(crate) struct Users(Vec<User>);

impl Users {
    pub(crate) fn new(given: &[String], file: Option<&Path>) -> Result<Self, Failure> {
        let given = given.iter().map(|user| user.parse());
        let mut users = given
            .collect::<Result<Vec<User>, String>>()
            .map_err(|why| Failure::usage(format_args!("--auth: {why}")))?;
        if let Some(path) = file {
            let name = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::failed(format_args!("{name}: {error}")))?;
            let read = read(&text).map_err(|(line, why)| {
                Failure::usage(format_args!("{name}: line {line}: {why}"))
            })?;
            if read.is_empty() {
                return Err(Failure::usage(format_args!(
                    "{name}: nobody is in it; write user:password lines"
                )));
            }
            users.extend(read);
        }
        Ok(Self(users))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the value of an `Authorization` field is one of the users'. It takes the same time whoever is wrong.
    fn know(&self, value: &HeaderValue) -> bool {
        let credentials = decode(value).and_then(|credentials| block(&credentials));
        let Some(credentials) = credentials else {
            return false;
        };
        let known = self.0.iter().fold(Choice::from(0), |known, user| {
            known | user.block.ct_eq(&credentials)
        });
        known.into()
    }
}

/// The lines of a file of users, or the number of the first that is wrong.
fn read(text: &str) -> Result<Vec<User>, (usize, String)> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| line.parse().map_err(|why| (index + 1, why)))
        .collect()
}

fn block(text: &[u8]) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    block.get_mut(..text.len())?.copy_from_slice(text);
    // What ends in zeros itself could otherwise pass for something shorter.
    (!text.contains(&0)).then_some(block)
}

fn decode(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    is_basic.then_some(decoded)
}

/// The name in the value of an `Authorization` field, whether or not the password is right.
pub(crate) fn name_in(value: &HeaderValue) -> Option<String> {
    let credentials = decode(value)?;
    let name = credentials.split(|byte| *byte == b':').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Lets only `users` through to `inner`.
#[derive(Clone, Debug)]
pub(crate) struct Auth<S> {
    pub(crate) inner: S,
    pub(crate) users: Arc<Users>,
}

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<FileBody>, Error = Infallible>,
{
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<FileBody>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let credentials = request.headers().get(AUTHORIZATION);
        if credentials.is_some_and(|value| self.users.know(value)) {
            Either::Left(self.inner.call(request))
        } else {
            Either::Right(ready(Ok(unauthorized())))
        }
    }
}

fn unauthorized() -> Response<FileBody> {
    let mut response = Response::new(FileBody::full("401 Unauthorized\n"));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    let challenge = HeaderValue::from_static("Basic realm=\"underpass\", charset=\"UTF-8\"");
    headers.insert(WWW_AUTHENTICATE, challenge);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(credentials: &[u8]) -> HeaderValue {
        let text = format!("Basic {}", STANDARD.encode(credentials));
        HeaderValue::from_str(&text).unwrap()
    }

    fn users() -> Users {
        Users(read("# people\n\nann:secret\r\nbob:pass:word\nänne:ключ\n").unwrap())
    }

    #[test]
    fn users_are_known_by_name_and_password() {
        for known in ["ann:secret", "bob:pass:word", "änne:ключ"] {
            assert!(users().know(&value(known.as_bytes())), "{known}");
        }
        for unknown in [
            "",
            ":",
            "ann",
            "ann:",
            "ann:secre",
            "ann:secret ",
            "ann:secret\0",
            "ann:pass:word",
            "Ann:secret",
            "# people",
            "ann:secretbob:pass:word",
        ] {
            assert!(!users().know(&value(unknown.as_bytes())), "{unknown:?}");
        }
        assert!(!users().know(&value(&[b'a'; 2 * BLOCK])));
        assert!(!users().know(&value(&[0; BLOCK])));
    }

    #[test]
    fn only_basic_is_read() {
        let known = STANDARD.encode("ann:secret");
        for scheme in ["Basic", "basic", "BASIC"] {
            let value = HeaderValue::from_str(&format!("{scheme} {known}")).unwrap();
            assert!(users().know(&value), "{scheme}");
        }
        for text in ["", "Basic", "Basic ?", &format!("Bearer {known}"), &known] {
            assert!(
                !users().know(&HeaderValue::from_str(text).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_not_repeated() {
        let long = format!("a:b\nx:{}\n", "y".repeat(BLOCK));
        for (text, line) in [
            ("a:b\nhunter2\n", 2),
            (":hunter2", 1),
            ("#\n\nhunter2:", 3),
            (&long, 2),
        ] {
            let (at, why) = read(text).unwrap_err();
            assert_eq!(at, line, "{text:?}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn the_name_is_read_whoever_it_is() {
        assert_eq!(name_in(&value(b"eve:wrong")).as_deref(), Some("eve"));
        assert_eq!(name_in(&HeaderValue::from_static("Bearer x")), None);
    }
}
