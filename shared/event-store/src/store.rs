//! The connection to the broker, and how anything is stored there.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection};
use bellhop_domain::id::LedgerId;
use tokio::sync::watch;

use crate::error::{EventStoreError, SetupError, StoreError};
use crate::message::{BadHeader, is_wrong_sequence};
use crate::settings::EventStoreSettings;
use crate::streams;

/// How long one try to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the client waits for the acknowledgement of a publish: more than any caller does, whose own limit counts.
const LONGEST_PUBLISH: Duration = Duration::from_secs(60);
/// How often to look whether the connection stands again.
const RECONNECTED: Duration = Duration::from_millis(20);

/// The broker and what is stored there. Cheap to clone; all clones share one connection, which mends itself for ever.
#[derive(Clone, Debug)]
pub struct EventStore {
    pub(crate) client: Client,
    pub(crate) context: Context,
    publishing: Context,
    pub(crate) settings: Arc<EventStoreSettings>,
    ledger_id: Arc<OnceLock<LedgerId>>,
    connections: watch::Receiver<u64>,
}

/// Where a message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence in the stream; of the earlier one where it is a duplicate.
    pub sequence: u64,
    /// The broker knows its message id already, and stored nothing.
    pub duplicate: bool,
}

impl EventStore {
    /// Connects as `client_name`.
    ///
    /// # Errors
    /// Where the settings can't be used, or no server answers within ten seconds. A connection that is lost later comes back
    /// by itself.
    pub async fn connect(
        settings: &EventStoreSettings,
        client_name: &str,
    ) -> Result<Self, EventStoreError> {
        let (connected, connections) = watch::channel(0);
        let servers = servers(&settings.nats_url)?;
        let options = options(settings, client_name, connected).await?;
        let client = options
            .connect(servers)
            .await
            .map_err(|error| EventStoreError::Connect {
                url: without_credentials(&settings.nats_url),
                cause: Box::new(error),
            })?;
        let context = |timeout| ContextBuilder::new().timeout(timeout).build(client.clone());
        Ok(Self {
            context: context(REQUEST_TIMEOUT),
            publishing: context(LONGEST_PUBLISH),
            client,
            settings: Arc::new(settings.clone()),
            ledger_id: Arc::default(),
            connections,
        })
    }

    /// Checks the streams and buckets; makes those that are missing, where the settings allow it.
    ///
    /// # Errors
    /// Where one is missing and may not be made, or is set up so that it would lose what is stored.
    pub async fn prepare(&self) -> Result<(), SetupError> {
        let ledger_id = streams::prepare(self, self.settings.create_streams).await?;
        // A second call finds the same ledger, or the stream was made anew under us: the first id stays, and fences that
        // carry another one are respected.
        self.ledger_id.get_or_init(|| ledger_id);
        Ok(())
    }

    /// As [`EventStore::prepare`], but only what the ingress writes: DELIVERIES and DEAD_LETTERS. What is wrong with another
    /// service's stream must not turn webhooks away.
    ///
    /// # Errors
    /// As for [`EventStore::prepare`].
    pub async fn prepare_deliveries(&self) -> Result<(), SetupError> {
        streams::prepare_deliveries(self, self.settings.create_streams).await
    }

    /// Makes the streams and buckets whatever the settings say: what `bellhop setup` does.
    ///
    /// # Errors
    /// As for [`EventStore::prepare`].
    pub async fn set_up(&self) -> Result<(), SetupError> {
        let ledger_id = streams::prepare(self, true).await?;
        self.make_snapshots(self.stream_name(streams::SNAPSHOTS))
            .await?;
        self.ledger_id.get_or_init(|| ledger_id);
        Ok(())
    }

