//! Where a store is and how it is asked.

use std::path::PathBuf;

use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use tokio::runtime::Handle;

use super::circuit::CircuitSettings;
use super::client::Connector;
use super::patience::Timeouts;
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
/// machine in EC2 is used with `AWS_METADATA_ENDPOINT=http://169.254.169.254`; that of a container
/// or of a web identity by the variables that AWS sets there. Profiles, and the files below
/// `~/.aws`, are not read.
///
/// With https, the store's certificate must be signed by an authority of the system, of
/// `SSL_CERT_FILE` or `SSL_CERT_DIR` instead of the system's, or of `AWS_CA_BUNDLE`.
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
        refuse_values(&builder).map_err(invalid)?;
        let builder = anonymous_without_credentials(with_virtual_host(builder, bucket));
        let connector = Connector::new(
            self.timeouts.clone(),
            ca_bundle.as_deref(),
            runtime.clone(),
            &authorities(&builder),
        )?;
        let endpoint = endpoint(&builder).unwrap_or_else(|| "AWS".into());
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

/// The hosts that `object_store` asks for credentials.
fn authorities(builder: &AmazonS3Builder) -> [String; 4] {
    let value = |key| builder.get_config_value(&key);
    let host = |key, otherwise: &str| {
        let host = value(key).and_then(|url| host_of(&url));
        host.unwrap_or_else(|| otherwise.to_owned())
    };
    let region = value(AmazonS3ConfigKey::Region);
    let region = region.unwrap_or_else(|| "us-east-1".into());
    let sts = format!("sts.{region}.amazonaws.com");
    [
        host(AmazonS3ConfigKey::MetadataEndpoint, "169.254.169.254"),
        host(AmazonS3ConfigKey::ContainerCredentialsFullUri, ""),
        "169.254.170.2".into(),
        host(AmazonS3ConfigKey::StsEndpoint, &sts),
    ]
}

/// The host of a URL, with its port, if it is of HTTP.
fn host_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let is_http = matches!(uri.scheme_str()?, "http" | "https");
    let authority = uri.authority().filter(|it| !it.host().is_empty())?;
    (is_http && uri.query().is_none()).then(|| authority.to_string())
}

/// Why a store cannot be asked with these options. `object_store` would not say it, or panic.
fn refuse_values(builder: &AmazonS3Builder) -> Result<(), String> {
    use AmazonS3ConfigKey as Key;
    let value = |key: Key| builder.get_config_value(&key);
    for (name, key) in [
        ("AWS_ENDPOINT_URL", Key::Endpoint),
        ("AWS_ENDPOINT_URL_S3", Key::S3Endpoint),
        ("AWS_ENDPOINT_URL_STS", Key::StsEndpoint),
        ("AWS_METADATA_ENDPOINT", Key::MetadataEndpoint),
    ] {
        if let Some(url) = value(key).filter(|url| host_of(url).is_none()) {
            let form = "http://HOST:PORT or https://HOST";
            return Err(format!(
                "{name} is {url:?}, which is not of the form {form}"
            ));
        }
    }
    for (name, key) in [
        ("AWS_ACCESS_KEY_ID", Key::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", Key::SecretAccessKey),
        ("AWS_SESSION_TOKEN", Key::Token),
        ("AWS_REGION", Key::Region),
    ] {
        let is_plain = |value: &String| value.bytes().all(|it| it.is_ascii_graphic());
        if value(key).is_some_and(|value| !is_plain(&value)) {
            return Err(format!(
                "{name} has a space or another character that cannot be in it"
            ));
        }
    }
    for (name, key, other_name, other) in [
        (
            "AWS_ACCESS_KEY_ID",
            Key::AccessKeyId,
            "AWS_SECRET_ACCESS_KEY",
            Key::SecretAccessKey,
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            Key::SecretAccessKey,
            "AWS_ACCESS_KEY_ID",
            Key::AccessKeyId,
        ),
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            Key::WebIdentityTokenFile,
            "AWS_ROLE_ARN",
            Key::RoleArn,
        ),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            Key::ContainerCredentialsFullUri,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            Key::ContainerAuthorizationTokenFile,
        ),
    ] {
        if value(key).is_some() && value(other).is_none() {
            return Err(format!("{name} is set, but {other_name} is not"));
        }
    }
    Ok(())
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
