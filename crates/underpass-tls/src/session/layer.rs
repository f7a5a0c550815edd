//! A session as the engine sees it.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use underpass::{Control, Layer, Tls};

use super::Session;

impl Layer for Session {
    fn describe(&self) -> Tls {
        self.info().tls()
    }

    fn send_checked(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize> {
        self.send_checked(socket, slices, more, check)
    }

    fn sent(&self, socket: BorrowedFd<'_>, count: u64) -> io::Result<()> {
        self.sent(socket, count)
    }

    fn flush(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.flush(socket)
    }

    fn unsent(&self) -> u64 {
        self.unsent()
    }

    fn receive(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(socket, buffer)
    }

    fn control(&self, socket: BorrowedFd<'_>) -> io::Result<Control> {
        self.control(socket)
    }

    fn close(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.close(socket)
    }

    fn syscalls(&self) -> u64 {
        self.syscalls()
    }
}
