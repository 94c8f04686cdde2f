//! Certificates for servers of the tests.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority that nobody knows but by its certificate.
pub struct Authority {
    /// Its certificate (PEM).
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Who a server is: certificate and key (PEM).
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// Who a host is.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    pub fn certify(&self, host: &str) -> Identity {
        self.certify_until(host, 4_000)
    }

    /// Who a host was, until the end of a year.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    pub fn certify_until(&self, host: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2_001, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
