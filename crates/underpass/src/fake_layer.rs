//! A layer for tests, without cryptography: its records are a head of three bytes and the content,
//! each byte changed. In kernel mode the bytes stay as they are, since no test's kernel changes
//! them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::layer::{Control, Layer, LayerError, Tls, TlsCipher, TlsMode, TlsVersion};

const DATA: u8 = 23;
const CLOSE: u8 = 21;
const MASK: u8 = 0x5a;
const RECORD: usize = 16 << 10;
/// What is sealed at once.
const BATCH: usize = 3 * RECORD;

/// How the peer ends in kernel mode, where there is no record for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelEnd {
    Closed,
    Cut,
}

#[derive(Debug)]
pub(crate) struct FakeLayer {
    kernel: Option<KernelEnd>,
    sending: Mutex<Sending>,
    receiving: Mutex<Receiving>,
    /// In kernel mode: control records that `control` finds before anything else.
    pub(crate) controls: AtomicUsize,
    calls: AtomicU64,
}

#[derive(Debug, Default)]
struct Sending {
    sealed: VecDeque<u8>,
    /// Of the records in `sealed`: bytes of content, and of the whole record.
    records: VecDeque<(usize, usize)>,
    closed: bool,
    failed: bool,
}

#[derive(Debug, Default)]
struct Receiving {
    sealed: VecDeque<u8>,
    opened: VecDeque<u8>,
    ended: bool,
}

impl FakeLayer {
    pub(crate) fn user() -> Self {
        Self::new(None)
    }

    pub(crate) fn kernel(end: KernelEnd) -> Self {
        Self::new(Some(end))
    }

    fn new(kernel: Option<KernelEnd>) -> Self {
        Self {
            kernel,
            sending: Mutex::default(),
            receiving: Mutex::default(),
            controls: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
        }
    }

    fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that were received and not handed on, decrypted: with what is still to come.
    pub(crate) fn rest(&self, unread: &[u8]) -> Vec<u8> {
        if self.kernel.is_some() {
            return unread.to_vec();
        }
        let mut receiving = self.receiving.lock().unwrap();
        receiving.sealed.extend(unread);
        receiving.open();
        receiving.opened.drain(..).collect()
    }

    /// At its end, or `None` if there is something before it.
    fn kernel_end(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Control>> {
        self.called();
        match recv(socket, &mut [0_u8; 1][..], RecvFlags::PEEK)? {
            (0, _) if self.kernel == Some(KernelEnd::Closed) => Ok(Some(Control::Ended)),
            (0, _) => Err(LayerError::Cut.into()),
            _ => Ok(None),
        }
    }
}

impl Sending {
    fn seal(&mut self, kind: u8, content: &[u8]) {
        let len = (content.len() as u16).to_be_bytes();
        self.sealed.extend([kind, len[0], len[1]]);
        self.sealed.extend(content.iter().map(|byte| byte ^ MASK));
        self.records.push_back((content.len(), content.len() + 3));
    }

    fn flush(&mut self, layer: &FakeLayer, socket: BorrowedFd<'_>) -> io::Result<()> {
        while !self.sealed.is_empty() {
            layer.called();
            let (bytes, _) = self.sealed.as_slices();
            let mut count = send(socket, bytes, SendFlags::NOSIGNAL)?;
            self.sealed.drain(..count);
            while let Some((content, whole)) = self.records.front_mut() {
                if count < *whole {
                    *whole -= count;
                    break;
                }
                count -= *whole;
                *content = 0;
                self.records.pop_front();
            }
        }
        Ok(())
    }
}

impl Receiving {
    /// Opens every whole record.
    fn open(&mut self) {
        while let Some((kind, content)) = take_record(&mut self.sealed) {
            self.ended |= kind == CLOSE;
            self.opened.extend(content);
        }
    }
}

fn take_record(sealed: &mut VecDeque<u8>) -> Option<(u8, Vec<u8>)> {
    let (kind, high, low) = (*sealed.front()?, *sealed.get(1)?, *sealed.get(2)?);
    let len = usize::from(u16::from_be_bytes([high, low]));
    if sealed.len() < len + 3 {
        return None;
    }
    sealed.drain(..3);
    Some((kind, sealed.drain(..len).map(|byte| byte ^ MASK).collect()))
}

/// The records of `content`, and of its end if it is said.
pub(crate) fn sealed(content: &[u8], says_end: bool) -> Vec<u8> {
    let mut sending = Sending::default();
    // Of several lengths, so that records end anywhere.
    let mut rest = content;
    for len in [1, 4_000, RECORD, 777].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (record, left) = rest.split_at(len.min(rest.len()));
        sending.seal(DATA, record);
        rest = left;
    }
    if says_end {
        sending.seal(CLOSE, &[]);
    }
    sending.sealed.into()
}

