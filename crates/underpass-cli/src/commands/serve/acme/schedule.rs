//! When to renew a certificate, and when to try again.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use underpass_tls::Validity;

/// The longest wait after a failure, if the ACME server does not ask for more.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The longest wait after a failure at all: to ask once a day harms nobody.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The shortest time between two certificates if the ACME server wants them renewed. It may want
/// that at any time, such as before it revokes them. But nobody wants them one after the other.
pub(super) const SUGGESTED_PAUSE: Duration = Duration::from_secs(3600);

/// The longest time between two questions when to renew (RFC 9773 section 4.3.2).
const LONGEST_ASKING: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_ASKING: Duration = Duration::from_secs(60);

/// After two thirds of the lifetime, as Let's Encrypt advises: 30 days before the end of 90. At
/// once, if it cannot be told.
pub(super) fn renewal(validity: Validity) -> SystemTime {
    match lifetime(validity) {
        Some((start, lifetime)) => start + lifetime * 2 / 3,
        None => SystemTime::UNIX_EPOCH,
    }
}

/// A moment of the window that the ACME server suggests (RFC 9773 section 4.2): the same share of
/// it as `random` is of 1. But not so late that one failure could be the certificate's end.
pub(super) fn suggested(
    (start, end): (SystemTime, SystemTime),
    validity: Validity,
    random: f64,
) -> SystemTime {
    let window = end.duration_since(start).unwrap_or_default();
    let moment = start + window.mul_f64(random);
    match (lifetime(validity), validity.not_after) {
        (Some((_, lifetime)), Some(not_after)) => moment.min(not_after - lifetime / 10),
        _ => moment,
    }
}

/// How long to wait before a certificate is asked for again that has just come. A clock that is
/// wrong must not lead to one certificate after the other.
pub(super) fn pause(validity: Validity) -> Duration {
    lifetime(validity).map_or(LONGEST, |(_, lifetime)| lifetime / 3)
}

/// When to ask again when to renew, if the ACME server says `retry_after`.
pub(super) fn asking(retry_after: Duration) -> Duration {
    retry_after.clamp(SHORTEST_ASKING, LONGEST_ASKING)
}

/// How long to wait after this many `failures` in a row: `first`, doubled with each, and a quarter
/// more or less, so that not all servers come back at the same time. Not before `retry_after`.
pub(super) fn backoff(
    failures: u32,
    first: Duration,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = first.saturating_mul(doubled).min(LONGEST);
    wait.mul_f64(0.75 + random / 2.0)
        .max(retry_after.unwrap_or_default())
        .min(LONGEST_WAIT)
}

/// A number from 0 to 1.
pub(super) fn random() -> f64 {
    // std seeds it from the system's random numbers.
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

fn lifetime(validity: Validity) -> Option<(SystemTime, Duration)> {
    let (start, end) = (validity.not_before?, validity.not_after?);
    Some((start, end.duration_since(start).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use underpass_tls::Identity;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn waits_double_up_to_a_limit() {
        let wait = |failures| backoff(failures, 4 * MINUTE, None, 0.5);
        assert_eq!(wait(1), 4 * MINUTE);
        assert_eq!(wait(2), 8 * MINUTE);
        assert_eq!(wait(5), 64 * MINUTE);
        assert_eq!(wait(8), 360 * MINUTE);
        assert_eq!(wait(u32::MAX), 360 * MINUTE);
        assert_eq!(backoff(1, 4 * MINUTE, None, 0.0), 3 * MINUTE);
        assert_eq!(backoff(1, 4 * MINUTE, None, 1.0), 5 * MINUTE);
        let told = backoff(1, 4 * MINUTE, Some(600 * MINUTE), 0.5);
        assert_eq!(told, 600 * MINUTE);
        let told = backoff(1, 4 * MINUTE, Some(Duration::MAX), 0.5);
        assert_eq!(told, LONGEST_WAIT);
    }

    #[test]
    fn random_numbers_differ() {
        let numbers = [(); 8].map(|()| random());
        assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        let bits = numbers.map(f64::to_bits);
        assert!(bits.iter().any(|number| *number != bits[0]));
    }

    #[test]
    fn the_suggested_moment_is_in_its_window_and_before_the_end() {
        let validity = Identity::self_signed(["a"]).unwrap().validity();
        let (start, end) = (validity.not_before.unwrap(), validity.not_after.unwrap());
        let lifetime = end.duration_since(start).unwrap();
        assert_eq!(renewal(validity), start + lifetime * 2 / 3);
        let window = (start + MINUTE, start + 3 * MINUTE);
        assert_eq!(suggested(window, validity, 0.0), window.0);
        assert_eq!(suggested(window, validity, 0.5), start + 2 * MINUTE);
        assert_eq!(suggested(window, validity, 1.0), window.1);
        let late = (end + MINUTE, end + 2 * MINUTE);
        assert_eq!(suggested(late, validity, 0.5), end - lifetime / 10);
        // A window that ends before it begins.
        let wrong = (window.1, window.0);
        assert_eq!(suggested(wrong, validity, 0.5), window.1);
    }
}
