//! The provisioner's settings.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bellhop_domain::capacity::Limits;
use bellhop_domain::reservation::{Image, Policy, Terms};
use bellhop_domain::served::{ResourceTypes, ResourceTypesError, SiteIds};
use bellhop_event_store::{EventStoreSettings, Mode};
use bellhop_service::settings::{
    HttpSettings, TelemetrySettings, boolean, positive_seconds, seconds,
};
use clap::{ArgAction, ValueEnum};

/// Folds deliveries into the ledger, and brings the hosts to what the ledger asks for.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "provisioner")]
pub struct ProvisionerSettings {
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    /// Health and metrics.
    #[command(flatten)]
    pub http: HttpSettings,
    /// The broker.
    #[command(flatten)]
    pub event_store: EventStoreSettings,

    /// Which resource types are served, and by which driver: `Type=driver`, with commas between them. Case-sensitive.
    #[arg(long, env = "RESOURCE_TYPES", help_heading = "What is served", value_name = "RESOURCE_TYPES", default_value = ResourceTypes::DEFAULT, value_parser = resource_types)]
    pub resource_types: ResourceTypes,

    /// The ids of the sites that Bellhop serves, each with the namespace of its hosts: `SITE=NAMESPACE`, comma-separated.
    ///
    /// `SITE` alone means K8S_NAMESPACE. A site-wide webhook of the reservation system gets the starts and ends of every site:
    /// those of other sites are stored, alarmed, and not acted on. Unset: all is served in K8S_NAMESPACE while only one site was
    /// ever seen; from the first webhook of a second one on, new starts wait until it is set. Set it for all services alike.
    #[arg(
        long,
        env = "SITE_IDS",
        help_heading = "What is served",
        value_name = "SITE_IDS"
    )]
    pub site_ids: Option<SiteIds>,

    /// The Kubernetes namespace of the BareMetalHosts; of those sites for which SITE_IDS names no other.
    #[arg(
        long,
        env = "K8S_NAMESPACE",
        help_heading = "Kubernetes",
        value_name = "K8S_NAMESPACE",
        default_value = "default"
    )]
    pub k8s_namespace: String,

    /// The API group of the BareMetalHosts.
    #[arg(
        long,
        env = "BMH_API_GROUP",
        help_heading = "Kubernetes",
        value_name = "BMH_API_GROUP",
        default_value = "metal3.io"
    )]
    pub bmh_api_group: String,

    /// The API version of the BareMetalHosts.
    #[arg(
        long,
        env = "BMH_API_VERSION",
        help_heading = "Kubernetes",
        value_name = "BMH_API_VERSION",
        default_value = "v1alpha1"
    )]
    pub bmh_api_version: String,

    /// The plural name of the BareMetalHosts.
    #[arg(
        long,
        env = "BMH_PLURAL",
        help_heading = "Kubernetes",
        value_name = "BMH_PLURAL",
        default_value = "baremetalhosts"
    )]
    pub bmh_plural: String,

    /// The URL of the image that a reservation gets: `http`, `https`, `oci` or `file`.
    ///
    /// What a reservation gets is fixed when its start is accepted: a change counts for later ones.
    #[arg(long, env = "PROVISION_IMAGE", help_heading = "What a reservation gets", value_name = "PROVISION_IMAGE", value_parser = image_url)]
    pub provision_image: String,

    /// The image's checksum, or the URL of a file with it.
    #[arg(
        long,
        env = "PROVISION_CHECKSUM",
        help_heading = "What a reservation gets",
        value_name = "PROVISION_CHECKSUM"
    )]
    pub provision_checksum: Option<String>,

    /// How the checksum was made: md5, sha256, sha512 or auto.
    #[arg(
        long,
        env = "PROVISION_CHECKSUM_TYPE",
        help_heading = "What a reservation gets",
        value_name = "PROVISION_CHECKSUM_TYPE",
        default_value = "sha256"
    )]
    pub provision_checksum_type: ChecksumType,

    /// The image's format, where Metal3 shall not find out by itself: raw, qcow2, vdi, vmdk or live-iso.
    #[arg(
        long,
        env = "PROVISION_FORMAT",
        help_heading = "What a reservation gets",
        value_name = "PROVISION_FORMAT"
    )]
    pub provision_format: Option<ImageFormat>,

    /// A file (YAML or JSON) with images that users may choose from; unset, all get the one of PROVISION_IMAGE.
    ///
    /// By name, each with `url` and, where needed, `checksum`, `checksumType` and `format`, as in the host's `spec.image`. A
    /// booking chooses one by its custom parameters: `{"image": "NAME"}`. Who names none gets PROVISION_IMAGE; the
    /// reservation of one who asks for another fails, and its user is told which there are. Read and checked at the start.
    #[arg(
        long,
        env = "IMAGE_CATALOGUE_FILE",
        help_heading = "What a reservation gets",
        value_name = "IMAGE_CATALOGUE_FILE"
    )]
    pub image_catalogue_file: Option<PathBuf>,

    /// The key in a booking's custom parameters that names an image of IMAGE_CATALOGUE_FILE.
    #[arg(
        long,
        env = "IMAGE_PARAMETER",
        help_heading = "What a reservation gets",
        value_name = "IMAGE_PARAMETER",
        default_value = "image",
        value_parser = parameter
    )]
    pub image_parameter: String,

    /// Has no effect; accepted from the settings of the service that Bellhop replaces, and warned of once at the start.
    ///
    /// A released host loses its image, and is switched off.
    #[arg(
        long,
        env = "DEPROVISION_IMAGE",
        help_heading = "Release",
        value_name = "DEPROVISION_IMAGE"
    )]
    pub deprovision_image: Option<String>,

    /// How long Metal3 may work on one reservation's image before the reservation fails.
    ///
    /// Only the time counts in which it is seen to work: not while the host waits for its turn, is paused or is detached, nor
    /// while the API server is away.
    #[arg(long, env = "PROVISIONING_TIMEOUT", help_heading = "Time limits of a reservation", value_name = "PROVISIONING_TIMEOUT", default_value = "2700", value_parser = positive_seconds())]
    pub provisioning_timeout: Duration,

    /// After so many errors of Metal3 a reservation fails.
    #[arg(long, env = "PROVISIONING_ATTEMPTS", help_heading = "Time limits of a reservation", value_name = "PROVISIONING_ATTEMPTS", default_value = "3",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub provisioning_attempts: u32,

    /// How long after a reservation's end its end event may still come, before its user and the operator are told.
    #[arg(long, env = "DEADLINE_GRACE", help_heading = "Time limits of a reservation", value_name = "DEADLINE_GRACE", default_value = "600", value_parser = seconds())]
    pub deadline_grace: Duration,

    /// How long its host is held after that, before it is released; 0 releases it at once.
    #[arg(long, env = "DEADLINE_HOLD", help_heading = "Time limits of a reservation", value_name = "DEADLINE_HOLD", default_value = "7200", value_parser = seconds())]
    pub deadline_hold: Duration,

    /// So many hosts may be released within ten minutes because no end event came. One more stops such releases: then the
    /// sender's ends are lost, or our clock is wrong, and an operator decides.
    #[arg(
        long,
        env = "DEADLINE_RELEASE_MAX",
        help_heading = "Time limits of a reservation",
        value_name = "DEADLINE_RELEASE_MAX",
        default_value = "5"
    )]
    pub deadline_release_max: usize,

    /// How long before its start a reservation whose start was moved gets its host: the sender's own starts come so early.
    #[arg(
        long,
        env = "START_LEAD",
        help_heading = "Time limits of a reservation",
        value_name = "START_LEAD",
        default_value = "300",
        value_parser = seconds()
    )]
    pub start_lead: Duration,

    /// How long after the start of an announced reservation its start event may still come, before its user and the
    /// operator are told.
    #[arg(long, env = "START_GRACE", help_heading = "Time limits of a reservation", value_name = "START_GRACE", default_value = "120", value_parser = seconds())]
    pub start_grace: Duration,

    /// How many servers may be prepared at once, in all. Further reservations wait for their turn, in the order of their
    /// starts. Unset: no limit but Metal3's own (its `PROVISIONING_LIMIT`, 20 by default).
    ///
    /// A server counts from before it is claimed until it is ready, or until its reservation is over. A change counts for
    /// those that come. Set it for all provisioners alike.
    #[arg(
        long,
        env = "PREPARING_MAX",
        help_heading = "Capacity",
        value_name = "PREPARING_MAX",
        value_parser = clap::value_parser!(NonZeroU32)
    )]
    pub preparing_max: Option<NonZeroU32>,

    /// How many servers of one site (`siteId`) may be prepared at once. Unset: no limit of a site's own.
    #[arg(
        long,
        env = "PREPARING_MAX_PER_SITE",
        help_heading = "Capacity",
        value_name = "PREPARING_MAX_PER_SITE",
        value_parser = clap::value_parser!(NonZeroU32)
    )]
    pub preparing_max_per_site: Option<NonZeroU32>,

    /// The user that tenants log in as.
    #[arg(long, env = "LOGIN_USER", help_heading = "What a reservation gets", value_name = "LOGIN_USER", default_value = "prognose", value_parser = login)]
    pub login_user: String,

    /// What happens to a start without a usable SSH key: `wait` or `provision`.
    ///
    /// `wait`: its user is told, and the reservation waits without a host until `bellhop retry` brings a key, or fails at its end.
    /// `provision`: it gets a
    /// host that only the operator can log in to.
    #[arg(
        long,
        env = "NO_SSH_KEY",
        help_heading = "What a reservation gets",
        value_name = "NO_SSH_KEY",
        default_value = "wait"
    )]
    pub no_ssh_key: NoSshKey,

    /// The operator's own login on every host; none where it is not set. Needs ADMIN_SSH_KEYS_FILE.
    #[arg(long, env = "ADMIN_USER", help_heading = "What a reservation gets", value_name = "ADMIN_USER", value_parser = login)]
    pub admin_user: Option<String>,

    /// File with the operator's own SSH public keys, one a line; read and checked at the start.
    ///
    /// Of the types that users may have: ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256, 384 and 521. Empty lines, and those that
    /// begin with `#`, are left out.
    #[arg(
        long,
        env = "ADMIN_SSH_KEYS_FILE",
        help_heading = "What a reservation gets",
        value_name = "ADMIN_SSH_KEYS_FILE"
    )]
    pub admin_ssh_keys_file: Option<PathBuf>,

    /// File with the site's own cloud-config, which the users are merged into; read and checked at the start.
    #[arg(
        long,
        env = "USER_DATA_BASE_FILE",
        help_heading = "What a reservation gets",
        value_name = "USER_DATA_BASE_FILE"
    )]
    pub user_data_base_file: Option<PathBuf>,

    /// Where users reach a host without the annotation `bellhop.dev/address`: `{name}` and `{namespace}` are the host's.
    ///
    /// For example `{name}.lab.example.org`. Where neither tells, the notification names no address.
    #[arg(
        long,
        env = "HOST_ADDRESS_TEMPLATE",
        help_heading = "What a reservation gets",
        value_name = "HOST_ADDRESS_TEMPLATE",
        value_parser = address_template
    )]
    pub host_address_template: Option<String>,

    /// Whether a host is switched off when it is released, so that no earlier tenant's system boots again.
    ///
    /// One with `disablePowerOff` in its spec stays on.
    #[arg(long, env = "POWER_OFF_AFTER_RELEASE", help_heading = "Release", value_name = "POWER_OFF_AFTER_RELEASE", default_value = "true",
          action = ArgAction::Set, value_parser = boolean())]
    pub power_off_after_release: bool,

    /// Whether a host that was released without being wiped waits for an operator before it is given away again.
    ///
    /// A host with `automatedCleaningMode: disabled` in its spec is released, not wiped; `bellhop allow` gives it away all the
    /// same.
    #[arg(long, env = "REQUIRE_CLEANING", help_heading = "Release", value_name = "REQUIRE_CLEANING", default_value = "true",
          action = ArgAction::Set, value_parser = boolean())]
    pub require_cleaning: bool,

    /// The name of this installation; it stands in an annotation of every host that it holds.
    #[arg(
        long,
        env = "INSTALLATION",
        help_heading = "Kubernetes",
        value_name = "INSTALLATION",
        default_value = "bellhop"
    )]
    pub installation: String,

    /// How long handled deliveries are kept, in days. One that a live reservation refers to is kept longer.
    #[arg(
        long,
        env = "DELIVERIES_RETENTION_DAYS",
        value_name = "DELIVERIES_RETENTION_DAYS",
        default_value = "30"
    )]
    pub deliveries_retention_days: u32,

    /// How often a snapshot of the folded ledger is kept, so that a start need not replay all of it.
    #[arg(long, env = "SNAPSHOT_INTERVAL", value_name = "SNAPSHOT_INTERVAL", default_value = "300", value_parser = positive_seconds())]
    pub snapshot_interval: Duration,

    /// How often every host that is in use is looked at, whether or not anything changed.
    #[arg(long, env = "SWEEP_INTERVAL", help_heading = "Kubernetes", value_name = "SWEEP_INTERVAL", default_value = "60", value_parser = positive_seconds())]
    pub sweep_interval: Duration,
}

