//! Records that carry no data: alerts and handshake messages. Both modes pass them to this module.

use rustls::AlertDescription;

use crate::record::ContentType;
use underpass::TlsVersion;

/// The longest handshake message after the handshake: a ticket's length is a 16-bit number.
const MAX_MESSAGE: usize = 4 + (64 << 10) + 512;

/// How many records without data in a row are too many. An attacker can make them for nothing; no
/// peer has a use for so many.
const MAX_IN_A_ROW: u32 = 32;

/// What a record without data means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The peer sends no more data.
    CloseNotify,
    /// The peer's next record is sealed with its next key. It may want us to change ours, too.
    KeyUpdate { answer: bool },
    /// A ticket for a later connection.
    Ticket(Vec<u8>),
    /// The peer wants to shake hands again, which is refused.
    Renegotiation,
    /// The peer ended the connection by this alert.
    FatalAlert(AlertDescription),
}

/// A record that breaks the protocol, and the alert that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) what: &'static str,
    pub(crate) alert: AlertDescription,
}

/// Puts handshake messages and alerts together, which may be spread over records.
#[derive(Debug)]
pub(crate) struct ControlReader {
    version: TlsVersion,
    is_client: bool,
    partial: Vec<u8>,
    partial_type: ContentType,
    in_a_row: u32,
}

impl ControlReader {
    pub(crate) fn new(version: TlsVersion, is_client: bool) -> Self {
        Self {
            version,
            is_client,
            partial: Vec::new(),
            partial_type: ContentType::HANDSHAKE,
            in_a_row: 0,
        }
    }

    /// Notes a record with data, which may not come in the middle of a message.
    pub(crate) fn saw_data(&mut self) -> Result<(), Violation> {
        self.in_a_row = 0;
        if self.partial.is_empty() {
            Ok(())
        } else {
            Err(unexpected("data in the middle of a message"))
        }
    }

    /// Notes a record without data. Too many of them in a row are a violation.
    pub(crate) fn saw_no_data(&mut self) -> Result<(), Violation> {
        self.in_a_row += 1;
        if self.in_a_row > MAX_IN_A_ROW {
            return Err(unexpected("too many records without data"));
        }
        Ok(())
    }

    /// Takes the content of a record that is not data; then [`next`](Self::next) has its events.
    pub(crate) fn take(
        &mut self,
        content_type: ContentType,
        content: &[u8],
    ) -> Result<(), Violation> {
        self.saw_no_data()?;
        if content_type != ContentType::ALERT && content_type != ContentType::HANDSHAKE {
            return Err(unexpected("a record of a type that has no place here"));
        }
        if content.is_empty() {
            return Err(unexpected("an empty alert or handshake record"));
        }
        if !self.partial.is_empty() && content_type != self.partial_type {
            return Err(unexpected("another record in the middle of a message"));
        }
        self.partial_type = content_type;
        self.partial.extend_from_slice(content);
        Ok(())
    }

