//! What the ingress is told.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bellhop_event_store::EventStoreSettings;
use bellhop_service::settings::{boolean, positive_seconds, seconds};
use bellhop_service::{HttpSettings, TelemetrySettings, TlsSettings};
use clap::{ArgAction, Args, Parser};
use secrecy::SecretString;

use bellhop_domain::served::ResourceTypes;
use bellhop_domain::served::SiteIds;

/// Receives the reservation system's webhooks and stores each one.
#[derive(Debug, Clone, Parser)]
#[command(name = "ingress")]
pub struct IngressSettings {
    /// Address, port and probes.
    #[command(flatten)]
    pub http: HttpSettings,
    /// The certificate, where it speaks HTTPS.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    /// The broker and its streams.
    #[command(flatten)]
    pub event_store: EventStoreSettings,

    /// The secret that webhooks and reports are signed with, for every webhook id that WEBHOOK_SECRETS_PATH does not name.
    ///
    /// The text that the reservation system showed as `clientSecret` when the webhook was made, as it is: it is not
    /// decoded. Without any secret the ingress does not start, unless ACCEPT_UNSIGNED_WEBHOOKS says so; nor does the
    /// notifier, where it has an endpoint.
    #[arg(
        long,
        env = "WEBHOOK_SECRET",
        help_heading = "Webhook secrets",
        hide_env_values = true
    )]
    pub webhook_secret: Option<SecretString>,

    /// A file with that secret, instead of WEBHOOK_SECRET; or with several, one a line, the newest first.
    ///
    /// All of them are accepted, the first one signs reports. It is read again every few seconds: a change needs no restart.
    #[arg(long, env = "WEBHOOK_SECRET_FILE", help_heading = "Webhook secrets")]
    pub webhook_secret_file: Option<PathBuf>,

    /// Secrets by webhook id: a file (JSON or YAML) like `{"12": "secret", "13": ["new", "old"]}`, or a folder with one
    /// file for each id. The first of several signs reports.
    ///
    /// It is read again every few seconds: a change needs no restart. One that can't be used raises an alarm, and the
    /// secrets stay as they were. At most 64 secrets in all.
    #[arg(long, env = "WEBHOOK_SECRETS_PATH", help_heading = "Webhook secrets")]
    pub webhook_secrets_path: Option<PathBuf>,

    /// Accept webhooks without a signature where no secret is configured at all. For trying out only.
    ///
    /// Whoever reaches the port can then start and end reservations. As soon as there is one secret, every webhook must
    /// be signed, whatever this says.
    #[arg(long, env = "ACCEPT_UNSIGNED_WEBHOOKS", help_heading = "Webhook secrets", default_value = "false", action = ArgAction::Set, value_parser = boolean())]
    pub accept_unsigned_webhooks: bool,

    /// The resource types that Bellhop serves, each with its driver: `TYPE=DRIVER`, comma-separated, case-sensitive.
    ///
    /// The one driver that there is is `baremetalhost`.
    #[arg(long, env = "RESOURCE_TYPES", help_heading = "What is served", default_value = ResourceTypes::DEFAULT)]
    pub resource_types: ResourceTypes,

    /// The ids of the sites that Bellhop serves, each with the namespace of its hosts: `SITE=NAMESPACE`, comma-separated.
    ///
    /// `SITE` alone means K8S_NAMESPACE. A site-wide webhook of the reservation system gets the starts and ends of every site:
    /// those of other sites are stored, alarmed, and not acted on. Unset: all is served in K8S_NAMESPACE while only one site was
    /// ever seen; from the first webhook of a second one on, new starts wait until it is set. Set it for all services alike.
    #[arg(long, env = "SITE_IDS", help_heading = "What is served")]
    pub site_ids: Option<SiteIds>,

    /// The largest body that is accepted, in bytes. Real ones have at most some ten thousand.
    ///
    /// The broker's `max_payload` must be larger by some 32 KiB, for the headers.
    #[arg(
        long,
        env = "MAX_BODY_BYTES",
        help_heading = "Limits of the ingress",
        default_value = "1048576"
    )]
    pub max_body_bytes: NonZeroUsize,

    /// The largest head of a request that is accepted, in bytes: its first line and all headers, of which there may be 100.
    #[arg(
        long,
        env = "MAX_HEADER_BYTES",
        help_heading = "Limits of the ingress",
        default_value = "32768",
        value_parser = clap::value_parser!(u32).range(8192..=1_048_576)
    )]
    pub max_header_bytes: u32,

    /// The most connections that are open at once. A further one gets the place of the client that has been silent longest.
    ///
    /// Times 64 KiB and MAX_HEADER_BYTES, and 16 times MAX_BODY_BYTES, this is the most memory that requests can take.
    #[arg(
        long,
        env = "MAX_CONNECTIONS",
        help_heading = "Limits of the ingress",
        default_value = "256"
    )]
    pub max_connections: NonZeroUsize,

    /// The time that a client has to send a request's head; an idle connection is kept as long.
    #[arg(long, env = "HEADER_READ_TIMEOUT", help_heading = "Limits of the ingress", default_value = "30", value_parser = positive_seconds())]
    pub header_read_timeout: Duration,

    /// The time that a client has to send a request's body.
    #[arg(long, env = "BODY_READ_TIMEOUT", help_heading = "Limits of the ingress", default_value = "10", value_parser = positive_seconds())]
    pub body_read_timeout: Duration,

    /// The time that storing a webhook may take, at the broker and in the spool together; after it the sender is told 503.
    ///
    /// The reservation system's back end waits 10 s for an answer, and sends nothing else meanwhile.
    #[arg(long, env = "STORE_TIMEOUT", help_heading = "Limits of the ingress", default_value = "5", value_parser = positive_seconds())]
    pub store_timeout: Duration,

    /// How long the ingress still takes webhooks when it is told to end (SIGTERM). Meanwhile `/readyz` is 503, and each answer
    /// ends its connection, so that clients come to another ingress.
    ///
    /// Longer than a load balancer takes to notice, and than clients keep an idle connection. With STORE_TIMEOUT and 18 s more it
    /// is to fit into the time that the process is given to end (`terminationGracePeriodSeconds`).
    #[arg(long, env = "SHUTDOWN_DELAY", help_heading = "Limits of the ingress", default_value = "6", value_parser = seconds())]
    pub shutdown_delay: Duration,

    /// Where webhooks wait while the broker is away.
    #[command(flatten)]
    pub spool: SpoolSettings,
}