/// `spec.image.checksumType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "Metal3's own words")]
pub enum ChecksumType {
    Md5,
    Sha256,
    Sha512,
    Auto,
}

/// `spec.image.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "Metal3's own words")]
pub enum ImageFormat {
    Raw,
    Qcow2,
    Vdi,
    Vmdk,
    LiveIso,
}

/// What happens to a start without a usable SSH key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NoSshKey {
    /// Its reservation waits for one, its host unclaimed.
    Wait,
    /// It gets a host that only the operator can log in to.
    Provision,
}

impl ProvisionerSettings {
    /// What a start that is accepted now gets.
    pub fn terms(&self) -> Terms {
        Terms {
            image: Image {
                name: None,
                url: self.provision_image.clone(),
                checksum: self.provision_checksum.clone(),
                checksum_type: self
                    .provision_checksum
                    .as_ref()
                    .map(|_| word(self.provision_checksum_type)),
                format: self.provision_format.map(word),
            },
            login: self.login_user.clone(),
            without_key: self.no_ssh_key == NoSshKey::Provision,
        }
    }

    /// How many may be prepared at once; none where that is not limited. A shadow prepares nothing.
    pub fn preparing_limits(&self) -> Option<Limits> {
        let limits = Limits::new(self.preparing_max, self.preparing_max_per_site);
        limits.filter(|_| self.event_store.mode == Mode::Live)
    }