    /// The next event in what was taken.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            let event = if self.partial_type == ContentType::ALERT {
                let Some(&[level, description]) = self.partial.first_chunk() else {
                    break;
                };
                self.partial.drain(..2);
                self.alert(level, description)
            } else {
                let Some(&[kind, high, middle, low]) = self.partial.first_chunk() else {
                    break;
                };
                let len = 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
                if len > MAX_MESSAGE {
                    return Err(decode_error("a handshake message that is too long"));
                }
                if self.partial.len() < len {
                    break;
                }
                let body = self.partial[4..len].to_vec();
                self.partial.drain(..len);
                self.message(kind, body)?
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Ok(None)
    }

    fn alert(&self, level: u8, description: u8) -> Option<Event> {
        const WARNING: u8 = 1;
        let description = AlertDescription::from(description);
        match description {
            AlertDescription::CloseNotify => Some(Event::CloseNotify),
            // A close_notify follows it.
            AlertDescription::UserCanceled => None,
            // In TLS 1.3 the level has no meaning (RFC 8446 section 6).
            _ if level == WARNING && self.version == TlsVersion::Tls12 => None,
            _ => Some(Event::FatalAlert(description)),
        }
    }

    fn message(&self, kind: u8, body: Vec<u8>) -> Result<Option<Event>, Violation> {
        const HELLO_REQUEST: u8 = 0;
        const CLIENT_HELLO: u8 = 1;
        const NEW_SESSION_TICKET: u8 = 4;
        const KEY_UPDATE: u8 = 24;
        match (self.version, kind) {
            (TlsVersion::Tls13, NEW_SESSION_TICKET) if self.is_client => {
                Ok(Some(Event::Ticket(body)))
            }
            (TlsVersion::Tls13, KEY_UPDATE) => {
                let answer = match body[..] {
                    [0] => false,
                    [1] => true,
                    [_] => return Err(illegal("a KeyUpdate that is neither asked nor told")),
                    _ => return Err(decode_error("a KeyUpdate of the wrong length")),
                };
                if !self.partial.is_empty() {
                    return Err(unexpected("a message behind a KeyUpdate in its record"));
                }
                Ok(Some(Event::KeyUpdate { answer }))
            }
            (TlsVersion::Tls12, HELLO_REQUEST) if self.is_client => Ok(Some(Event::Renegotiation)),
            (TlsVersion::Tls12, CLIENT_HELLO) if !self.is_client => Ok(Some(Event::Renegotiation)),
            _ => Err(unexpected("a handshake message that has no place here")),
        }
    }
}

fn unexpected(what: &'static str) -> Violation {
    Violation {
        what,
        alert: AlertDescription::UnexpectedMessage,
    }
}

fn decode_error(what: &'static str) -> Violation {
    Violation {
        what,
        alert: AlertDescription::DecodeError,
    }
}

