//! A certificate authority, and the certificates and keys that it makes, as files.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::Dir;

/// An authority that only the clients of one test trust.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: Dir,
    /// Its certificate, for `--cacert`.
    pub(crate) file: String,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = Dir::in_memory();
        let file = dir.file("ca.pem", issuer.pem().as_bytes());
        Self { issuer, dir, file }
    }

    /// A certificate for `names`, in files that are called `stem`.
    pub(crate) fn pair(&self, stem: &str, names: &[&str]) -> Pair {
        self.write(stem, names, |_| {})
    }

    /// A certificate that was valid for one day in 2020.
    pub(crate) fn expired_pair(&self, stem: &str, names: &[&str]) -> Pair {
        self.write(stem, names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
        })
    }

    fn write(&self, stem: &str, names: &[&str], set: impl Fn(&mut CertificateParams)) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, stem);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        set(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |part: &str, pem: String| {
            // Servers read them again when they change, so each appears whole.
            let (new, path) = (format!("{stem}.{part}.new"), format!("{stem}.{part}.pem"));
            let path = self.dir.path(&path);
            std::fs::rename(self.dir.file(&new, pem.as_bytes()), &path).unwrap();
            path
        };
        Pair {
            certificate: write("cert", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

impl Pair {
    /// The options with which `serve` uses it.
    pub(crate) fn options(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }
}
