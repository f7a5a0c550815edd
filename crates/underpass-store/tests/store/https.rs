//! A store whose endpoint says https.

use std::io::Write as _;

use tempfile::NamedTempFile;
use underpass_store::{ErrorKind, Store, StoreError, StoreSettings};
use underpass_testing::bytes;
use underpass_testing::s3::{BUCKET, Fault, On, S3};

use crate::support::store_settings;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn store(s3: &S3, bundle: Option<&str>) -> Result<Store, StoreError> {
    let mut settings: StoreSettings = store_settings(s3);
    settings.retry.attempts = 2;
    if let Some(path) = bundle {
        settings = settings.option("AWS_CA_BUNDLE", path);
    }
    Store::from_url(&format!("s3://{BUCKET}"), settings)
}

#[tokio::test]
async fn an_authority_of_ones_own_is_named_by_aws_ca_bundle() {
    let s3 = S3::start_with_tls();
    let content = bytes(1, 3 << 20);
    s3.put("key", content.clone());
    let authority = file(s3.authority());
    let store = store(&s3, authority.path().to_str()).unwrap();
    let info = store.head("key").await.unwrap();
    let all = 0..content.len() as u64;
    assert!(store.read(&info, all.clone()).await.unwrap() == content);
    // TLS that ends in the middle is a connection that broke, and not the end of the object.
    s3.fault(On::get("key").times(1), Fault::ShortBody(1 << 20));
    assert!(store.read(&info, all).await.unwrap() == content);
    assert_eq!(store.stats().retries, 1);
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_told() {
    let s3 = S3::start_with_tls();
    s3.put("key", "hello");
    let other = file(S3::start_with_tls().authority());
    for bundle in [None, other.path().to_str()] {
        let error = store(&s3, bundle).unwrap().head("key").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        let line = error.to_string();
        assert!(
            line.contains("certificate") && line.contains("AWS_CA_BUNDLE"),
            "{line}"
        );
    }
    assert!(s3.requests().is_empty());
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_is_refused() {
    let s3 = S3::start_with_tls();
    let empty = file("no certificate");
    for path in ["/nonexistent", "/", empty.path().to_str().unwrap()] {
        let error = store(&s3, Some(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let line = error.to_string();
        assert!(
            line.contains(path) && line.contains("AWS_CA_BUNDLE"),
            "{line}"
        );
    }
}
