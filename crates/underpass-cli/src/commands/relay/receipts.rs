//! A receipt for every connection.

use underpass::relay::{Ends, Receipt, Relayed, Socket};

use crate::args::ReceiptForm;
use crate::exit::Failure;
use crate::server::{Lines, Writing};

/// Where threads leave their receipts.
#[derive(Clone)]
pub(super) struct Receipts(Lines<Box<Receipt>>);

pub(super) fn start(form: ReceiptForm) -> Result<Option<Writing<Box<Receipt>>>, Failure> {
    if form == ReceiptForm::None {
        return Ok(None);
    }
    let write = move |batch: &mut Vec<u8>, receipt: Box<Receipt>| {
        if form == ReceiptForm::Json {
            // Strings and numbers always can be written, and memory takes them.
            let _ = serde_json::to_writer(&mut *batch, &receipt);
        } else {
            batch.extend(receipt.to_string().into_bytes());
        }
        batch.push(b'\n');
    };
    Lines::start("receipts", write).map(Some)
}

impl Receipts {
    pub(super) fn new(writing: &Writing<Box<Receipt>>) -> Self {
        Self(writing.lines().clone())
    }

    /// What is asked while both sockets are there.
    pub(super) fn ask(near: &Socket, far: &Socket, target: &str) -> Option<Ends> {
        let ends = Ends::of(near, far).ok()?;
        let peer = match near {
            Socket::Tcp(socket) => socket.peer_addr().ok(),
            Socket::Unix(_) => None,
        };
        let near = peer.map_or_else(|| "a local peer".to_owned(), |peer| peer.to_string());
        Some(ends.named(near, target.to_owned()))
    }

    pub(super) fn tell(&self, relayed: &Relayed, ends: &Ends) {
        self.0.push(Box::new(relayed.receipt(ends)));
    }
}
