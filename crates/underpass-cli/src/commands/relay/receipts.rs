//! A receipt for every connection.

use underpass::relay::{Ends, Receipt, Relayed, Socket};

use crate::server::{self, LogSender, LogWriter};

/// Where threads leave their receipts.
#[derive(Clone)]
pub(super) struct Receipts(LogSender<Box<Receipt>>);

impl Receipts {
    pub(super) fn new(writing: &LogWriter<Box<Receipt>>) -> Self {
        Self(writing.lines().clone())
    }

    /// What is asked while both sockets are there.
    pub(super) fn ask(near: &Socket, far: &Socket, target: &str) -> Option<Ends> {
        let ends = Ends::of(near, far).ok()?;
        let near = server::peer(server::number(near));
        Some(ends.named(near, target.to_owned()))
    }

    pub(super) fn tell(&self, relayed: &Relayed, ends: &Ends) {
        self.0.push(Box::new(relayed.receipt(ends)));
    }
}