/// The content of the whole records in `bytes`, and whether the end was said.
pub(crate) fn opened(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut receiving = Receiving {
        sealed: bytes.iter().copied().collect(),
        ..Receiving::default()
    };
    receiving.open();
    (receiving.opened.into(), receiving.ended)
}

impl Layer for FakeLayer {
    fn describe(&self) -> Tls {
        let mode = match self.kernel {
            Some(_) => TlsMode::Kernel,
            None => TlsMode::User {
                reason: "it is a fake".to_owned(),
            },
        };
        Tls::new(mode, TlsVersion::Tls13, TlsCipher::Aes128Gcm)
    }

    fn send_checked(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        _more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize> {
        let bytes = slices[0].as_ref();
        if self.kernel.is_some() {
            check()?;
            self.called();
            return Ok(send(socket, bytes, SendFlags::NOSIGNAL)?);
        }
        let mut sending = self.sending.lock().unwrap();
        if sending.failed {
            return Err(Errno::PIPE.into());
        }
        sending.flush(self, socket)?;
        let batch = &bytes[..bytes.len().min(BATCH)];
        let copy = batch.to_vec();
        check().inspect_err(|_| sending.failed = true)?;
        for record in copy.chunks(RECORD) {
            sending.seal(DATA, record);
        }
        match sending.flush(self, socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(batch.len()),
        }
    }

    fn flush(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.sending.lock().unwrap().flush(self, socket)
    }

    fn unsent(&self) -> u64 {
        let sending = self.sending.lock().unwrap();
        let content = sending.records.iter().map(|(content, _)| *content as u64);
        content.sum()
    }

    fn receive(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        if self.kernel.is_some() {
            if self.kernel_end(socket)?.is_some() {
                return Ok(0);
            }
            self.called();
            return Ok(recv(socket, buffer, RecvFlags::empty())?.0);
        }
        let mut receiving = self.receiving.lock().unwrap();
        receiving.open();
        while receiving.opened.is_empty() {
            if receiving.ended {
                return Ok(0);
            }
            self.called();
            let mut read = [0; 5000];
            match recv(socket, &mut read[..], RecvFlags::empty())? {
                (0, _) => return Err(LayerError::Cut.into()),
                (count, _) => receiving.sealed.extend(&read[..count]),
            }
            receiving.open();
        }
        let count = buffer.len().min(receiving.opened.len());
        for (to, byte) in buffer.iter_mut().zip(receiving.opened.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }

    fn control(&self, socket: BorrowedFd<'_>) -> io::Result<Control> {
        let left = self.controls.load(Ordering::Relaxed);
        if left > 0 {
            self.controls.store(left - 1, Ordering::Relaxed);
            return Ok(Control::Handled);
        }
        Ok(self.kernel_end(socket)?.unwrap_or(Control::Nothing))
    }

    fn close(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut sending = self.sending.lock().unwrap();
        if self.kernel.is_none() && !std::mem::replace(&mut sending.closed, true) {
            sending.seal(CLOSE, &[]);
        }
        sending.flush(self, socket)
    }

    fn syscalls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}