    /// Says which settings were given that have no effect.
    pub(crate) fn warn_of_what_has_no_effect(&self) {
        if self.deprovision_image.is_some() {
            tracing::warn!(
                "DEPROVISION_IMAGE has no effect: a released host is emptied and switched off"
            );
        }
    }

    /// How patient to be.
    pub fn policy(&self) -> Policy {
        Policy {
            provisioning_attempts: self.provisioning_attempts,
            provisioning_timeout: self.provisioning_timeout,
            deadline_grace: self.deadline_grace,
            deadline_hold: self.deadline_hold,
            start_lead: self.start_lead,
            start_grace: self.start_grace,
            require_cleaning: self.require_cleaning,
        }
    }
}

/// Metal3's word for a value.
pub(crate) fn word(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .expect("no value of these is hidden")
        .get_name()
        .to_owned()
}

/// The value that Metal3 has this word for.
pub(crate) fn named<V: ValueEnum>(text: &str) -> Result<V, String> {
    V::from_str(text, false).map_err(|_| {
        let words: Vec<String> = V::value_variants()
            .iter()
            .map(|value| word(value.clone()))
            .collect();
        format!("`{text}` is none of {}", words.join(", "))
    })
}

/// Types whose drivers are there.
fn resource_types(text: &str) -> Result<ResourceTypes, String> {
    let types: ResourceTypes = text
        .parse()
        .map_err(|error: ResourceTypesError| error.to_string())?;
    let unknown = types.kinds().find(|kind| kind.as_str() != "baremetalhost");
    match unknown.map(|kind| format!("there is no driver `{kind}`; there is: baremetalhost")) {
        Some(problem) => Err(problem),
        None => Ok(types),
    }
}

