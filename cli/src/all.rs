//! All three services in one process: for a small site, or a first look.

use bellhop_ingress::IngressSettings;
use bellhop_notifier::NotifierSettings;
use bellhop_provisioner::ProvisionerSettings;
use bellhop_service::settings::{TelemetrySettings, parse};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// The settings of all three services come from their variables; see `bellhop ingress --help` and so on.
#[derive(Debug, clap::Args)]
pub(crate) struct AllSettings {
    #[command(flatten)]
    telemetry: TelemetrySettings,

    /// The port of the provisioner's health and metrics; PORT is the ingress's
    #[arg(
        long,
        env = "PROVISIONER_PORT",
        help_heading = "All services in one process",
        value_name = "PROVISIONER_PORT",
        default_value = "8081"
    )]
    provisioner_port: u16,

    /// The port of the notifier's health and metrics
    #[arg(
        long,
        env = "NOTIFIER_PORT",
        help_heading = "All services in one process",
        value_name = "NOTIFIER_PORT",
        default_value = "8082"
    )]
    notifier_port: u16,
}

impl AllSettings {
    pub(crate) fn telemetry(&self) -> &TelemetrySettings {
        &self.telemetry
    }
}

/// Runs all three until told to stop, or one of them fails: then the others stop too.
pub(crate) async fn run(settings: AllSettings, stop: CancellationToken) -> Result<(), Failure> {
    let ingress: IngressSettings = parse(["ingress"])?;
    let mut provisioner: ProvisionerSettings = parse(["provisioner"])?;
    let mut notifier: NotifierSettings = parse(["notifier"])?;
    provisioner.http.port = settings.provisioner_port;
    notifier.http.port = settings.notifier_port;
    let together = |result: Result<(), Failure>| {
        stop.cancel();
        result
    };
    let (ingress, provisioner, notifier) = tokio::join!(
        async {
            together(
                bellhop_ingress::run(ingress, stop.clone())
                    .await
                    .map_err(Into::into),
            )
        },
        async {
            together(
                bellhop_provisioner::run(provisioner, stop.clone())
                    .await
                    .map_err(Into::into),
            )
        },
        async {
            together(
                bellhop_notifier::run(notifier, stop.clone())
                    .await
                    .map_err(Into::into),
            )
        },
    );
    ingress.and(provisioner).and(notifier)
}
