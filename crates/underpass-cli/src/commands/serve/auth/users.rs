//! The users: names with passwords or password hashes.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use quick_cache::sync::Cache;
use subtle::{Choice, ConstantTimeEq};

use super::password_hash::Hash;
use crate::exit::Failure;

/// `user:password` is compared as a block of this size, so that the time does not depend on its
/// length.
const BLOCK: usize = 256;

/// Limit on the length of credentials.
const LONGEST: usize = 1024;

/// Number of verified credentials to remember, so that not every request needs a hash.
const VERIFIED: usize = 1024;

/// The most that is read of a file of names and passwords.
const MOST: usize = 16 << 20;

/// All users.
pub(crate) struct Users {
    /// `user:password`, padded with zeros. Neither part may have control characters, so the padding
    /// is unambiguous.
    plain: Vec<[u8; BLOCK]>,
    hashed: Vec<(String, Hash)>,
    /// Verified credentials, stored as keyed hashes.
    verified: Cache<u128, ()>,
    keys: [RandomState; 2],
}

/// Credentials of a request: name, colon, password.
pub(super) struct Credentials(Vec<u8>);

/// The result of a check without a password hash.
pub(super) enum Check {
    Known,
    Unknown,
    /// A password hash has to be computed.
    Hashed(Credentials),
}

/// Written by hand, so that it does not show passwords.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Users")
    }
}

impl Users {
    pub(crate) fn new(given: &[String], file: Option<&Path>) -> Result<Self, Failure> {
        let mut users = Self {
            plain: Vec::new(),
            hashed: Vec::new(),
            verified: Cache::new(VERIFIED),
            keys: Default::default(),
        };
        for user in given {
            let added = users.add(user);
            added.map_err(|why| Failure::usage(format_args!("--auth: {why}")))?;
        }
        if let Some(path) = file {
            let name = path.display();
            let text = underpass::read_small_file(path, MOST)
                .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
                .map_err(|error| Failure::failed(format_args!("{name}: {error}")))?;
            let before = users.count();
            users.read(&text).map_err(|(line, why)| {
                Failure::usage(format_args!("{name}: line {line}: {why}"))
            })?;
            if users.count() == before {
                return Err(Failure::usage(format_args!(
                    "{name}: it has no users; write user:password lines"
                )));
            }
        }
        Ok(users)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> usize {
        self.plain.len() + self.hashed.len()
    }

    /// Reads the lines of a file. An error has the number of the line.
    fn read(&mut self, text: &str) -> Result<(), (usize, String)> {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
            .try_for_each(|(index, line)| self.add(line).map_err(|why| (index + 1, why)))
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        // The text contains a password, so no message repeats it.
        let (name, password) = match text.split_once(':') {
            None => return Err("no colon; write user:password".to_owned()),
            Some(("", _)) => return Err("no name before the colon; write user:password".to_owned()),
            Some((_, "")) => return Err("no password after the colon".to_owned()),
            Some(both) => both,
        };
        if text.chars().any(char::is_control) {
            return Err("control characters cannot be in a name or a password".to_owned());
        }
        let plain = password.strip_prefix("{PLAIN}");
        if let Some(hash) = Hash::read(password).filter(|_| plain.is_none()) {
            self.hashed.push((name.to_owned(), hash?));
            return Ok(());
        }
        let block = block(format!("{name}:{}", plain.unwrap_or(password)).as_bytes());
        let too_long = || format!("name and password together exceed {BLOCK} bytes");
        self.plain.push(block.ok_or_else(too_long)?);
        Ok(())
    }

    /// Checks the value of an `Authorization` header. Takes the same time for every wrong value.
    pub(super) fn check(&self, value: &HeaderValue) -> Check {
        let Some(credentials) = decode(value).filter(|it| it.len() <= LONGEST && !it.contains(&0))
        else {
            return Check::Unknown;
        };
        let plain = block(&credentials).unwrap_or([0; BLOCK]);
        let known = self
            .plain
            .iter()
            .fold(Choice::from(0), |known, user| known | user.ct_eq(&plain));
        let credentials = Credentials(credentials);
        if known.into() || self.is_verified(&credentials) {
            Check::Known
        } else if self.hashed.is_empty() {
            Check::Unknown
        } else {
            Check::Hashed(credentials)
        }
    }

    /// Whether these credentials were verified before.
    pub(super) fn is_verified(&self, credentials: &Credentials) -> bool {
        !self.hashed.is_empty() && self.verified.get(&self.fingerprint(credentials)).is_some()
    }

    /// Computes the password hash, which takes long. Does so for unknown names, too.
    pub(super) fn verify(&self, credentials: &Credentials) -> bool {
        let Some(colon) = credentials.0.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (name, password) = (&credentials.0[..colon], &credentials.0[colon + 1..]);
        let mut theirs = self
            .hashed
            .iter()
            .filter(|(user, _)| user.as_bytes() == name)
            .peekable();
        if theirs.peek().is_none() {
            let _ = self.hashed.first().map(|(_, hash)| hash.is_of(password));
            return false;
        }
        let known = theirs.any(|(_, hash)| hash.is_of(password));
        if known {
            self.verified.insert(self.fingerprint(credentials), ());
        }
        known
    }

    fn fingerprint(&self, credentials: &Credentials) -> u128 {
        let [high, low] = self
            .keys
            .each_ref()
            .map(|key| u128::from(key.hash_one(&credentials.0)));
        high << 64 | low
    }
}

fn block(text: &[u8]) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    block.get_mut(..text.len())?.copy_from_slice(text);
    Some(block)
}