pub(crate) fn image_url(text: &str) -> Result<String, String> {
    let url: url::Url = text
        .parse()
        .map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" | "oci" | "file" => Ok(text.to_owned()),
        other => Err(format!("Metal3 does not fetch `{other}:` URLs")),
    }
}

/// A key in custom parameters. Texts for users repeat it.
fn parameter(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=32).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("not a key: letters, digits, `.`, `_`, `-`, at most 32".to_owned())
    }
}

/// Text with no placeholders but those that are filled in.
fn address_template(text: &str) -> Result<String, String> {
    let rest = text.replace("{name}", "").replace("{namespace}", "");
    if text.trim().is_empty() {
        Err("it is empty".to_owned())
    } else if rest.contains(['{', '}']) {
        Err(
            "only {name} and {namespace} are filled in; nothing else may stand in braces"
                .to_owned(),
        )
    } else {
        Ok(text.to_owned())
    }
}

/// A Linux user name (`useradd(8)`).
fn login(text: &str) -> Result<String, String> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if text.len() <= 32 && text.starts_with(first) && text.chars().all(fits) && text != "root" {
        Ok(text.to_owned())
    } else {
        Err(
            "not a user name: lower-case letters, digits, `.`, `_`, `-`, at most 32, not root"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_service::settings::parse;

    use super::*;

    #[test]
    fn a_capacity_of_nothing_is_refused_by_name_and_none_is_no_limit() {
        let settings = |further: &[&'static str]| {
            let arguments = ["provisioner", "--provision-image", "http://images/noble"];
            parse::<ProvisionerSettings>(arguments.iter().chain(further).copied())
        };
        assert_eq!(settings(&[]).unwrap().preparing_limits(), None);
        for (argument, variable) in [
            ("--preparing-max", "PREPARING_MAX"),
            ("--preparing-max-per-site", "PREPARING_MAX_PER_SITE"),
        ] {
            let limited = settings(&[argument, "2"]).unwrap();
            assert!(limited.preparing_limits().is_some());
            let error = settings(&[argument, "0"]).unwrap_err().to_string();
            assert!(error.starts_with(variable), "{error}");
        }
    }

    #[test]
    fn an_address_may_name_the_host_and_its_namespace_or_neither() {
        for template in ["{name}.{namespace}.lab", "gateway.lab", "{name}-{name}"] {
            let arguments = ["provisioner", "--provision-image", "http://images/noble"];
            let further = ["--host-address-template", template];
            let settings: ProvisionerSettings =
                parse(arguments.into_iter().chain(further)).unwrap();
            assert_eq!(settings.host_address_template.as_deref(), Some(template));
        }
    }

    #[test]
    fn a_value_that_can_t_be_one_is_refused_by_its_variable() {
        for (argument, value, variable) in [
            ("--image-parameter", "my image", "IMAGE_PARAMETER"),
            ("--provision-image", "noble", "PROVISION_IMAGE"),
            ("--login-user", "root", "LOGIN_USER"),
            ("--site-ids", "lab-1=Lab", "SITE_IDS"),
            (
                "--host-address-template",
                "{host}.lab",
                "HOST_ADDRESS_TEMPLATE",
            ),
            (
                "--host-address-template",
                "{name}.{namespace.lab",
                "HOST_ADDRESS_TEMPLATE",
            ),
            (
                "--host-address-template",
                "{{name}}.lab",
                "HOST_ADDRESS_TEMPLATE",
            ),
        ] {
            let error = parse::<ProvisionerSettings>(["provisioner", argument, value]).unwrap_err();
            assert!(error.to_string().starts_with(variable), "{error}");
        }
    }
}
