//! The metrics of certificates.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use underpass::Count;

use super::error::ErrorKind;
use crate::server::MetricEncoder;
use crate::values::DomainName;

pub(super) struct Status {
    names: Vec<NameStatus>,
    /// How often the thread that looks after certificates started again after an internal error.
    pub(super) restarts: Count,
}

/// Of one name.
pub(super) struct NameStatus {
    name: String,
    /// Certificates that came, the first one too.
    pub(super) renewals: Count,
    pub(super) failures: Count,
    now: Mutex<Now>,
}

#[derive(Clone, Copy, Default)]
struct Now {
    /// `None` without a certificate.
    not_after: Option<SystemTime>,
    /// When it is renewed, and whether the ACME server said so.
    renewal: Option<(SystemTime, bool)>,
    /// `None` if the last attempt succeeded.
    last_error: Option<ErrorKind>,
}

impl Status {
    pub(super) fn new(names: &[DomainName]) -> Self {
        let status = |name: &DomainName| NameStatus {
            name: name.to_string(),
            renewals: Count::default(),
            failures: Count::default(),
            now: Mutex::default(),
        };
        Self {
            names: names.iter().map(status).collect(),
            restarts: Count::default(),
        }
    }

    /// That of the name with this place on the command line.
    pub(super) fn of(&self, index: usize) -> &NameStatus {
        &self.names[index]
    }
}

impl NameStatus {
    pub(super) fn loaded(&self, not_after: Option<SystemTime>) {
        self.change(|now| {
            now.not_after = not_after;
            now.last_error = None;
        });
    }

    pub(super) fn scheduled(&self, renewal: Option<(SystemTime, bool)>) {
        self.change(|now| now.renewal = renewal);
    }

    pub(super) fn failed(&self, kind: ErrorKind) {
        self.failures.add(1);
        self.change(|now| now.last_error = Some(kind));
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn now(&self) -> Now {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn days_left(&self) -> Option<f64> {
        self.now().not_after.map(days_until)
    }
}

/// Below zero when `time` has passed.
fn days_until(time: SystemTime) -> f64 {
    let now = SystemTime::now();
    let seconds = match time.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(past) => -past.duration().as_secs_f64(),
    };
    seconds / 86_400.0
}

pub(super) struct StatusCollector(pub(super) Arc<Status>);

impl StatusCollector {
    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut days = encoder.encode_descriptor(
            "underpass_acme_days_left",
            "Days until the certificate expires; left out while there is none",
            None,
            MetricType::Gauge,
        )?;
        for status in &self.0.names {
            if let Some(left) = status.days_left() {
                let labels = [("name", status.name.as_str())];
                ConstGauge::new(left).encode(days.encode_family(&labels)?)?;
            }
        }
        let mut days = encoder.encode_descriptor(
            "underpass_acme_days_until_renewal",
            "Days until the certificate is renewed, as the ACME server suggests or after two thirds of its lifetime",
            None,
            MetricType::Gauge,
        )?;
        for status in &self.0.names {
            if let Some((time, is_suggested)) = status.now().renewal {
                let by = if is_suggested {
                    "acme-server"
                } else {
                    "lifetime"
                };
                let labels = [("name", status.name.as_str()), ("by", by)];
                ConstGauge::new(days_until(time)).encode(days.encode_family(&labels)?)?;
            }
        }
        self.errors(encoder)
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut errors = encoder.encode_descriptor(
            "underpass_acme_last_error",
            "1 for the reason for which the last attempt to get a certificate failed; left out if it succeeded",
            None,
            MetricType::Gauge,
        )?;
        for status in &self.0.names {
            if let Some(kind) = status.now().last_error {
                let labels = [("name", status.name.as_str()), ("reason", kind.name())];
                ConstGauge::new(1_i64).encode(errors.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Debug for StatusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusCollector").finish_non_exhaustive()
    }
}

impl Collector for StatusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.gauges(&mut encoder)?;
        let mut to = MetricEncoder(encoder);
        let counts = |count: fn(&NameStatus) -> u64| {
            let all = self.0.names.iter();
            all.map(|status| (status.name.as_str(), count(status)))
                .collect::<Vec<_>>()
        };
        to.labelled(
            ("underpass_acme_renewals", None),
            "Certificates that this server got from the ACME server, the first one of each name too",
            "name",
            &counts(|status| status.renewals.get()),
        )?;
        to.labelled(
            ("underpass_acme_failures", None),
            "Failed attempts to get a certificate",
            "name",
            &counts(|status| status.failures.get()),
        )?;
        to.counter(
            "underpass_acme_restarts",
            "Times that looking after certificates started again after an internal error",
            self.0.restarts.get(),
        )
    }
}
