//! The receiving direction.

use std::io;
use std::os::fd::BorrowedFd;

use rustls::{AlertDescription, ConnectionTrafficSecrets};

use super::control::{ControlReader, Event, Violation};
use crate::record::{ContentType, Incoming, KeyError, Opened, TrafficKey};
use underpass::{LayerError, TlsVersion};

/// Does what an event asks for; a KeyUpdate gives the next key.
type Handle<'a> =
    &'a mut dyn FnMut(Result<Event, Violation>) -> io::Result<Option<ConnectionTrafficSecrets>>;

pub(super) struct Receiving {
    version: TlsVersion,
    key: TrafficKey,
    incoming: Incoming,
    control: ControlReader,
    end: Option<End>,
    calls: u64,
}

/// How the stream ended.
#[derive(Clone, Debug)]
enum End {
    /// As it should.
    Closed,
    Failed(Failure),
}

impl Receiving {
    pub(super) fn new(
        version: TlsVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        control: ControlReader,
        ahead: Vec<u8>,
    ) -> io::Result<Self> {
        let key = TrafficKey::new(version, sequence, &secrets);
        Ok(Self {
            version,
            key: key.map_err(|_| io::Error::other("the TLS key cannot be used"))?,
            incoming: Incoming::new(ahead),
            control,
            end: None,
            calls: 0,
        })
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut [u8],
        handle: Handle<'_>,
    ) -> io::Result<usize> {
        let received = self.fill(socket, out, handle);
        self.incoming.rest();
        received
    }

    /// Opens records that are there, and reads if there is none.
    fn fill(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut [u8],
        handle: Handle<'_>,
    ) -> io::Result<usize> {
        let mut filled = self.incoming.take_plain(out);
        while filled < out.len() {
            if let Some(end) = &self.end {
                return if filled > 0 { Ok(filled) } else { end.result() };
            }
            let opened = if self.incoming.has_record() {
                self.open(&mut out[filled..], handle)
            } else if filled > 0 {
                break;
            } else {
                self.read(socket, out.len(), handle)
            };
            match opened {
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => self.end = Some(End::Failed(Failure::of(&error))),
            }
        }
        Ok(filled)
    }

    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        wanted: usize,
        handle: Handle<'_>,
    ) -> io::Result<usize> {
        self.calls += 1;
        if self.incoming.read(socket, wanted)? == 0 {
            return Err(LayerError::Cut.into());
        }
        let valid = |version| move |header: crate::record::Header| header.is_valid(version);
        if self
            .incoming
            .header()
            .is_some_and(|it| !valid(self.version)(it))
        {
            handle(Err(Violation {
                what: "a record whose header is not valid",
                alert: AlertDescription::UnexpectedMessage,
            }))?;
        }
        Ok(0)
    }

    /// Opens the next record. Gives how many bytes of data it put into `out`.
    fn open(&mut self, out: &mut [u8], handle: Handle<'_>) -> io::Result<usize> {
        let Some(header) = self
            .incoming
            .header()
            .filter(|it| it.is_valid(self.version))
        else {
            return handle(Err(INVALID_HEADER)).map(|_| 0);
        };
        let (start, body) = self.incoming.take_record(header);
        let opened = match self.key.open(header.0, body, out) {
            Ok(opened) => opened,
            Err(error) => {
                return handle(Err(unopened(error))).map(|_| 0);
            }
        };
        if opened.content_type == ContentType::APPLICATION_DATA {
            return self.data(opened, start, out, handle);
        }
        let content = match opened.at {
            Some(at) => self.incoming.plain(start + at..start + at + opened.len),
            None => &out[..opened.len],
        };
        let taken = self.control.take(opened.content_type, content);
        self.handle_events(taken, handle)?;
        Ok(0)
    }

    fn data(
        &mut self,
        opened: Opened,
        start: usize,
        out: &mut [u8],
        handle: Handle<'_>,
    ) -> io::Result<usize> {
        let seen = if opened.len == 0 {
            self.control.saw_no_data()
        } else {
            self.control.saw_data()
        };
        if let Err(violation) = seen {
            handle(Err(violation))?;
        }
        let Some(at) = opened.at else {
            return Ok(opened.len);
        };
        let start = start + at;
        self.incoming.keep_plain(start..start + opened.len);
        Ok(self.incoming.take_plain(out))
    }

    fn handle_events(
        &mut self,
        taken: Result<(), Violation>,
        handle: Handle<'_>,
    ) -> io::Result<()> {
        let mut next = taken.and_then(|()| self.control.next());
        while let Some(event) = next.transpose() {
            if event == Ok(Event::CloseNotify) {
                // What comes behind it does not count.
                self.end = Some(End::Closed);
                return Ok(());
            }
            if let Some(secrets) = handle(event)? {
                let key = TrafficKey::new(self.version, 0, &secrets);
                self.key = key.map_err(|_| io::Error::other("the TLS key cannot be used"))?;
            }
            next = self.control.next();
        }
        Ok(())
    }
}

impl End {
    fn result(&self) -> io::Result<usize> {
        match self {
            Self::Closed => Ok(0),
            Self::Failed(failure) => Err(failure.error()),
        }
    }
}

/// An error that can be told again.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Tls(LayerError),
    Socket(i32),
    Other(io::ErrorKind),
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match (LayerError::of(error), error.raw_os_error()) {
            (Some(layer), _) => Self::Tls(layer),
            (None, Some(errno)) => Self::Socket(errno),
            (None, None) => Self::Other(error.kind()),
        }
    }

    fn error(self) -> io::Error {
        match self {
            Self::Tls(layer) => layer.into(),
            Self::Socket(errno) => io::Error::from_raw_os_error(errno),
            Self::Other(kind) => kind.into(),
        }
    }
}

const INVALID_HEADER: Violation = Violation {
    what: "a record whose header is not valid",
    alert: AlertDescription::UnexpectedMessage,
};

fn unopened(error: KeyError) -> Violation {
    let (what, alert) = match error {
        KeyError::TooLong => (
            "a record that is too long",
            AlertDescription::RecordOverflow,
        ),
        KeyError::NoContentType => (
            "a record without a type",
            AlertDescription::UnexpectedMessage,
        ),
        KeyError::Rejected | KeyError::UsedUp => (
            "a record that was changed on its way",
            AlertDescription::BadRecordMac,
        ),
    };
    Violation { what, alert }
}