fn illegal(what: &'static str) -> Violation {
    Violation {
        what,
        alert: AlertDescription::IllegalParameter,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a stream of handshake messages or alerts means, however it is split into records.
    fn events(
        version: TlsVersion,
        is_client: bool,
        content_type: ContentType,
        pieces: &[&[u8]],
    ) -> Result<Vec<Event>, Violation> {
        let mut reader = ControlReader::new(version, is_client);
        let mut events = Vec::new();
        for piece in pieces {
            reader.take(content_type, piece)?;
            while let Some(event) = reader.next()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn messages_may_be_split_over_records_and_share_them() {
        let stream = [4, 0, 0, 3, 1, 2, 3, 4, 0, 0, 1, 9, 24, 0, 0, 1, 1];
        let expected = Ok(vec![
            Event::Ticket(vec![1, 2, 3]),
            Event::Ticket(vec![9]),
            Event::KeyUpdate { answer: true },
        ]);
        for cut in 1..stream.len() {
            let (one, other) = stream.split_at(cut);
            let pieces = [one, other];
            let read = events(TlsVersion::Tls13, true, ContentType::HANDSHAKE, &pieces);
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_has_no_place_is_a_violation() {
        let server13: [&[u8]; 8] = [
            &[4, 0, 0, 0],
            &[24, 0, 0, 1, 2],
            &[24, 0, 0, 2, 0, 0],
            &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0],
            &[24, 0, 0, 1, 0, 1],
            &[1, 0, 0, 0],
            &[13, 0, 0, 0],
            &[24, 255, 255, 255],
        ];
        for message in server13 {
            let pieces = [message];
            let read = events(TlsVersion::Tls13, false, ContentType::HANDSHAKE, &pieces);
            assert!(read.is_err(), "{message:?}: {read:?}");
        }
        let key_update: [&[u8]; 1] = [&[24, 0, 0, 1, 0]];
        let read = events(
            TlsVersion::Tls12,
            false,
            ContentType::HANDSHAKE,
            &key_update,
        );
        assert!(read.is_err());
        for content_type in [0, 20, 23, 24, 255] {
            let mut reader = ControlReader::new(TlsVersion::Tls13, true);
            assert!(reader.take(ContentType(content_type), &[1]).is_err());
        }
    }

    #[test]
    fn alerts_mean_what_their_version_says() {
        let read = |version, alert: &[u8]| events(version, true, ContentType::ALERT, &[alert]);
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            assert_eq!(read(version, &[1, 0]), Ok(vec![Event::CloseNotify]));
            assert_eq!(read(version, &[1, 90]), Ok(vec![]));
            let fatal = Event::FatalAlert(AlertDescription::HandshakeFailure);
            assert_eq!(read(version, &[2, 40]), Ok(vec![fatal]));
        }
        assert_eq!(read(TlsVersion::Tls12, &[1, 40]), Ok(vec![]));
        let fatal = Event::FatalAlert(AlertDescription::HandshakeFailure);
        assert_eq!(read(TlsVersion::Tls13, &[1, 40]), Ok(vec![fatal]));
    }

    #[test]
    fn renegotiation_is_an_event_of_tls_1_2_only() {
        let handshake = ContentType::HANDSHAKE;
        let hello: [&[u8]; 1] = [&[1, 0, 0, 2, 3, 3]];
        let read = events(TlsVersion::Tls12, false, handshake, &hello);
        assert_eq!(read, Ok(vec![Event::Renegotiation]));
        let request: [&[u8]; 1] = [&[0, 0, 0, 0]];
        let read = events(TlsVersion::Tls12, true, handshake, &request);
        assert_eq!(read, Ok(vec![Event::Renegotiation]));
        assert!(events(TlsVersion::Tls13, true, handshake, &request).is_err());
    }

    #[test]
    fn data_in_the_middle_of_a_message_is_a_violation() {
        let mut reader = ControlReader::new(TlsVersion::Tls13, true);
        reader.take(ContentType::HANDSHAKE, &[4, 0]).unwrap();
        assert_eq!(reader.next(), Ok(None));
        assert!(reader.saw_data().is_err());
        assert!(reader.take(ContentType::ALERT, &[1, 0]).is_err());
    }

    #[test]
    fn a_flood_of_records_without_data_is_a_violation() {
        let mut reader = ControlReader::new(TlsVersion::Tls13, false);
        for _ in 0..MAX_IN_A_ROW {
            reader.saw_no_data().unwrap();
        }
        assert!(reader.saw_no_data().is_err());
        reader.saw_data().unwrap();
        reader.saw_no_data().unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_mean_the_same_however_they_are_split(
            stream in vec(prop_oneof![0..3_u8, Just(4), Just(24), any::<u8>()], 1..40),
            cut in any::<prop::sample::Index>(),
            is_client in any::<bool>(),
            is_new in any::<bool>(),
        ) {
            let version = if is_new { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
            for content_type in [ContentType::ALERT, ContentType::HANDSHAKE] {
                let whole = events(version, is_client, content_type, &[&stream]);
                let (one, other) = stream.split_at(cut.index(stream.len()).max(1));
                let pieces: Vec<&[u8]> = [one, other].into_iter().filter(|it| !it.is_empty()).collect();
                let split = events(version, is_client, content_type, &pieces);
                // What follows a KeyUpdate in its own record is refused, in the next it is not.
                let has_key_update = |read: &Result<Vec<Event>, Violation>| {
                    read.as_ref().is_ok_and(|it| it.iter().any(|event| {
                        matches!(event, Event::KeyUpdate { .. })
                    }))
                };
                if whole.is_ok() || !has_key_update(&split) {
                    prop_assert_eq!(whole.is_ok(), split.is_ok());
                }
                if let (Ok(whole), Ok(split)) = (whole, split) {
                    prop_assert_eq!(whole, split);
                }
            }
        }
    }
}
