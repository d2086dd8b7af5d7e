//! One request to one destination, and what its answer means.
//!
//! | answer | means |
//! |---|---|
//! | 2xx | delivered |
//! | no connection; 408, 425, 429, 503; a redirect | the destination is unavailable, and did nothing: nothing to do with this report |
//! | 502, 504; none in time; the connection breaks | nobody knows whether it was taken: the destination is unavailable, and it counts against the report, which may arrive a second time |
//! | any other 4xx | this report is refused, and will be again |
//! | anything else, above all 500 | an error that counts against the report: the receiver says 500 for an unknown user too |
//!
//! The answer's body is never kept: the webhook log answers with the webhook's secret in it.

use std::time::Duration;

use bellhop_reservation_system::SIGNATURE_HEADER;
use bellhop_service::TraceParent;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Certificate, Client, RequestBuilder, Response, redirect};
use tokio::time::Instant;
use url::Url;

use crate::error::NotifierError;
use crate::retry::parse_retry_after;
use crate::settings::ReportSettings;

/// A receiver in the same network answers a connection at once; one that does not within this is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than any server's own: reusing a connection that the server just closed would look like an outage.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How much of an answer's body is read, to be thrown away, so that its connection can be used again.
const DRAIN_LIMIT: usize = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Posts to one destination.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    client: Client,
    url: Url,
    timeout: Duration,
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver took it.
    Delivered { status: u16 },
    /// The receiver will never take it.
    Refused { status: u16 },
    /// An error that counts against the report.
    Failed {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// Nobody can take any report now, and this one was not taken.
    Unavailable {
        why: String,
        retry_after: Option<Duration>,
    },
    /// It was sent, and no answer came from the receiver itself: it may have been taken.
    Unanswered {
        why: String,
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// Its word in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Unavailable { .. } => "unavailable",
            Self::Unanswered { .. } => "unanswered",
        }
    }
}

/// The client of all destinations: no redirects, no proxy credentials, no `Authorization`.
pub(crate) fn client(settings: &ReportSettings) -> Result<Client, NotifierError> {
    bellhop_service::telemetry::install_crypto_provider();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("bellhop/", env!("CARGO_PKG_VERSION")));
    let builder = match &settings.report_ca_file {
        Some(path) => {
            let refuse = |cause: Box<dyn std::error::Error + Send + Sync>| {
                NotifierError::CertificateAuthority {
                    path: path.clone(),
                    cause,
                }
            };
            let pem = std::fs::read(path).map_err(|error| refuse(error.into()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| refuse(error.into()))?;
            if certificates.is_empty() {
                return Err(refuse("it holds no certificate".into()));
            }
            builder.tls_certs_merge(certificates)
        }
        None => builder,
    };
    builder.build().map_err(NotifierError::Client)
}

impl Sender {
    pub(crate) fn new(client: Client, url: Url, timeout: Duration) -> Self {
        Self {
            client,
            url,
            timeout,
        }
    }

    /// How long a try may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Posts these bytes with this signature over them, as part of a try that began then.
    pub(crate) async fn post(
        &self,
        body: Vec<u8>,
        signature: &str,
        traceparent: Option<&TraceParent>,
        began: Instant,
    ) -> Outcome {
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout.saturating_sub(began.elapsed()))
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )
            .header(SIGNATURE_HEADER, signature)
            .body(body);
        if let Some(traceparent) = traceparent {
            request = request.header(TraceParent::HEADER, traceparent.as_str());
        }
        self.send(request).await
    }

    /// Whether anybody answers there, without asking for anything: a GET does nothing, and any answer of the receiver itself
    /// will do. A report that nobody answers may have been taken all the same; sent as a probe it would be taken again and again.
    ///
    /// # Errors
    /// Why nobody does, and for how long the destination is to be left alone.
    pub(crate) async fn look(&self) -> Result<(), (String, Option<Duration>)> {
        let request = self.client.get(self.url.clone()).timeout(self.timeout);
        match self.send(request).await {
            Outcome::Unavailable { why, retry_after }
            | Outcome::Unanswered { why, retry_after } => Err((why, retry_after)),
            _ => Ok(()),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Outcome {
        match request.send().await {
            Ok(response) => {
                let retry_after = response
                    .headers()
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| parse_retry_after(value, Timestamp::now()));
                let outcome = judge(response.status(), retry_after);
                drain(response).await;
                outcome
            }
            Err(error) => {
                let (why, retry_after) = (self.explain(&error), None);
                if error.is_connect() {
                    Outcome::Unavailable { why, retry_after }
                } else {
                    Outcome::Unanswered { why, retry_after }
                }
            }
        }
    }

    /// Why there was no answer, in words, without the address.
    fn explain(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() && !error.is_connect() {
            return format!("no answer within {} s", self.timeout.as_secs_f64());
        }
        let what = if error.is_connect() {
            "cannot connect"
        } else {
            "the connection broke before an answer came"
        };
        let mut cause = std::error::Error::source(error);
        let mut root = None;
        while let Some(error) = cause {
            root = Some(error.to_string());
            cause = error.source();
        }
        match root {
            Some(root) => format!("{what}: {root}"),
            None => what.to_owned(),
        }
    }
}

/// What an answer's status means.
pub(crate) fn judge(status: StatusCode, retry_after: Option<Duration>) -> Outcome {
    let code = status.as_u16();
    match code {
        200..=299 => Outcome::Delivered { status: code },
        408 | 425 | 429 | 503 => Outcome::Unavailable {
            why: format!("it answers {status}"),
            retry_after,
        },
        502 | 504 => Outcome::Unanswered {
            why: format!("it answers {status}"),
            retry_after,
        },
        300..=399 => Outcome::Unavailable {
            why: format!(
                "it answers {status}, and redirects are not followed: set the endpoint to its final address"
            ),
            retry_after,
        },
        400..=499 => Outcome::Refused { status: code },
        _ => Outcome::Failed {
            status: code,
            retry_after,
        },
    }
}

async fn drain(mut response: Response) {
    let read = async {
        let mut size = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            size += chunk.len();
            if size > DRAIN_LIMIT {
                break;
            }
        }
    };
    // What is left unread costs the connection and nothing else.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, read).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name_of(status: u16) -> &'static str {
        judge(StatusCode::from_u16(status).unwrap(), None).name()
    }

    #[test]
    fn what_the_receiver_will_never_take_is_told_from_what_it_can_t_take_now() {
        for status in [200, 201, 202, 204] {
            assert_eq!(name_of(status), "delivered");
        }
        for status in [400, 401, 403, 404, 405, 413, 415, 422] {
            assert_eq!(name_of(status), "refused");
        }
        for status in [301, 302, 307, 408, 425, 429, 503] {
            assert_eq!(name_of(status), "unavailable");
        }
        for status in [502, 504] {
            assert_eq!(name_of(status), "unanswered");
        }
        for status in [100, 500, 501, 505, 507] {
            assert_eq!(name_of(status), "failed");
        }
    }

    #[test]
    fn a_certificate_authority_that_can_t_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let missing = file.path().join("missing");
        for path in [file.path(), &missing] {
            let argument = format!("--report-ca-file={}", path.display());
            let settings = bellhop_service::settings::parse::<crate::NotifierSettings>([
                "notifier", &argument,
            ]);
            let error = client(&settings.unwrap().reports).unwrap_err().to_string();
            assert!(
                error.starts_with("REPORT_CA_FILE") && error.contains(path.to_str().unwrap()),
                "{error}"
            );
        }
    }
}
