//! Where the broker is, and how its streams are made.

use std::path::PathBuf;

/// Whether what is decided is also brought about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// It is: hosts are written, and reports are sent.
    #[default]
    Live,
    /// It is only shown, so that Bellhop can be tried beside what is there.
    Shadow,
}

impl Mode {
    /// Its name in settings, and in the metadata of the streams.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The event store's settings, the same for every service.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The broker")]
pub struct EventStoreSettings {
    /// `live`, or `shadow`: receives and decides, and only shows what it would do; nothing is written to Kubernetes, and
    /// nothing is reported.
    ///
    /// A shadow has streams and buckets of its own, next to those of a live installation on the same broker. Neither works on
    /// the other's. Set it for all services alike.
    #[arg(
        long,
        env = "MODE",
        value_name = "MODE",
        value_enum,
        default_value = "live",
        ignore_case = true,
        help_heading = "Mode"
    )]
    pub mode: Mode,

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
            mode: Mode::Live,
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

    /// What stands before the names of all streams, subjects and buckets. A shadow's begin otherwise than those of a live
    /// installation with the same settings.
    pub(crate) fn prefix(&self) -> Option<String> {
        match (self.mode, &self.stream_prefix) {
            (Mode::Live, prefix) => prefix.clone(),
            (Mode::Shadow, None) => Some(Mode::Shadow.to_string()),
            (Mode::Shadow, Some(prefix)) => Some(format!("{prefix}_{}", Mode::Shadow)),
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
