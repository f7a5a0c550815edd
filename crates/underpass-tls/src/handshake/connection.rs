//! rustls's part of a handshake.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, ExtractedSecrets, SupportedCipherSuite};
use underpass::TlsCipher;

use crate::error::{FailureReason, HandshakeError};
use crate::session::Secrets;

/// rustls's state of a handshake, for a server or a client.
pub(super) enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What rustls needs next.
pub(super) enum Next {
    /// rustls wants to be called again.
    Again,
    /// rustls needs another record.
    Record,
    /// The records that rustls has made must be sent first.
    Flush,
    /// The handshake is complete.
    Complete,
}

impl Connection {
    /// Lets rustls process the records that it is shown. Returns how many of their bytes it is done
    /// with, and what it needs next. Records that it wants to send are appended to `outgoing`.
    pub(super) fn process(
        &mut self,
        shown: &mut [u8],
        outgoing: &mut Vec<u8>,
        is_flushed: bool,
    ) -> (usize, Result<Next, HandshakeError>) {
        let (discard, next) = match self {
            Self::Server(connection) => {
                let status = connection.process_tls_records(shown);
                handle(status, outgoing, is_flushed)
            }
            Self::Client(connection) => {
                let status = connection.process_tls_records(shown);
                handle(status, outgoing, is_flushed)
            }
        };
        match next {
            Ok(Next::Complete) if self.state().is_handshaking() => (discard, Ok(Next::Record)),
            next => (discard, next),
        }
    }

    /// What the handshake has agreed on so far.
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    /// Takes the secrets of a connection whose handshake is complete.
    pub(super) fn into_secrets(self) -> Result<(ExtractedSecrets, Secrets), HandshakeError> {
        Ok(match self {
            Self::Server(connection) => {
                let (secrets, connection) = connection.dangerous_into_kernel_connection()?;
                (secrets, Secrets::Server(connection))
            }
            Self::Client(connection) => {
                let (secrets, connection) = connection.dangerous_into_kernel_connection()?;
                (secrets, Secrets::Client(connection))
            }
        })
    }
}

fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    is_flushed: bool,
) -> (usize, Result<Next, HandshakeError>) {
    let UnbufferedStatus { discard, state } = status;
    let next = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::EncodeTlsData(mut encoder)) => {
            // With an empty buffer, rustls fails and says how much room it needs.
            if let Err(EncodeError::InsufficientSize(needed)) = encoder.encode(&mut []) {
                let len = outgoing.len();
                outgoing.resize(len + needed.required_size, 0);
                let written = encoder.encode(&mut outgoing[len..]);
                outgoing.truncate(len + written.unwrap_or(0));
            }
            Ok(Next::Again)
        }
        Ok(ConnectionState::TransmitTlsData(_)) if !is_flushed => Ok(Next::Flush),
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Next::Record),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Complete),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(HandshakeError::new(
            FailureReason::Closed,
            "the peer closed the connection before it was complete",
        )),
        Ok(_) => Err(HandshakeError::new(
            FailureReason::Protocol,
            "the peer sent data before it was complete",
        )),
    };
    (discard, next)
}

/// The cipher of a suite, if it is one of those that the record layers know.
pub(super) fn cipher_of(suite: SupportedCipherSuite) -> Option<TlsCipher> {
    use rustls::CipherSuite as Suite;
    match suite.suite() {
        Suite::TLS13_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(TlsCipher::Aes128Gcm),
        Suite::TLS13_AES_256_GCM_SHA384
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(TlsCipher::Aes256Gcm),
        Suite::TLS13_CHACHA20_POLY1305_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(TlsCipher::ChaCha20Poly1305),
        _ => None,
    }
}
