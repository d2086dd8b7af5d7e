//! The client that brings traces to their collector, and to nobody else.

use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder};
use reqwest::{Certificate, redirect};

use super::TelemetryError;

/// One that follows no redirect: it would carry the collector's credentials to whoever it points to. Over HTTPS it believes the
/// system's authorities, and those of the file.
pub(super) fn client(ca_file: Option<&Path>, timeout: Duration) -> Result<Client, TelemetryError> {
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(timeout);
    let builder = match ca_file {
        Some(path) => {
            believe(builder, path).map_err(|cause| TelemetryError::CertificateAuthority {
                path: path.to_owned(),
                cause,
            })?
        }
        None => builder,
    };
    // It has a runtime of its own, which can't be made on a thread of another.
    let built = thread::spawn(move || builder.build()).join();
    let built = built.map_err(|_| TelemetryError::Client("it panicked".into()))?;
    built.map_err(|error| TelemetryError::Client(error.into()))
}

fn believe(
    builder: ClientBuilder,
    path: &Path,
) -> Result<ClientBuilder, Box<dyn Error + Send + Sync>> {
    let certificates = Certificate::from_pem_bundle(&std::fs::read(path)?)?;
    if certificates.is_empty() {
        return Err("it holds no certificate".into());
    }
    Ok(builder.tls_certs_merge(certificates))
}