/// Where webhooks wait while the broker is away.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The spool of the ingress")]
pub struct SpoolSettings {
    /// A folder on a local disk where webhooks wait while the broker does not take them. Unset: they are answered 503, and
    /// are lost.
    ///
    /// It is made where it is missing, and must outlive the process: give each ingress a volume of its own. What waits there
    /// holds keys and e-mail addresses; only the owner of the files may read them.
    #[arg(long, env = "SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,

    /// How many bytes of the disk the spool may take. A real webhook takes 4096, those of a burst less.
    ///
    /// A full spool takes nothing more: while the broker is away too, webhooks are answered 503.
    #[arg(long, env = "SPOOL_MAX_BYTES", default_value = "268435456")]
    pub spool_max_bytes: NonZeroU64,

    /// How long the broker has to acknowledge a webhook before it goes to the spool; at most half of STORE_TIMEOUT.
    ///
    /// While the broker is known to be away it goes there at once.
    #[arg(long, env = "SPOOL_AFTER", default_value = "0.5", value_parser = positive_seconds())]
    pub spool_after: Duration,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_domain::id::SiteId;
    use bellhop_service::settings::parse;

    use super::*;

    #[test]
    fn nothing_but_a_secret_need_be_set() {
        let settings: IngressSettings = parse(["ingress"]).unwrap();
        assert_eq!(settings.max_body_bytes.get(), 1024 * 1024);
        assert_eq!(settings.store_timeout, Duration::from_secs(5));
        assert_eq!(settings.shutdown_delay, Duration::from_secs(6));
        assert!(!settings.accept_unsigned_webhooks);
        assert_eq!(settings.spool.spool_dir, None);
        assert_eq!(settings.spool.spool_after, Duration::from_millis(500));
        assert_eq!(settings.site_ids, None);
        assert_eq!(settings.resource_types.to_string(), "Server=baremetalhost");
    }

    #[test]
    fn a_limit_that_refuses_everything_is_refused_by_name() {
        for (argument, variable) in [
            ("--store-timeout", "STORE_TIMEOUT"),
            ("--body-read-timeout", "BODY_READ_TIMEOUT"),
            ("--header-read-timeout", "HEADER_READ_TIMEOUT"),
            ("--max-connections", "MAX_CONNECTIONS"),
            ("--spool-max-bytes", "SPOOL_MAX_BYTES"),
            ("--spool-after", "SPOOL_AFTER"),
            ("--max-body-bytes", "MAX_BODY_BYTES"),
            ("--resource-types", "RESOURCE_TYPES"),
        ] {
            let error = parse::<IngressSettings>(["ingress", argument, "0"]).unwrap_err();
            assert!(error.to_string().starts_with(variable), "{error}");
        }
    }
    #[test]
    fn sites_are_named_with_their_namespaces_as_for_the_provisioner() {
        let settings: IngressSettings =
            parse(["ingress", "--site-ids", "lab-1=metal3-a,lab-2"]).unwrap();
        assert!(settings.site_ids.unwrap().contains(&SiteId::new("lab-1")));
        let error = parse::<IngressSettings>(["ingress", "--site-ids", "lab-1=Lab"]).unwrap_err();
        assert!(error.to_string().starts_with("SITE_IDS"), "{error}");
    }
}
