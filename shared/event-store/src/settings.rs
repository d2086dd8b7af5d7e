//! Where the broker is, and how its streams are made.

use std::path::PathBuf;

/// The event store's settings, the same for every service.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The broker")]
pub struct EventStoreSettings {
    /// Where NATS is: one URL, or several of one cluster with commas between them; with user and password in the first where
    /// NATS asks for them (NATS_CREDS_FILE and NATS_NKEY_FILE keep them out of the environment).
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "NATS_URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: String,

    /// File with NATS credentials (`.creds`: a JWT and an nkey seed). Not together with NATS_NKEY_FILE.
    #[arg(long, env = "NATS_CREDS_FILE", value_name = "NATS_CREDS_FILE")]
    pub nats_creds_file: Option<PathBuf>,

    /// File with the nkey seed of this service's NATS user, where the broker knows it by its public key.
    #[arg(
        long,
        env = "NATS_NKEY_FILE",
        value_name = "NATS_NKEY_FILE",
        conflicts_with = "nats_creds_file"
    )]
    pub nats_nkey_file: Option<PathBuf>,

    /// File with the certificate authority (PEM) that NATS' certificate is checked against. With it, nothing is sent but over
    /// TLS.
    #[arg(long, env = "NATS_CA_FILE", value_name = "NATS_CA_FILE")]
    pub nats_ca_file: Option<PathBuf>,

    /// A prefix for all streams, subjects and buckets, so that two installations can share a broker: letters, digits, `-`
    /// and `_`.
    #[arg(long, env = "STREAM_PREFIX", value_name = "STREAM_PREFIX", value_parser = prefix)]
    pub stream_prefix: Option<String>,

    /// How many servers of a NATS cluster keep each stream: 1, 3 or 5. Counts when the streams are made.
    #[arg(long, env = "STREAM_REPLICAS", value_name = "STREAM_REPLICAS", default_value = "1",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub stream_replicas: u8,

    /// Whether a service may make streams that are missing. Otherwise `bellhop setup` makes them.
    #[arg(long, env = "CREATE_STREAMS", value_name = "CREATE_STREAMS", default_value = "true",
          action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub create_streams: bool,

    /// How long the broker recognises a repeated delivery by its id, in seconds. Counts when the streams are made.
    #[arg(
        long,
        env = "DUPLICATE_WINDOW",
        value_name = "DUPLICATE_WINDOW",
        default_value = "120"
    )]
    pub duplicate_window: u64,

    /// How many bytes DELIVERIES may hold before it refuses new ones; -1 for no limit. Counts when the stream is made.
    #[arg(
        long,
        env = "DELIVERIES_MAX_BYTES",
        value_name = "DELIVERIES_MAX_BYTES",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    pub deliveries_max_bytes: i64,
}

impl EventStoreSettings {
    /// The defaults with a broker at `url`.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            nats_url: url.into(),
            nats_creds_file: None,
            nats_nkey_file: None,
            nats_ca_file: None,
            stream_prefix: None,
            stream_replicas: 1,
            create_streams: true,
            duplicate_window: 120,
            deliveries_max_bytes: -1,
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("only letters, digits, `-` and `_`".to_owned())
    }
}
