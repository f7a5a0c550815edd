//! Counts of TLS: handshakes and their results.

use std::fmt::{self, Debug};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use underpass_tls::{FailureReason, TlsCipher, TlsStats, TlsVersion};

use crate::server::MetricEncoder;

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
const CIPHERS: [TlsCipher; 3] = [
    TlsCipher::Aes128Gcm,
    TlsCipher::Aes256Gcm,
    TlsCipher::ChaCha20Poly1305,
];

pub(super) struct TlsCollector(pub(super) Arc<TlsStats>);

impl TlsCollector {
    /// Combinations that have not occurred are left out.
    fn handshakes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "underpass_tls_handshakes",
            "TLS handshakes that succeeded, by what they agreed on, and by who encrypts: the kernel, or this process \
             (user)",
            None,
            MetricType::Counter,
        )?;
        for version in VERSIONS {
            for cipher in CIPHERS {
                for (mode, in_kernel) in [("kernel", true), ("user", false)] {
                    let count = self.0.established(version, cipher, in_kernel).get();
                    if count > 0 {
                        let (version, cipher) = (version.to_string(), cipher.to_string());
                        let labels = [("version", &*version), ("cipher", &*cipher), ("mode", mode)];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Debug for TlsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsCollector").finish_non_exhaustive()
    }
}

impl Collector for TlsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.handshakes(&mut encoder)?;
        let mut to = MetricEncoder(encoder);
        to.counter(
            "underpass_tls_resumed",
            "TLS handshakes, among those that succeeded, that resumed an earlier session",
            self.0.resumed.get(),
        )?;
        let in_user_space: Vec<_> = self.0.in_user_space().collect();
        to.labelled(
            ("underpass_tls_user_space", None),
            "TLS connections that this process encrypts, by why the kernel does not",
            "reason",
            &in_user_space,
        )?;
        let failures =
            FailureReason::ALL.map(|reason| (reason.name(), self.0.failed(reason).get()));
        to.labelled(
            ("underpass_tls_handshakes_failed", None),
            "TLS handshakes that failed",
            "reason",
            &failures,
        )
    }
}
