//! What both receipts say of the files that must not be copied.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::receipt::Receipt;

/// The receipts of both sides.
pub(super) struct Receipts {
    sent: Receipt,
    received: Receipt,
}

impl Receipts {
    pub(super) fn of(sender: &str, receiver: &str) -> Result<Self> {
        Ok(Self {
            sent: Receipt::parse(sender)?,
            received: Receipt::parse(receiver)?,
        })
    }

    /// Fails unless both are complete, of the same bytes, and at least `large` bytes went by
    /// sendfile and came by splice. Returns the sender's bytes by route.
    pub(super) fn check(&self, large: u64) -> Result<BTreeMap<String, u64>> {
        self.sent.check(self.received.bytes, None)?;
        self.received.check(self.sent.bytes, None)?;
        for (side, receipt, route) in [
            ("sender", &self.sent, "sendfile"),
            ("receiver", &self.received, "splice"),
        ] {
            let bytes = receipt.by(route);
            if bytes < large {
                return Err(Error::new(format!(
                    "the {side} moved only {bytes} bytes by {route}; the files of 64 KiB and more \
                     have {large}"
                )));
            }
        }
        Ok(self.sent.by_route())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(bytes: u64, complete: bool, route: &str, moved: u64) -> String {
        let copied = bytes - moved;
        format!(
            r#"{{"bytes":{bytes},"complete":{complete},"route":"{route}","routes":[
            {{"route":"{route}","bytes":{moved}}},{{"route":"read-write","bytes":{copied}}}]}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn both_sides_must_tell_of_large_files_that_were_not_copied() {
        let check = |sent: String, received: String| Receipts::of(&sent, &received)?.check(90);
        let sent = receipt(100, true, "sendfile", 95);
        let received = receipt(100, true, "splice", 90);
        let routes = check(sent.clone(), received.clone()).unwrap();
        assert_eq!(routes["sendfile"], 95);
        assert_eq!(routes["read-write"], 5);
        for (sent, received) in [
            (receipt(100, true, "sendfile", 89), received.clone()),
            (sent.clone(), receipt(100, true, "splice", 89)),
            (sent.clone(), receipt(100, false, "splice", 90)),
            (sent.clone(), receipt(101, true, "splice", 90)),
            (receipt(100, true, "read-write", 100), received),
        ] {
            check(sent, received).unwrap_err();
        }
    }
}
