//! Hashes of passwords, as htpasswd(1) and argon2(1) make them.

use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier};
use bcrypt::HashParts;

/// Limit on the memory of a hash, in KiB. Above it, a few guesses could take all memory.
const MOST_MEMORY: u32 = 1 << 20;

/// A password hash.
pub(super) enum Hash {
    /// `$2y$` and its like
    Bcrypt(Box<str>),
    /// `$argon2id$` and its like
    Argon2(Box<str>),
}

impl Hash {
    /// Reads a hash. `None` if `text` is a plain password.
    pub(super) fn read(text: &str) -> Option<Result<Self, String>> {
        let marker = marker(text)?;
        // nginx allows a comment after another colon.
        let text = text.split(':').next().unwrap_or_default().trim_end();
        Some(match marker {
            "2a" | "2b" | "2y" => bcrypt(text),
            "argon2id" | "argon2i" | "argon2d" => argon2(text),
            marker => Err(refused(marker)),
        })
    }

    /// Whether this is the hash of `password`. Hashing is slow and uses much memory by design.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }
}

/// The name between the first two dollars, or in braces.
fn marker(text: &str) -> Option<&str> {
    let (marker, _) = match text.strip_prefix('$') {
        Some(rest) => rest.split_once('$')?,
        None => text.strip_prefix('{')?.split_once('}')?,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!marker.is_empty() && marker.bytes().all(is_name)).then_some(marker)
}

fn bcrypt(text: &str) -> Result<Hash, String> {
    match HashParts::from_str(text) {
        Ok(parts) if (4..=31).contains(&parts.get_cost()) => Ok(Hash::Bcrypt(text.into())),
        Ok(_) => Err("the cost of this bcrypt hash is not from 04 to 31".to_owned()),
        Err(_) => Err("this bcrypt hash is incomplete".to_owned()),
    }
}

fn argon2(text: &str) -> Result<Hash, String> {
    let whole = PasswordHash::new(text).ok();
    let whole = whole.filter(|hash| hash.salt.is_some() && hash.hash.is_some());
    let params = whole.and_then(|hash| Params::try_from(&hash).ok());
    match params {
        None => Err("this argon2 hash is incomplete".to_owned()),
        Some(params) if params.m_cost() > MOST_MEMORY => {
            Err("this argon2 hash needs more than 1 GiB of memory".to_owned())
        }
        Some(_) => Ok(Hash::Argon2(text.into())),
    }
}

fn refused(marker: &str) -> String {
    let name = match marker {
        "apr1" => "Apache's MD5",
        "1" => "MD5 crypt",
        "2x" => "an old bcrypt with an error in it",
        "5" => "SHA-256 crypt",
        "6" => "SHA-512 crypt",
        "7" => "scrypt",
        "y" => "yescrypt",
        "SHA" | "SSHA" => "SHA-1",
        // An unknown marker may be a part of a password, so it is not repeated.
        _ => "unknown",
    };
    format!(
        "the password looks like a hash of a kind that is not verified here ({name}); bcrypt (htpasswd -B) and argon2 are. \
         A password that only looks so is written behind {{PLAIN}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes from Apache's documentation and from argon2(1).
    const HASHES: [(&str, &str); 2] = [
        (
            "myPassword",
            "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
        ),
        (
            "key",
            "$argon2id$v=19$m=256,t=1,p=1$c29tZXNhbHQ$z1YUzBpiDmyFfV9lvrNHVYUxAZU0kb214trbAQTZ6aY",
        ),
    ];

    #[test]
    fn hashes_are_those_of_their_passwords() {
        for (password, text) in HASHES {
            let hash = Hash::read(&format!("{text}:a comment")).unwrap().unwrap();
            assert!(hash.is_of(password.as_bytes()), "{text}");
            for wrong in ["", "secret", &password.to_uppercase(), text] {
                assert!(!hash.is_of(wrong.as_bytes()), "{text}: {wrong}");
            }
        }
    }

    #[test]
    fn plain_passwords_are_plain() {
        for text in [
            "secret", "$money", "$", "$$", "$a b$c", "{", "{}", "{a", "{a b}c", "a$2y$05$",
        ] {
            assert!(Hash::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn other_hashes_are_refused_by_their_names() {
        for (text, name) in [
            ("$apr1$salt$hash", "Apache's MD5"),
            ("$1$salt$hash", "MD5 crypt"),
            ("$5$salt$hash", "SHA-256 crypt"),
            ("$6$salt$hash", "SHA-512 crypt"),
            ("$y$j9T$salt$hash", "yescrypt"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
            ("{CRYPT}x", "unknown"),
            ("$hunter2$x", "unknown"),
            ("$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT", "incomplete"),
            (
                "$2y$99$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
                "cost",
            ),
            ("$argon2id$v=19$m=256,t=1,p=1$c29tZXNhbHQ", "incomplete"),
            (
                "$argon2id$v=19$m=4000000,t=1,p=1$c29tZXNhbHQ$OqUe5qR7UpUP2h6kPUdNVxjz8mY6PMaV6mGNKMxZxOE",
                "memory",
            ),
        ] {
            let why = Hash::read(text).unwrap().err().unwrap();
            assert!(
                why.contains(name) && !why.contains("hunter2"),
                "{text}: {why}"
            );
        }
    }
}
