//! The records of a pax extended header: `LENGTH KEY=VALUE\n`.

use super::padding;

/// The records of one entry.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        // The blank, the equals sign and the newline. The length counts its own digits, too.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + digits(rest);
        length = rest + digits(length);
        self.0.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", key, b"=", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Appends the records and the zeros after them.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
        out.resize(out.len() + padding(self.len()) as usize, 0);
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// A time in seconds, with as many digits behind the point as it needs.
pub(super) fn time(seconds: i64, nanoseconds: u32) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // Nanoseconds count upwards from the second before, also where seconds are negative.
    let (sign, whole, part) = if seconds < 0 {
        ("-", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds, nanoseconds)
    };
    let text = format!("{sign}{whole}.{part:09}");
    text.trim_end_matches('0').to_owned()
}
