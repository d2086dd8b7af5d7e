//! The certificate that a server shows, read again every few seconds: cert-manager and the like replace it under a running
//! process.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::Args;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio_util::sync::CancellationToken;

use crate::notices::Alarms;

/// How often the files are read.
const RELOAD: Duration = Duration::from_secs(3);
/// The kind of the alarm for files that can't be used.
const ALARM: &str = "tls_certificate";
/// What the alarm is about.
const KEY: &str = "reload";
/// So many readings in a row must fail before it is one: between a new certificate and its key there is a moment.
const FAILURES: u32 = 2;

/// Whether a server speaks HTTPS.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsSettings {
    /// A file with the service's certificate (PEM), followed by those between it and its authority. With it the service speaks
    /// HTTPS instead of HTTP, on the same port, for probes and metrics too
    ///
    /// It is read again every few seconds: a change needs no restart. One that can't be used raises an alarm, and the one before
    /// stays in use.
    #[arg(long, env = "TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// A file with that certificate's private key (PEM), without a passphrase
    #[arg(long, env = "TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,
}

/// The certificate can't be used. Nothing of the key is ever part of it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two settings without the other.
    #[error("{set} is set and {missing} is not: HTTPS needs both, HTTP neither")]
    Half {
        /// The variable that is set.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// A file can't be read.
    #[error("{variable}: {} can't be read", path.display())]
    Unreadable {
        /// The variable that names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{variable}: {} holds no {wanted} in PEM form", path.display())]
    NotPem {
        /// The variable that names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The two don't belong together, or are of a kind that is not known.
    #[error("TLS_CERT_FILE and TLS_KEY_FILE: {} and {} can't be used together", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        #[source]
        source: rustls::Error,
    },
}

impl TlsSettings {
    /// The certificate; none where the server speaks HTTP.
    ///
    /// # Errors
    /// The files can't be used, or there is only one of them.
    pub fn certificate(&self) -> Result<Option<Certificate>, TlsError> {
        let (certificate, key) = match (&self.tls_cert_file, &self.tls_key_file) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (Some(_), None) => {
                return Err(TlsError::Half {
                    set: "TLS_CERT_FILE",
                    missing: "TLS_KEY_FILE",
                });
            }
            (None, Some(_)) => {
                return Err(TlsError::Half {
                    set: "TLS_KEY_FILE",
                    missing: "TLS_CERT_FILE",
                });
            }
        };
        let files = Files {
            certificate,
            key,
            marks: RandomState::new(),
        };
        let read = files.read()?;
        let current = RwLock::new(Current {
            mark: read.mark,
            shown: Arc::new(files.certified(&read)?),
        });
        Ok(Some(Certificate(Arc::new(Source { files, current }))))
    }
}

/// A server's certificate and its key, as they are now. Clones share them.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Source>);

#[derive(Debug)]
struct Source {
    files: Files,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    shown: Arc<CertifiedKey>,
    mark: u64,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// The key of the marks, of this process only.
    marks: RandomState,
}

/// What the files hold, with a mark that tells it from another reading. Wiped from memory when dropped.
struct Read {
    certificate: Vec<u8>,
    key: SecretSlice<u8>,
    mark: u64,
}

impl Certificate {
    /// How connections are made with it. Those of the future get the certificate of their time.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("ring has ciphers for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Reads the files again every few seconds until the token is cancelled.
    pub async fn follow(self, alarms: Alarms, token: CancellationToken) {
        let mut failures = 0;
        while token
            .run_until_cancelled(tokio::time::sleep(RELOAD))
            .await
            .is_some()
        {
            let source = Arc::clone(&self.0);
            match tokio::task::spawn_blocking(move || source.reload()).await {
                Ok(Ok(())) => {
                    failures = 0;
                    alarms.clear(ALARM, KEY);
                }
                Ok(Err(error)) => {
                    failures += 1;
                    if failures >= FAILURES {
                        let cause = std::error::Error::source(&error)
                            .map_or_else(String::new, |cause| format!(": {cause}"));
                        let text = format!("{error}{cause}; the one before stays in use");
                        alarms.raise(ALARM, KEY, &text);
                    }
                }
                // The process is ending.
                Err(_) => return,
            }
        }
    }
}

impl Source {
    fn reload(&self) -> Result<(), TlsError> {
        let read = self.files.read()?;
        let known = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .mark;
        if read.mark == known {
            return Ok(());
        }
        let shown = Arc::new(self.files.certified(&read)?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            shown,
            mark: read.mark,
        };
        tracing::info!("the TLS certificate has changed");
        Ok(())
    }
}

impl ResolvesServerCert for Source {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.shown))
    }
}

impl Files {
    fn read(&self) -> Result<Read, TlsError> {
        let certificate = read("TLS_CERT_FILE", &self.certificate)?;
        let key = read("TLS_KEY_FILE", &self.key)?;
        Ok(Read {
            mark: self.marks.hash_one((&certificate, &key)),
            certificate,
            key: SecretSlice::from(key),
        })
    }

    fn certified(&self, read: &Read) -> Result<CertifiedKey, TlsError> {
        // The parser's own text is left out: it may quote the file.
        let not_pem = |variable, path: &Path, wanted| TlsError::NotPem {
            variable,
            path: path.to_owned(),
            wanted,
        };
        let chain: Result<Vec<_>, pem::Error> =
            CertificateDer::pem_slice_iter(&read.certificate).collect();
        let chain = match chain {
            Ok(chain) if !chain.is_empty() => chain,
            _ => return Err(not_pem("TLS_CERT_FILE", &self.certificate, "certificate")),
        };
        let key = PrivateKeyDer::from_pem_slice(read.key.expose_secret())
            .map_err(|_| not_pem("TLS_KEY_FILE", &self.key, "private key"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|source| {
            TlsError::Unusable {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
                source,
            }
        })
    }
}

fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        variable,
        path: path.to_owned(),
        source,
    })
}