    /// Which ledger this is. Call [`EventStore::prepare`] first.
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger_id
            .get()
            .cloned()
            .expect("the streams were prepared before the ledger's id is asked for")
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == connection::State::Connected
    }

    /// Changes each time the connection was made anew: a pull request that was waiting is lost with the old one, and only a
    /// missing heartbeat would tell.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        let mut connections = self.connections.clone();
        connections.mark_unchanged();
        connections
    }

    /// Lets what is being sent leave, for at most a second.
    pub async fn flush(&self) {
        if let Ok(Err(error)) =
            tokio::time::timeout(Duration::from_secs(1), self.client.flush()).await
        {
            tracing::warn!(%error, "could not flush the connection to NATS");
        }
    }

    /// The name of a stream or bucket with the prefix of this installation.
    pub(crate) fn stream_name(&self, name: &str) -> String {
        self.settings
            .stream_prefix
            .as_ref()
            .map_or_else(|| name.to_owned(), |prefix| format!("{prefix}_{name}"))
    }

    /// A subject with the prefix of this installation.
    pub(crate) fn subject(&self, subject: &str) -> String {
        self.settings.stream_prefix.as_ref().map_or_else(
            || subject.to_owned(),
            |prefix| format!("{prefix}.{subject}"),
        )
    }

    /// A subject without the prefix of this installation.
    pub(crate) fn without_prefix<'a>(&self, subject: &'a str) -> &'a str {
        let stripped = self
            .settings
            .stream_prefix
            .as_ref()
            .and_then(|prefix| subject.strip_prefix(prefix.as_str())?.strip_prefix('.'));
        stripped.unwrap_or(subject)
    }

    pub(crate) async fn stream(
        &self,
        name: &str,
    ) -> Result<jetstream::stream::Stream, EventStoreError> {
        let name = self.stream_name(name);
        let stream = self.context.get_stream(&name).await;
        stream.map_err(|error| EventStoreError::broker(format!("look at stream {name}"), error))
    }

    /// Publishes and waits until the broker confirms that it is stored.
    pub(crate) async fn publish(
        &self,
        subject: String,
        message: PublishMessage,
        what: &str,
        timeout: Duration,
    ) -> Result<Stored, PublishFailure> {
        let began = Instant::now();
        let unconfirmed = || StoreError::Unconfirmed {
            what: what.to_owned(),
            seconds: began.elapsed().as_secs_f64(),
        };
        let mut connections = self.connections();
        let publish = async {
            loop {
                // What is sent while the connection is away would wait in the client's memory, and leave after the caller gave up.
                while !self.is_connected() {
                    tokio::time::sleep(RECONNECTED).await;
                }
                connections.mark_unchanged();
                let sent = async {
                    self.publishing
                        .send_publish(subject.clone(), message.clone())
                        .await?
                        .await
                };
                // The answer to what was sent over a connection that is lost comes no more. Sending it again stores nothing
                // twice: by its message id, or by the sequence that it expects.
                tokio::select! {
                    biased;
                    answer = sent => return answer,
                    _ = connections.changed() => {}
                }
            }
        };
        match tokio::time::timeout(timeout, publish).await {
            Err(_elapsed) => Err(PublishFailure::Store(unconfirmed())),
            Ok(Ok(ack)) => Ok(Stored {
                sequence: ack.sequence,
                duplicate: ack.duplicate,
            }),
            Ok(Err(error)) if is_wrong_sequence(&error) => Err(PublishFailure::WrongSequence),
            Ok(Err(error)) => Err(PublishFailure::Store(match error.kind() {
                // No stream answers: JetStream is starting, or has no leader now.
                PublishErrorKind::TimedOut
                | PublishErrorKind::BrokenPipe
                | PublishErrorKind::StreamNotFound => unconfirmed(),
                PublishErrorKind::MaxPayloadExceeded => StoreError::NotAMessage {
                    what: what.to_owned(),
                    problem: "it is larger than NATS takes (max_payload)".to_owned(),
                },
                _ => StoreError::Refused {
                    what: what.to_owned(),
                    cause: Box::new(error),
                },
            })),
        }
    }
}

/// Why a publish failed.
pub(crate) enum PublishFailure {
    /// The subject's last sequence is not the expected one.
    WrongSequence,
    /// Anything else.
    Store(StoreError),
}

impl PublishFailure {
    /// For messages that expect no sequence.
    pub(crate) fn into_store_error(self, what: &str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::WrongSequence => StoreError::Refused {
                what: what.to_owned(),
                cause: "unexpected sequence".into(),
            },
        }
    }
}

