//! The extensions behind a chunk's size (RFC 9112 section 7.1.1). They mean nothing here, but their
//! form decides where their line ends.

/// Where in the extensions the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server::framing) enum ChunkExtension {
    /// In the space before a semicolon.
    Gap,
    /// Behind a semicolon, before the name.
    NameStart,
    Name,
    /// In the space behind a name.
    NameEnd,
    /// Behind the equals sign.
    ValueStart,
    Value,
    Quoted,
    /// Behind a backslash in a quoted value.
    Escaped,
    QuotedEnd,
}

impl ChunkExtension {
    /// The state after the first byte behind a chunk's size; `None` if no extension begins so.
    pub(super) fn begin(byte: u8) -> Option<Self> {
        Self::Gap.next(byte)
    }

    /// Whether the line may end here.
    pub(super) fn is_complete(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::QuotedEnd)
    }

    /// The state after a byte; `None` if it must not be here.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        let is_space = matches!(byte, b' ' | b'\t');
        match self {
            Self::Gap if is_space => Some(Self::Gap),
            Self::Value | Self::QuotedEnd if is_space => Some(Self::Gap),
            Self::Gap | Self::Value | Self::QuotedEnd | Self::Name | Self::NameEnd
                if byte == b';' =>
            {
                Some(Self::NameStart)
            }
            Self::NameStart if is_space => Some(Self::NameStart),
            Self::NameStart | Self::Name if is_token(byte) => Some(Self::Name),
            Self::Name | Self::NameEnd if is_space => Some(Self::NameEnd),
            Self::Name | Self::NameEnd if byte == b'=' => Some(Self::ValueStart),
            Self::ValueStart if is_space => Some(Self::ValueStart),
            Self::ValueStart if byte == b'"' => Some(Self::Quoted),
            Self::ValueStart | Self::Value if is_token(byte) => Some(Self::Value),
            Self::Quoted if byte == b'"' => Some(Self::QuotedEnd),
            Self::Quoted if byte == b'\\' => Some(Self::Escaped),
            Self::Quoted | Self::Escaped if is_text(byte) => Some(Self::Quoted),
            _ => None,
        }
    }
}

/// RFC 9110 section 5.6.2: tchar.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a quoted string may contain, escaped or not (RFC 9110 section 5.6.4).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7F
}