fn decode(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    is_basic.then_some(decoded)
}

/// The user name in an `Authorization` header, whether or not the password is right.
pub(crate) fn name_in(value: &HeaderValue) -> Option<String> {
    let credentials = decode(value)?;
    let name = credentials.split(|byte| *byte == b':').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(credentials: &[u8]) -> HeaderValue {
        let text = format!("Basic {}", STANDARD.encode(credentials));
        HeaderValue::from_str(&text).unwrap()
    }

    fn users(text: &str) -> Users {
        let mut users = Users::new(&[], None).unwrap();
        users.read(text).unwrap();
        users
    }

    const PLAIN: &str = "# people\n\nann:secret\r\nbob:pass:word\n\u{e4}nne:\u{43a}\u{43b}\u{44e}\u{447}\neve:{PLAIN}$y$x\n";
    /// The hash of "myPassword", from Apache's documentation.
    const HASHED: &str = "zoe:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n";

    fn know(users: &Users, value: &HeaderValue) -> bool {
        match users.check(value) {
            Check::Known => true,
            Check::Unknown => false,
            Check::Hashed(credentials) => users.verify(&credentials),
        }
    }

    #[test]
    fn users_are_known_by_name_and_password() {
        for text in [PLAIN.to_owned(), format!("{PLAIN}{HASHED}")] {
            let users = users(&text);
            for known in [
                "ann:secret",
                "bob:pass:word",
                "\u{e4}nne:\u{43a}\u{43b}\u{44e}\u{447}",
                "eve:$y$x",
            ] {
                assert!(know(&users, &value(known.as_bytes())), "{known}");
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
                "eve:{PLAIN}$y$x",
            ] {
                assert!(!know(&users, &value(unknown.as_bytes())), "{unknown:?}");
            }
            for length in [2 * BLOCK, 2 * LONGEST] {
                assert!(!know(&users, &value(&vec![b'a'; length])));
            }
            assert!(!know(&users, &value(&[0; BLOCK])));
        }
    }

    #[test]
    fn a_hash_is_made_once_of_what_is_right() {
        let users = users(HASHED);
        let right = value(b"zoe:myPassword");
        for wrong in ["zoe:wrong", "ann:myPassword", "zoe:", "zoe"] {
            for _ in 0..2 {
                let Check::Hashed(credentials) = users.check(&value(wrong.as_bytes())) else {
                    panic!("{wrong} is decided without a hash");
                };
                assert!(!users.verify(&credentials), "{wrong}");
            }
        }
        assert!(matches!(users.check(&right), Check::Hashed(_)));
        assert!(know(&users, &right));
        assert!(matches!(users.check(&right), Check::Known));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_name() {
        assert!(know(&users("\u{feff}ann:secret\n"), &value(b"ann:secret")));
        assert!(users("\u{feff}# only a comment\n").is_empty());
    }

    #[test]
    fn only_basic_is_read() {
        let users = users(PLAIN);
        let known = STANDARD.encode("ann:secret");
        for scheme in ["Basic", "basic", "BASIC"] {
            let value = HeaderValue::from_str(&format!("{scheme} {known}")).unwrap();
            assert!(know(&users, &value), "{scheme}");
        }
        for text in ["", "Basic", "Basic ?", &format!("Bearer {known}"), &known] {
            let value = HeaderValue::from_str(text).unwrap();
            assert!(!know(&users, &value), "{text}");
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_not_repeated() {
        let long = format!("a:b\nx:{}\n", "y".repeat(BLOCK));
        for (text, line) in [
            ("a:b\nhunter2\n", 2),
            (":hunter2", 1),
            ("#\n\nhunter2:", 3),
            ("a:$hunter2$", 1),
            (&long, 2),
        ] {
            let (at, why) = Users::new(&[], None).unwrap().read(text).unwrap_err();
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