pub(crate) fn not_a_message(what: &str, header: &BadHeader) -> StoreError {
    StoreError::NotAMessage {
        what: what.to_owned(),
        problem: format!("header {} holds what a header can't", header.name),
    }
}

async fn options(
    settings: &EventStoreSettings,
    client_name: &str,
    connected: watch::Sender<u64>,
) -> Result<ConnectOptions, EventStoreError> {
    let mut options = ConnectOptions::new()
        .name(client_name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(Duration::from_secs(10))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            // 0, 0.1, 0.2, 0.4 … 4 s.
            let doublings = u32::try_from(attempts.saturating_sub(2))
                .unwrap_or(u32::MAX)
                .min(6);
            if attempts <= 1 {
                Duration::ZERO
            } else {
                Duration::from_millis(100 << doublings).min(Duration::from_secs(4))
            }
        })
        .event_callback(move |event| {
            log_event(&event);
            if matches!(event, Event::Connected) {
                connected.send_modify(|count| *count += 1);
            }
            std::future::ready(())
        });
    if let Some(path) = &settings.nats_creds_file {
        let credentials = read("NATS_CREDS_FILE", path).await?;
        options = options
            .credentials(&credentials)
            .map_err(|_| EventStoreError::Settings {
                variable: "NATS_CREDS_FILE",
                problem: format!("{} does not hold NATS credentials", path.display()),
            })?;
    }
    if let Some(path) = &settings.nats_nkey_file {
        options = options.nkey(read("NATS_NKEY_FILE", path).await?.trim().to_owned());
    }
    if let Some(path) = &settings.nats_ca_file {
        options = options.add_root_certificates(path.clone());
    }
    Ok(options)
}

async fn read(variable: &'static str, path: &Path) -> Result<String, EventStoreError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|error| EventStoreError::Settings {
            variable,
            problem: format!("cannot read {}: {error}", path.display()),
        })
}

fn log_event(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("lost the connection to NATS; connecting again"),
        Event::ClientError(error) => tracing::debug!(%error, "NATS client error"),
        Event::ServerError(error) => tracing::warn!(%error, "NATS server error"),
        Event::SlowConsumer(_) => tracing::warn!("this process reads too slowly from NATS"),
        other => tracing::debug!(event = %other, "NATS connection"),
    }
}

/// The servers of `NATS_URL`.
fn servers(urls: &str) -> Result<Vec<ServerAddr>, EventStoreError> {
    let unusable = |problem: String| EventStoreError::Settings {
        variable: "NATS_URL",
        problem,
    };
    let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
    let servers: Vec<ServerAddr> = urls
        .map(|url| {
            url.parse().map_err(|_| {
                unusable(format!(
                    "`{}` is not the URL of a NATS server",
                    without_credentials(url)
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    if servers.is_empty() {
        Err(unusable("it names no server".to_owned()))
    } else {
        Ok(servers)
    }
}

/// A list of URLs without user names and passwords.
fn without_credentials(urls: &str) -> String {
    let strip = |url: &str| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://{}", &url[..scheme], &url[at + 1..])
        }
        (None, Some(at)) => url[at + 1..].to_owned(),
        _ => url.to_owned(),
    };
    urls.split(',')
        .map(|url| strip(url.trim()))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn several_servers_of_a_cluster_are_named_with_commas() {
        assert_eq!(servers("nats://a:4222, nats://b:4223").unwrap().len(), 2);
        for unusable in ["", " , ", "nats://a:99999999"] {
            assert_eq!(
                servers(unusable).unwrap_err().class(),
                crate::ErrorClass::Permanent,
                "{unusable}"
            );
        }
        let error = servers("nats://me:secret@a:99999999").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn an_error_shows_no_password() {
        assert_eq!(
            without_credentials("nats://me:secret@a:4222, user:pass@b"),
            "nats://a:4222,b"
        );
        assert_eq!(without_credentials("nats://a:4222"), "nats://a:4222");
    }
}
