//! The ways to move a file to a socket.

use std::fmt;
use std::str::FromStr;

/// A way to move a file to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// read(2) into a buffer, write(2) from it: the classic loop, S1 of the design.
    ReadWrite,
    /// write(2) from a mapping of the file.
    MmapWrite,
    /// sendfile(2): S3, and S2 where the interface does not gather.
    Sendfile,
    /// splice(2) into a pipe and out of it.
    Splice,
    /// send(2) with `MSG_ZEROCOPY` from a mapping of the file.
    SendZerocopy,
    /// What `underpass send` does: the route and the sizes of calls that its plan chooses.
    Underpass,
}

impl Way {
    /// All, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::ReadWrite,
        Self::MmapWrite,
        Self::Sendfile,
        Self::Splice,
        Self::SendZerocopy,
        Self::Underpass,
    ];

    /// The name in tables, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::MmapWrite => "mmap-write",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::SendZerocopy => "send-zerocopy",
            Self::Underpass => "underpass",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|way| way.name() == text)
            .ok_or_else(|| format!("{text:?} is not a way; these are: {}", known()))
    }
}
