//! Counters of handshakes.

use std::io;

use underpass::{Count, TlsCipher, TlsVersion};

use crate::error::FailureReason;
use crate::info::{Mode, TlsInfo, UserReason};

/// Counters of handshakes, which acceptors and listeners share in an `Arc`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TlsStats {
    /// Handshakes that resumed an earlier session.
    pub resumed: Count,
    /// By version, by cipher, and whether in the kernel.
    established: [[[Count; 2]; 3]; 2],
    in_user_space: [Count; UserReason::NAMES.len()],
    failed: [Count; FailureReason::ALL.len()],
}

impl TlsStats {
    /// Handshakes that succeeded, by version and cipher, and whether the kernel seals the records.
    pub fn established(&self, version: TlsVersion, cipher: TlsCipher, in_kernel: bool) -> &Count {
        let version = usize::from(version != TlsVersion::Tls12);
        let cipher = match cipher {
            TlsCipher::Aes128Gcm => 0,
            TlsCipher::Aes256Gcm => 1,
            _ => 2,
        };
        &self.established[version][cipher][usize::from(in_kernel)]
    }

    /// Handshakes that succeeded and whose records this process seals, by the reason why the
    /// kernel does not: `configured`, `no-kernel-tls`, `no-kernel-cipher`, `refused-socket` or
    /// `not-tcp`.
    pub fn in_user_space(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.in_user_space.iter().map(Count::get);
        UserReason::NAMES.into_iter().zip(counts)
    }

    /// Handshakes that failed, by reason.
    pub fn failed(&self, reason: FailureReason) -> &Count {
        &self.failed[reason as usize]
    }

    /// Counts the result of a handshake.
    pub fn note(&self, result: Result<&TlsInfo, &io::Error>) {
        match result {
            Ok(info) => {
                self.resumed.add(u64::from(info.resumed));
                let in_kernel = info.mode == Mode::Kernel;
                self.established(info.version, info.cipher, in_kernel)
                    .add(1);
                if let Mode::User(reason) = info.mode {
                    self.in_user_space[reason.kind()].add(1);
                }
            }
            Err(error) => self.failed(FailureReason::of(error)).add(1),
        }
    }
}
