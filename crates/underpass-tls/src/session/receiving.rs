//! The receiving direction, in both modes: data is handed out, and all other records are handled.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ConnectionTrafficSecrets;
use underpass::{Control, LayerError};

use super::control::{ControlReader, Event, Violation};
use super::kernel_receiver::KernelReceiver;
use super::next::{Next, Stop};
use super::user_receiver::UserReceiver;
use crate::record::ContentType;

/// Does what an event asks for. For a KeyUpdate it returns the next key.
pub(super) type Handle<'a> =
    &'a mut dyn FnMut(Result<Event, Violation>) -> io::Result<Option<ConnectionTrafficSecrets>>;

pub(super) struct Receiving {
    receiver: Receiver,
    control: ControlReader,
    end: Option<End>,
    /// The stream cannot be read any more, and the peer has been told so: what is left is to wait
    /// until it closes.
    is_stranded: bool,
}

/// Who opens the records.
pub(super) enum Receiver {
    User(Box<UserReceiver>),
    Kernel(KernelReceiver),
}

/// How the stream ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By close_notify.
    Closed,
    Failed(Failure),
}

impl Receiving {
    pub(super) fn new(receiver: Receiver, control: ControlReader) -> Self {
        Self {
            receiver,
            control,
            end: None,
            is_stranded: false,
        }
    }

    pub(super) fn calls(&self) -> u64 {
        match &self.receiver {
            Receiver::User(receiver) => receiver.calls,
            Receiver::Kernel(receiver) => receiver.calls,
        }
    }

    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut [u8],
        handle: Handle<'_>,
    ) -> io::Result<usize> {
        if self.is_stranded && !has_closed(socket) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let received = self.fill(socket, out, handle);
        if let Receiver::User(receiver) = &mut self.receiver {
            receiver.rest();
        }
        received
    }

    /// Whether data is next. False at the end of the stream. Other records are handled.
    pub(super) fn has_data(
        &mut self,
        socket: BorrowedFd<'_>,
        handle: Handle<'_>,
    ) -> io::Result<bool> {
        let found = self.find_data(socket, handle);
        if let Receiver::User(receiver) = &mut self.receiver {
            receiver.rest();
        }
        found
    }

    fn find_data(&mut self, socket: BorrowedFd<'_>, handle: Handle<'_>) -> io::Result<bool> {
        // In kernel mode only records without data are received here. In user mode, data that does
        // not fit is kept.
        let mut scratch = [0; 1 << 10];
        loop {
            match self.end {
                Some(End::Closed) => return Ok(false),
                Some(End::Failed(failure)) => return Err(failure.error()),
                None => {}
            }
            let (is_next, room) = match &mut self.receiver {
                Receiver::User(receiver) => (receiver.has_plain(), 0),
                Receiver::Kernel(receiver) => (receiver.has_data(socket)?, scratch.len()),
            };
            if is_next {
                return Ok(true);
            }
            match self.step(socket, true, &mut scratch[..room], handle) {
                Ok(None | Some(0)) => {}
                Ok(Some(_)) => {
                    return Err(self.fail(io::Error::other("the kernel gave data unasked")));
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Handles the next record if it is not data. In user mode `receive` has handled all of those.
    pub(super) fn control(
        &mut self,
        socket: BorrowedFd<'_>,
        handle: Handle<'_>,
    ) -> io::Result<Control> {
        match (&self.end, &mut self.receiver) {
            (Some(End::Closed), _) => return Ok(Control::Ended),
            (Some(End::Failed(failure)), _) => return Err(failure.error()),
            (None, Receiver::User(_)) => return Ok(Control::Nothing),
            (None, Receiver::Kernel(receiver)) => match receiver.peek(socket)? {
                Some(ContentType::APPLICATION_DATA) => return Ok(Control::Nothing),
                Some(_) => {}
                None => return Err(self.fail(LayerError::Cut.into())),
            },
        }
        // The next record is not data, so no byte is put into this buffer.
        let mut out = [0; 1 << 10];
        match self.step(socket, true, &mut out, handle) {
            Ok(_) if matches!(self.end, Some(End::Closed)) => Ok(Control::Ended),
            Ok(_) => Ok(Control::Handled),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn fill(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut [u8],
        handle: Handle<'_>,
    ) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.end {
                Some(_) if filled > 0 => break,
                Some(End::Closed) => return Ok(0),
                Some(End::Failed(failure)) => return Err(failure.error()),
                None => {}
            }
            let stepped = self.step(socket, filled == 0, &mut out[filled..], handle);
            match stepped {
                Ok(Some(count)) => filled += count,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // It is returned by the next call, after the data that came before it.
                Err(error) => drop(self.fail(error)),
            }
        }
        Ok(filled)
    }

    /// Takes a record, or reads once if that is allowed and necessary. Returns how many bytes were
    /// put into `out`; `None` if there is no record and reading was not allowed.
    fn step(
        &mut self,
        socket: BorrowedFd<'_>,
        may_read: bool,
        out: &mut [u8],
        handle: Handle<'_>,
    ) -> io::Result<Option<usize>> {
        let next = match &mut self.receiver {
            Receiver::User(receiver) => receiver.next(may_read.then_some(socket), out),
            Receiver::Kernel(receiver) if may_read => receiver.next(socket, out),
            Receiver::Kernel(_) => Ok(Next::Nothing),
        };
        let mut count = 0;
        let taken = match next {
            Ok(Next::Data(0)) => self.control.saw_no_data(),
            Ok(Next::Kept) => self.control.saw_data(),
            Ok(Next::Data(data)) => {
                count = data;
                self.control.saw_data()
            }
            Ok(Next::Control(content_type, content)) => self.control.take(content_type, content),
            Ok(Next::Again) => return Ok(Some(0)),
            Ok(Next::Nothing) => return Ok(None),
            Ok(Next::End) => return Err(LayerError::Cut.into()),
            Err(Stop::Socket(error)) => return Err(error),
            Err(Stop::Violation(violation)) => Err(violation),
        };
        if let Err(violation) = taken {
            handle(Err(violation))?;
            return Err(LayerError::Broken(violation.what).into());
        }
        self.handle_events(socket, handle)?;
        Ok(Some(count))
    }

    fn handle_events(&mut self, socket: BorrowedFd<'_>, handle: Handle<'_>) -> io::Result<()> {
        while let Some(event) = self.control.next().transpose() {
            if event == Ok(Event::CloseNotify) {
                // Whatever follows it is ignored.
                self.end = Some(End::Closed);
                return Ok(());
            }
            let is_key_update = matches!(event, Ok(Event::KeyUpdate { .. }));
            let is_violation = event.is_err();
            match handle(event) {
                Ok(Some(secrets)) => match &mut self.receiver {
                    Receiver::User(receiver) => receiver.set_key(&secrets)?,
                    Receiver::Kernel(receiver) => receiver.set_key(socket, &secrets)?,
                },
                Ok(None) if is_violation => return Err(io::ErrorKind::InvalidData.into()),
                Ok(None) => {}
                Err(error) => {
                    self.is_stranded =
                        is_key_update && matches!(self.receiver, Receiver::Kernel(_));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Notes the error for all later calls, and gives it back.
    fn fail(&mut self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.end = Some(End::Failed(Failure::of(&error)));
        }
        error
    }
}

/// An error that can be returned more than once.
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

/// Whether the peer has closed its sending side, or the connection is over.
fn has_closed(socket: BorrowedFd<'_>) -> bool {
    let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut sockets = [PollFd::from_borrowed_fd(socket, closed)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut sockets, Some(&now)).is_err() || sockets[0].revents().intersects(closed)
}
