//! The sending direction, in both modes: what is sent, and in which order.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustls::ConnectionTrafficSecrets;
use underpass::{LayerError, TlsVersion};

use super::kernel_sender::KernelSender;
use super::user_sender::UserSender;
use crate::record::ContentType;

/// Makes the secrets of the next key.
pub(super) type NextKey<'a> = &'a mut dyn FnMut() -> io::Result<ConnectionTrafficSecrets>;

/// A KeyUpdate that asks for none in return.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const NO_RENEGOTIATION: [u8; 2] = [1, 100];

/// A key is replaced when it may seal only this many more records.
const KEY_RESERVE: u64 = 1 << 10;

pub(super) struct Sending {
    version: TlsVersion,
    sender: Sender,
    owes_key_update: bool,
    owed_alert: Option<[u8; 2]>,
    state: State,
    /// Bytes of data that were taken before a failure, and whose records were discarded by it.
    lost: u64,
}

/// Who seals the records.
pub(super) enum Sender {
    User(Box<UserSender>),
    Kernel(KernelSender),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// No more data may be sent. An alert or a KeyUpdate that is owed is still sent.
    Closed,
    /// Nothing may be sent any more.
    Failed,
}

impl Sending {
    pub(super) fn new(version: TlsVersion, sender: Sender) -> Self {
        Self {
            version,
            sender,
            owes_key_update: false,
            owed_alert: None,
            state: State::Open,
            lost: 0,
        }
    }

    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
        next_key: NextKey<'_>,
    ) -> io::Result<usize> {
        if self.state != State::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.flush_owed(socket, next_key)?;
        self.replace_worn_key(socket, next_key)?;
        let sent = match &mut self.sender {
            Sender::User(sender) => sender.send(socket, slices, more, check),
            Sender::Kernel(sender) => sender.send(socket, slices, more, check),
        };
        self.note_failure(sent)
    }

    /// In kernel mode: `count` bytes were sent on the socket itself; 0 if that would have blocked.
    pub(super) fn sent(
        &mut self,
        socket: BorrowedFd<'_>,
        count: u64,
        next_key: NextKey<'_>,
    ) -> io::Result<()> {
        if let Sender::Kernel(sender) = &mut self.sender {
            sender.sent(socket, count);
            self.replace_worn_key(socket, next_key)?;
        }
        Ok(())
    }

    /// Sends everything that is left, and ends the record that is open.
    pub(super) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        next_key: NextKey<'_>,
    ) -> io::Result<()> {
        self.flush_owed(socket, next_key)?;
        if self.state == State::Failed {
            return Ok(());
        }
        let flushed = match &mut self.sender {
            Sender::User(_) => Ok(()),
            Sender::Kernel(sender) => sender.end_record(socket),
        };
        self.note_failure(flushed)
    }

    /// Sends everything that is left. A record that is open stays open, unless an alert or a
    /// KeyUpdate has to follow it.
    fn flush_owed(&mut self, socket: BorrowedFd<'_>, next_key: NextKey<'_>) -> io::Result<()> {
        loop {
            if self.state == State::Failed {
                return match self.lost {
                    0 => Ok(()),
                    _ => Err(io::ErrorKind::BrokenPipe.into()),
                };
            }
            if let Sender::User(sender) = &mut self.sender {
                let pushed = sender.push(socket, false);
                self.note_failure(pushed)?;
            }
            if self.owes_key_update {
                self.update_key(socket, next_key)?;
                self.owes_key_update = false;
            } else if let Some(alert) = self.owed_alert {
                self.send_control(socket, ContentType::ALERT, &alert)?;
                self.owed_alert = None;
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn has_unsent(&self) -> bool {
        let has_records = match &self.sender {
            Sender::User(sender) => sender.has_records(),
            Sender::Kernel(sender) => sender.has_open_record(),
        };
        self.state != State::Failed
            && (has_records || self.owes_key_update || self.owed_alert.is_some())
    }

    /// Bytes of data that were taken and have not left this process.
    pub(super) fn unsent(&self) -> u64 {
        match &self.sender {
            Sender::User(sender) => sender.unsent_data() + self.lost,
            Sender::Kernel(_) => 0,
        }
    }

    pub(super) fn encrypted(&self) -> u64 {
        match &self.sender {
            Sender::User(sender) => sender.encrypted,
            Sender::Kernel(_) => 0,
        }
    }

    pub(super) fn calls(&self) -> u64 {
        match &self.sender {
            Sender::User(sender) => sender.calls,
            Sender::Kernel(sender) => sender.calls,
        }
    }

    pub(super) fn close(&mut self) {
        if self.state == State::Open {
            self.state = State::Closed;
            self.owed_alert = Some(CLOSE_NOTIFY);
        }
    }

    /// Ends the connection by a fatal alert.
    pub(super) fn end_by_alert(&mut self, alert: u8) {
        if self.state != State::Failed {
            self.state = State::Closed;
            self.owes_key_update = false;
            self.owed_alert = Some([2, alert]);
        }
    }

    /// Nothing may be sent any more, not even that it ends.
    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
        if let Sender::User(sender) = &mut self.sender {
            self.lost += sender.unsent_data();
            sender.discard();
        }
    }

    pub(super) fn owe_key_update(&mut self) {
        self.owes_key_update = self.state == State::Open;
    }

    pub(super) fn refuse_renegotiation(&mut self) {
        if self.state == State::Open {
            self.owed_alert = Some(NO_RENEGOTIATION);
        }
    }

    /// Replaces a key that may seal only a few more records (pitfall 41). TLS 1.2 cannot do that,
    /// nor can the kernel before Linux 6.14: there the connection ends.
    fn replace_worn_key(
        &mut self,
        socket: BorrowedFd<'_>,
        next_key: NextKey<'_>,
    ) -> io::Result<()> {
        let (left, can_replace) = match &self.sender {
            Sender::User(sender) => (sender.records_left(), true),
            Sender::Kernel(sender) => (sender.records_left(), sender.can_rekey()),
        };
        if left > KEY_RESERVE {
            return Ok(());
        }
        if self.version == TlsVersion::Tls12 || !can_replace {
            self.close();
            // Whether the peer can be told or not, this error is returned.
            let _ = self.flush_owed(socket, next_key);
            let told = "the key has sealed as much as it may; connect again";
            return Err(LayerError::Broken(told).into());
        }
        self.update_key(socket, next_key)
    }

    fn update_key(&mut self, socket: BorrowedFd<'_>, next_key: NextKey<'_>) -> io::Result<()> {
        self.send_control(socket, ContentType::HANDSHAKE, &KEY_UPDATE)?;
        let secrets = next_key()?;
        let changed = match &mut self.sender {
            Sender::User(sender) => sender.set_key(self.version, 0, &secrets),
            Sender::Kernel(sender) => sender.set_key(socket, self.version, &secrets),
        };
        self.note_failure(changed)
    }

    fn send_control(
        &mut self,
        socket: BorrowedFd<'_>,
        content_type: ContentType,
        content: &[u8],
    ) -> io::Result<()> {
        let sent = match &mut self.sender {
            Sender::User(sender) => sender.seal_control(content_type, content),
            Sender::Kernel(sender) => sender.send_control(socket, content_type, content),
        };
        self.note_failure(sent)
    }

    /// After an error nothing is sent any more: the peer must see that the stream was cut.
    fn note_failure<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() != io::ErrorKind::WouldBlock {
                self.fail();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;
    use crate::record::GCM_RECORD_LIMIT;
    use crate::session::control::ControlReader;
    use crate::session::receiving::{Receiver, Receiving};
    use crate::session::user_receiver::UserReceiver;

    fn secrets(number: u8) -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Aes256Gcm {
            key: AeadKey::from([number; 32]),
            iv: Iv::from([9; 12]),
        }
    }

    fn ends(version: TlsVersion, sequence: u64) -> (Sending, Receiving) {
        let sender = UserSender::new(version, sequence, &secrets(1)).unwrap();
        let receiver = UserReceiver::new(version, sequence, &secrets(1), Vec::new()).unwrap();
        let control = ControlReader::new(version, true);
        (
            Sending::new(version, Sender::User(Box::new(sender))),
            Receiving::new(Receiver::User(Box::new(receiver)), control),
        )
    }

    #[test]
    fn pitfall_41_a_worn_key_is_replaced_before_it_is_used_up() {
        let (one, other) = UnixStream::pair().unwrap();
        let start = GCM_RECORD_LIMIT - KEY_RESERVE - 1;
        let (mut sending, mut receiving) = ends(TlsVersion::Tls13, start);
        let mut replaced = 0;
        for number in 0..3_u8 {
            let content = [number];
            let slices = [IoSlice::new(&content)];
            let mut next_key = || {
                replaced += 1;
                Ok(secrets(2))
            };
            let socket = one.as_fd();
            let sent = sending.send(socket, &slices, false, &mut || Ok(()), &mut next_key);
            assert_eq!(sent.unwrap(), 1);
            let mut byte = [0];
            let mut followed = |event| {
                assert!(matches!(
                    event,
                    Ok(super::super::Event::KeyUpdate { answer: false })
                ));
                Ok(Some(secrets(2)))
            };
            let received = receiving.receive(other.as_fd(), &mut byte, &mut followed);
            assert_eq!((received.unwrap(), byte), (1, [number]));
        }
        assert_eq!(replaced, 1);
    }

    #[test]
    fn pitfall_41_tls_1_2_ends_before_its_key_is_used_up() {
        let (one, other) = UnixStream::pair().unwrap();
        let start = GCM_RECORD_LIMIT - KEY_RESERVE;
        let (mut sending, mut receiving) = ends(TlsVersion::Tls12, start);
        let slices = [IoSlice::new(b"too much")];
        let mut none = || panic!("TLS 1.2 has no next key");
        let sent = sending.send(one.as_fd(), &slices, false, &mut || Ok(()), &mut none);
        let error = sent.unwrap_err();
        assert!(matches!(
            LayerError::of(&error),
            Some(LayerError::Broken(_))
        ));
        // The peer is told that it ends here.
        let received = receiving.receive(other.as_fd(), &mut [0; 9], &mut |_| Ok(None));
        assert_eq!(received.unwrap(), 0);
    }

    #[test]
    fn what_fails_its_check_is_not_sent_and_neither_is_anything_later() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut sending, mut receiving) = ends(TlsVersion::Tls13, 0);
        let mut none = || panic!("no key is worn");
        let slices = [IoSlice::new(b"zeros of a truncated file")];
        let mut check = || Err(io::ErrorKind::UnexpectedEof.into());
        let sent = sending.send(one.as_fd(), &slices, false, &mut check, &mut none);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        sending.close();
        sending.flush(one.as_fd(), &mut none).unwrap();
        let sent = sending.send(one.as_fd(), &slices, false, &mut || Ok(()), &mut none);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(one);
        let received = receiving.receive(other.as_fd(), &mut [0; 99], &mut |_| Ok(None));
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
