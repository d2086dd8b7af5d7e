//! The connection to the broker; [`publish`] is how anything is stored there.

mod publish;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection};
use bellhop_domain::id::LedgerId;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

pub(crate) use self::publish::{PublishFailure, not_a_message};
use crate::error::{EventStoreError, SetupError};
use crate::settings::EventStoreSettings;
use crate::streams;

/// How long one try to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the client waits for the acknowledgement of a publish: more than any caller does, whose own limit counts.
const LONGEST_PUBLISH: Duration = Duration::from_secs(60);

/// The broker and what is stored there. Cheap to clone; all clones share one connection, which mends itself for ever.
#[derive(Clone, Debug)]
pub struct EventStore {
    pub(crate) client: Client,
    pub(crate) context: Context,
    publishing: Context,
    pub(crate) settings: Arc<EventStoreSettings>,
    /// See [`EventStoreSettings::prefix`].
    prefix: Option<Arc<str>>,
    ledger_id: Arc<OnceLock<LedgerId>>,
    /// The connection over which LEDGER was last seen to be that ledger.
    pub(crate) ledger_seen_over: Arc<AtomicU64>,
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
        let mut options = options(settings, client_name, connected).await?;
        if let Some((user, password)) = servers.iter().find_map(user_and_password) {
            options = options.user_and_password(user, password);
        }
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
            prefix: settings.prefix().map(Arc::from),
            ledger_id: Arc::default(),
            ledger_seen_over: Arc::new(AtomicU64::new(u64::MAX)),
            connections,
        })
    }

    /// Checks the streams and buckets; makes those that are missing, where the settings allow it.
    ///
    /// # Errors
    /// Where one is missing and may not be made, or is set up so that it would lose what is stored.
    pub async fn prepare(&self) -> Result<(), SetupError> {
        let ledger_id = streams::prepare(self, self.settings.create_streams).await?;
        // A second call finds the same ledger, or the stream was made anew under us: the first id stays, and what follows or
        // appends is refused.
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

    /// Which ledger this is; none before [`EventStore::prepare`].
    pub(crate) fn prepared_ledger(&self) -> Option<&LedgerId> {
        self.ledger_id.get()
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == connection::State::Connected
    }

    /// Changes each time the connection was made anew: a pull request that was waiting is lost with the old one, and only a
    /// missing heartbeat would tell.
    pub fn connections(&self) -> watch::Receiver<u64> {
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
        self.prefix
            .as_ref()
            .map_or_else(|| name.to_owned(), |prefix| format!("{prefix}_{name}"))
    }

    /// A subject with the prefix of this installation.
    pub(crate) fn subject(&self, subject: &str) -> String {
        self.prefix.as_ref().map_or_else(
            || subject.to_owned(),
            |prefix| format!("{prefix}.{subject}"),
        )
    }

    /// A subject without the prefix of this installation.
    pub(crate) fn without_prefix<'a>(&self, subject: &'a str) -> &'a str {
        let stripped = self
            .prefix
            .as_ref()
            .and_then(|prefix| subject.strip_prefix(prefix.as_ref())?.strip_prefix('.'));
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

    /// The message at a sequence, as the stream's leader knows it; none where there is none.
    pub(crate) async fn message_at(
        &self,
        stream: &jetstream::stream::Stream,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, EventStoreError> {
        match stream.get_raw_message(sequence).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
                {
                    Ok(None)
                }
                RawMessageErrorKind::NoMessageFound => Ok(None),
                _ => Err(EventStoreError::broker(
                    format!("read message {sequence}"),
                    error,
                )),
            },
        }
    }

    /// Erases a message from the broker's files; its subject without prefix is one of `subjects`. False where someone else was
    /// first.
    pub(crate) async fn erase(
        &self,
        stream: &jetstream::stream::Stream,
        subjects: &str,
        sequence: u64,
    ) -> Result<bool, EventStoreError> {
        match stream.delete_message(sequence).await {
            Ok(erased) => Ok(erased),
            Err(error) => {
                let next = self.next_in(stream, subjects, sequence).await?;
                if next.is_some_and(|message| message.sequence == sequence) {
                    Err(EventStoreError::broker(
                        format!("erase message {sequence}"),
                        error,
                    ))
                } else {
                    Ok(false)
                }
            }
        }
    }

    /// The first message from the sequence `from` on whose subject without prefix is one of `subjects`, as the stream's leader
    /// knows it; none where there is none. What was deleted in between costs nothing.
    pub(crate) async fn next_in(
        &self,
        stream: &jetstream::stream::Stream,
        subjects: &str,
        from: u64,
    ) -> Result<Option<StreamMessage>, EventStoreError> {
        let subjects = self.subject(subjects);
        match stream
            .get_first_raw_message_by_subject(subjects, from)
            .await
        {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(EventStoreError::broker(
                format!("read the next message from {from} on"),
                error,
            )),
        }
    }
}

async fn options(
    settings: &EventStoreSettings,
    client_name: &str,
    connected: watch::Sender<u64>,
) -> Result<ConnectOptions, EventStoreError> {
    let mut options = ConnectOptions::new()
        .name(client_name)
        // So that a user of the broker can be kept from hearing what others are answered (deploy/nats/permissions.conf).
        .custom_inbox_prefix(format!("_INBOX.{client_name}"))
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
            .credentials(credentials.expose_secret())
            .map_err(|_| EventStoreError::Settings {
                variable: "NATS_CREDS_FILE",
                problem: format!("{} does not hold NATS credentials", path.display()),
            })?;
    }
    if let Some(path) = &settings.nats_nkey_file {
        let seed = read("NATS_NKEY_FILE", path).await?;
        // The client wants a copy of its own, as it signs with it at each new connection.
        options = options.nkey(seed.expose_secret().trim().to_owned());
    }
    if let Some(path) = &settings.nats_ca_file {
        // Whoever checks the broker's certificate does not talk to one without.
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    Ok(options)
}

/// Reads a file with a key, which is wiped from memory when it is no longer used.
async fn read(variable: &'static str, path: &Path) -> Result<SecretString, EventStoreError> {
    tokio::fs::read_to_string(path)
        .await
        .map(SecretString::from)
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

/// The user and the password of a server's URL; the client leaves them out by itself.
fn user_and_password(server: &ServerAddr) -> Option<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((
        decoded(server.username()?),
        decoded(server.password().unwrap_or_default()),
    ))
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
