//! A certificate authority for tests: what it signs is believed only by those who were given its certificate.

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, made anew.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// One that nobody knows yet.
    ///
    /// # Errors
    /// There is no randomness for its key.
    pub fn new() -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server of this name or address.
    ///
    /// # Errors
    /// It is neither.
    pub fn issue(&self, name: &str) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?;
        let certificate = certificate.signed_by(&key, &self.0)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Writes them as `tls.crt` and `tls.key`, as a Kubernetes Secret has them, and says where.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, folder: &Path) -> io::Result<(PathBuf, PathBuf)> {
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&certificate, &self.certificate)?;
        std::fs::write(&key, &self.key)?;
        Ok((certificate, key))
    }
}
