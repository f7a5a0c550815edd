//! How bytes pass between a socket and the engine: plain, through the kernel's TLS, or through TLS
//! in this process. One type decides, so that nothing else asks whether there is TLS.

use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::layer::{CallError, Control, Layer, LayerError, Tls};
use crate::sys::{Check, Sys};

/// The most that a record holds (RFC 8446, section 5.1). A call that ends elsewhere than at a
/// multiple of it leaves a record that is not full.
pub(crate) const RECORD: u64 = 16 << 10;

/// How much of what a peer has sent is read to find its alert, in reads of 4 KiB.
const LAST_READS: usize = 16;

/// What lies between a descriptor and the engine.
#[derive(Clone, Debug, Default)]
pub(crate) enum Wire {
    /// Nothing.
    #[default]
    Plain,
    /// TLS in the kernel.
    Kernel(Arc<dyn Layer>),
    /// TLS in this process.
    User(Arc<dyn Layer>),
}

/// For what lends a wire and has nothing on its descriptor.
#[cfg(feature = "tokio")]
pub(crate) static PLAIN: Wire = Wire::Plain;

/// A descriptor and what lies on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) wire: &'a Wire,
}

impl<'a> Port<'a> {
    pub(crate) fn new(fd: BorrowedFd<'a>, wire: &'a Wire) -> Self {
        Self { fd, wire }
    }
}

/// Why a call in the kernel stopped at a TLS source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// For no reason of TLS: what the call said stands.
    Other,
    /// At a control record, which is handled now, or at one without a byte.
    Control,
    /// At the end that the peer has said.
    End,
}

/// Makes the call again while a signal interrupts it.
fn retry(mut call: impl FnMut() -> Result<(), CallError>) -> Result<(), CallError> {
    loop {
        match call() {
            Err(CallError::Errno(Errno::INTR)) => {}
            done => return done,
        }
    }
}

impl Wire {
    pub(crate) fn of(layer: Arc<dyn Layer>) -> Self {
        if layer.describe().is_in_kernel() {
            Self::Kernel(layer)
        } else {
            Self::User(layer)
        }
    }

    /// The TLS on it, if any.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.layer().map(Layer::describe)
    }

    /// There is nothing between the descriptor and the engine.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// All bytes are encrypted and decrypted in this process.
    pub(crate) fn is_user(&self) -> bool {
        matches!(self, Self::User(_))
    }

    fn layer(&self) -> Option<&dyn Layer> {
        match self {
            Self::Plain => None,
            Self::Kernel(layer) | Self::User(layer) => Some(&**layer),
        }
    }

    /// read(2), or what the layer has received.
    pub(crate) fn read<K: Sys>(
        &self,
        sys: &K,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, CallError> {
        match self.layer() {
            None => Ok(sys.read(fd, buffer)?),
            Some(layer) => sys.layer_receive(layer, fd, buffer),
        }
    }

    /// write(2), or through the layer.
    pub(crate) fn write<K: Sys>(
        &self,
        sys: &K,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
    ) -> Result<usize, CallError> {
        match self.layer() {
            None => Ok(sys.write(fd, bytes)?),
            Some(layer) => sys.layer_send(layer, fd, bytes, &mut || Ok(())),
        }
    }

    /// Encrypts `bytes` in this process; for TLS only. What was made of them is sent only if
    /// `check` is content.
    pub(crate) fn seal<K: Sys>(
        &self,
        sys: &K,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
        check: Check<'_>,
    ) -> Result<usize, CallError> {
        let layer = self.layer().ok_or(Errno::INVAL)?;
        sys.layer_send(layer, fd, bytes, check)
    }

    /// Tells TLS in the kernel what a call sent by itself: `count` bytes, or 0 if it would have
    /// blocked.
    pub(crate) fn sent<K: Sys>(
        &self,
        sys: &K,
        fd: BorrowedFd<'_>,
        count: u64,
    ) -> Result<(), CallError> {
        match self {
            Self::Kernel(layer) => retry(|| sys.layer_sent(&**layer, fd, count)),
            Self::Plain | Self::User(_) => Ok(()),
        }
    }

    /// Bytes that were written and are still in this process.
    pub(crate) fn unsent(&self) -> u64 {
        self.layer().map_or(0, Layer::unsent)
    }

    /// Sends what is still in this process.
    pub(crate) fn flush<K: Sys>(&self, sys: &K, fd: BorrowedFd<'_>) -> Result<(), CallError> {
        match self.layer() {
            None => Ok(()),
            Some(layer) => sys.layer_flush(layer, fd),
        }
    }

    /// Why splice(2) from `fd` said `said`. At a control record it fails with EINVAL; at a record
    /// without a byte, and where the connection has ended, it returns 0 (pitfall 39).
    pub(crate) fn stopped<K: Sys>(
        &self,
        sys: &K,
        fd: BorrowedFd<'_>,
        said: Result<usize, Errno>,
    ) -> Result<Stop, CallError> {
        let Self::Kernel(layer) = self else {
            return Ok(Stop::Other);
        };
        if !matches!(said, Ok(0) | Err(Errno::INVAL | Errno::IO)) {
            return Ok(Stop::Other);
        }
        match sys.layer_control(&**layer, fd)? {
            Control::Handled => Ok(Stop::Control),
            Control::Ended => Ok(Stop::End),
            // It was a record without a byte: where the connection has ended, the layer says so.
            Control::Nothing if said == Ok(0) => Ok(Stop::Control),
            Control::Nothing => Ok(Stop::Other),
        }
    }

    /// Why the peer has gone away, where it said so by an alert that is still to be read. `heard`
    /// is shown what it sent before that.
    pub(crate) fn last_words<K: Sys>(
        &self,
        sys: &K,
        fd: BorrowedFd<'_>,
        mut heard: impl FnMut(&[u8]),
    ) -> Option<LayerError> {
        let layer = self.layer()?;
        let mut buffer = [0; 4096];
        for _ in 0..LAST_READS {
            match sys.layer_receive(layer, fd, &mut buffer) {
                Ok(count @ 1..) => heard(&buffer[..count]),
                Err(CallError::Layer(alert @ LayerError::Alert(_))) => return Some(alert),
                _ => break,
            }
        }
        None
    }

    /// Says the end to the peer, before shutdown(2).
    pub(crate) fn close(&self, fd: BorrowedFd<'_>) -> Result<(), CallError> {
        self.layer().map_or(Ok(()), |layer| Ok(layer.close(fd)?))
    }
}
