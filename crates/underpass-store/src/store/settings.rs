//! Where a store is and how it is asked.

use std::path::PathBuf;

use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use tokio::runtime::Handle;

use super::circuit::CircuitSettings;
use super::client::{Connector, Timeouts};
use super::retry::Retry;
use crate::error::{ErrorKind, StoreError};

/// Names of options that say whose credentials are used.
const CREDENTIALS: [AmazonS3ConfigKey; 6] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    AmazonS3ConfigKey::ContainerCredentialsFullUri,
    AmazonS3ConfigKey::MetadataEndpoint,
];

/// Where a store is and how it is asked.
///
/// Options have the names of the variables of AWS, with or without `AWS_`, in any case:
/// `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
/// `AWS_SESSION_TOKEN`, `AWS_SKIP_SIGNATURE`, `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, `AWS_CA_BUNDLE`,
/// and the others of `object_store`. Without credentials, requests are anonymous. The role of a
/// machine in EC2 is used with `AWS_METADATA_ENDPOINT=http://169.254.169.254`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StoreSettings {
    options: Vec<(String, String)>,
    /// How long the steps of a request may take.
    pub timeouts: Timeouts,
    /// How often a request is tried.
    pub retry: Retry,
    /// When no request is sent any more.
    pub circuit: CircuitSettings,
    /// Threads of the runtime that does the work. 0 is two.
    pub workers: usize,
}

impl StoreSettings {
    /// With the options of the environment: the variables whose names begin with `AWS_`. Those that
    /// mean nothing to a store are left out.
    pub fn from_env() -> Self {
        let mut settings = Self::default();
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                let known = name.starts_with("AWS_") && (key(name).is_ok() || is_ca_bundle(name));
                if known && !value.is_empty() {
                    settings = settings.option(name, value);
                }
            }
        }
        settings
    }

    /// Sets an option. It replaces what the environment says.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// The client that reads, which leaves retries to this crate; the client that writes; and the
    /// endpoint.
    pub(super) fn clients(
        &self,
        bucket: &str,
        runtime: &Handle,
    ) -> Result<(AmazonS3, AmazonS3, String), StoreError> {
        let invalid = |why: String| StoreError::new(ErrorKind::Invalid, why);
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
        let mut ca_bundle = None;
        for (name, value) in &self.options {
            if is_ca_bundle(name) {
                ca_bundle = Some(PathBuf::from(value));
                continue;
            }
            let key = key(name)
                .map_err(|()| invalid(format!("no option of a store is called {name}")))?;
            builder = builder.with_config(key, value);
        }
        let builder = anonymous_without_credentials(with_virtual_host(builder, bucket));
        let endpoint = endpoint(&builder).unwrap_or_else(|| "AWS".into());
        let connector =
            Connector::new(self.timeouts.clone(), ca_bundle.as_deref(), runtime.clone())?;
        let builder = builder.with_http_connector(connector);
        let build = |retries: usize| {
            let retry = RetryConfig {
                max_retries: retries,
                retry_timeout: self.retry.budget,
                ..RetryConfig::default()
            };
            let built = builder.clone().with_retry(retry).build();
            built.map_err(|error| invalid(format!("cannot use s3://{bucket}: {error}")))
        };
        let writes = self.retry.attempts.saturating_sub(1) as usize;
        Ok((build(0)?, build(writes)?, endpoint))
    }
}

fn key(name: &str) -> Result<AmazonS3ConfigKey, ()> {
    name.to_ascii_lowercase().parse().map_err(drop)
}

fn is_ca_bundle(name: &str) -> bool {
    ["AWS_CA_BUNDLE", "CA_BUNDLE"].contains(&name.to_ascii_uppercase().as_str())
}

fn endpoint(builder: &AmazonS3Builder) -> Option<String> {
    let specific = builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint);
    specific.or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint))
}

fn is_set(builder: &AmazonS3Builder, key: AmazonS3ConfigKey) -> bool {
    let value = builder.get_config_value(&key).unwrap_or_default();
    ["1", "true", "yes", "on", "y"].contains(&value.to_ascii_lowercase().as_str())
}

/// Virtual-host style means `https://BUCKET.HOST`; `object_store` takes an endpoint as it is.
fn with_virtual_host(builder: AmazonS3Builder, bucket: &str) -> AmazonS3Builder {
    let style = AmazonS3ConfigKey::VirtualHostedStyleRequest;
    match endpoint(&builder) {
        Some(endpoint) if is_set(&builder, style) => {
            let host = endpoint
                .split_once("://")
                .map_or(endpoint.as_str(), |(_, host)| host);
            if host.starts_with(&format!("{bucket}.")) {
                return builder;
            }
            let endpoint = endpoint.replacen("://", &format!("://{bucket}."), 1);
            builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
        }
        _ => builder,
    }
}

fn anonymous_without_credentials(builder: AmazonS3Builder) -> AmazonS3Builder {
    let given = CREDENTIALS
        .iter()
        .any(|key| builder.get_config_value(key).is_some());
    if given {
        builder
    } else {
        builder.with_skip_signature(true)
    }
}

/// The bucket and the prefix of `s3://BUCKET/PREFIX`. The prefix is empty or ends with `/`.
pub(super) fn parse_url(url: &str) -> Result<(String, String), StoreError> {
    let invalid = |why: &str| {
        let message =
            format!("{url}: {why}; a store is given as s3://BUCKET or s3://BUCKET/PREFIX");
        StoreError::new(ErrorKind::Invalid, message)
    };
    let rest = url
        .strip_prefix("s3://")
        .ok_or_else(|| invalid("not an address of a store"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |it: char| it.is_ascii_alphanumeric() || "-._".contains(it);
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(allowed) {
        return Err(invalid("no bucket can be called so"));
    }
    let prefix = prefix.trim_end_matches('/');
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if !prefix.is_empty() && prefix.split('/').any(bad) {
        return Err(invalid("a part of the prefix is empty, `.` or `..`"));
    }
    let prefix = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    Ok((bucket.into(), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parsed = |url| parse_url(url).map_err(|error| error.to_string());
        let ok = |bucket: &str, prefix: &str| Ok((bucket.to_string(), prefix.to_string()));
        assert_eq!(parsed("s3://photos"), ok("photos", ""));
        assert_eq!(parsed("s3://photos/"), ok("photos", ""));
        assert_eq!(parsed("s3://photos/2026/may"), ok("photos", "2026/may/"));
        assert_eq!(parsed("s3://photos/2026/may//"), ok("photos", "2026/may/"));
        for wrong in [
            "photos",
            "s3:photos",
            "s3://",
            "s3:///x",
            "s3://a b",
            "s3://b/../x",
            "s3://b/a//b",
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains("s3://BUCKET/PREFIX"), "{error}");
        }
    }

    #[test]
    fn styles_of_addresses() {
        let builder = |endpoint: &str| {
            AmazonS3Builder::new()
                .with_virtual_hosted_style_request(true)
                .with_endpoint(endpoint)
        };
        let made = |given| endpoint(&with_virtual_host(builder(given), "b")).unwrap();
        assert_eq!(made("http://store:80"), "http://b.store:80");
        assert_eq!(made("http://b.store"), "http://b.store");
    }
}
