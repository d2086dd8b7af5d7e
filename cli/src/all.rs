//! All three services in one process: for a small site, or a first look.

use std::time::Duration;

use bellhop_ingress::IngressSettings;
use bellhop_notifier::NotifierSettings;
use bellhop_provisioner::ProvisionerSettings;
use bellhop_service::settings::{TelemetrySettings, parse};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// A failed service is started again after this at the latest; one that ran longer begins with the shortest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

/// Runs all three until told to stop, or the ingress fails: nobody sends a webhook again, so it runs on whatever becomes of
/// the other two, which are started again.
pub(crate) async fn run(settings: AllSettings, stop: CancellationToken) -> Result<(), Failure> {
    let ingress: IngressSettings = parse(["ingress"])?;
    let mut provisioner: ProvisionerSettings = parse(["provisioner"])?;
    let mut notifier: NotifierSettings = parse(["notifier"])?;
    provisioner.http.port = settings.provisioner_port;
    notifier.http.port = settings.notifier_port;
    together(
        async |stop| Ok(bellhop_ingress::run(ingress, stop).await?),
        move |stop| {
            let settings = provisioner.clone();
            async move { Ok(bellhop_provisioner::run(settings, stop).await?) }
        },
        move |stop| {
            let settings = notifier.clone();
            async move { Ok(bellhop_notifier::run(settings, stop).await?) }
        },
        stop,
    )
    .await
}

async fn together<P, N>(
    ingress: impl AsyncFnOnce(CancellationToken) -> Result<(), Failure>,
    provisioner: impl Fn(CancellationToken) -> P,
    notifier: impl Fn(CancellationToken) -> N,
    stop: CancellationToken,
) -> Result<(), Failure>
where
    P: Future<Output = Result<(), Failure>> + Send + 'static,
    N: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (ingress, provisioner, notifier) = tokio::join!(
        async {
            let result = ingress(stop.child_token()).await;
            stop.cancel();
            result
        },
        keep_running("provisioner", provisioner, &stop),
        keep_running("notifier", notifier, &stop),
    );
    ingress.and(provisioner).and(notifier)
}

/// Runs a service, and again whenever it ends by itself, until told to stop. Returns how it ended then.
async fn keep_running<F>(
    service: &'static str,
    run: impl Fn(CancellationToken) -> F,
    stop: &CancellationToken,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut failures = 0;
    loop {
        let own = stop.child_token();
        let began = Instant::now();
        // A task of its own: a panic ends it, and nothing else.
        let ended = tokio::spawn(run(own.clone())).await;
        // What it may have left running, such as the server on its port.
        own.cancel();
        let result = ended.unwrap_or_else(|error| Err(error.into()));
        if stop.is_cancelled() {
            return result;
        }
        failures = if began.elapsed() < LONGEST_PAUSE {
            failures + 1
        } else {
            1
        };
        let pause = pause_after(failures);
        let error = result
            .err()
            .unwrap_or_else(|| "it ended without being told to".into());
        tracing::error!(
            service,
            error = error.as_ref() as &dyn std::error::Error,
            ?pause,
            "a service can't go on; the ingress does; starting it again after a pause"
        );
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// How long to wait after so many failures in a row: 1, 2, 4 … 60 s.
fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_secs(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn until_stopped(stop: CancellationToken) -> Result<(), Failure> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_fails_is_started_again_while_the_ingress_runs_on() {
        let stop = CancellationToken::new();
        let (provisioners, notifiers) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (starts, panics) = (provisioners.clone(), notifiers.clone());
        let told = stop.clone();
        let ingress = async |stop: CancellationToken| {
            let mut both = 0;
            while both < 3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(!stop.is_cancelled(), "the ingress is told to stop");
                let counts = [&provisioners, &notifiers].map(|count| count.load(Ordering::SeqCst));
                both = counts.into_iter().min().unwrap();
            }
            told.cancel();
            Ok(())
        };
        let ended = together(
            ingress,
            // The third one runs until it is told to stop, and has its port for itself.
            move |stop| {
                let earlier = starts.fetch_add(1, Ordering::SeqCst);
                async move {
                    if earlier < 2 {
                        Err("no way to Kubernetes".into())
                    } else {
                        until_stopped(stop).await
                    }
                }
            },
            move |_| {
                panics.fetch_add(1, Ordering::SeqCst);
                async { panic!("a bug in the notifier") }
            },
            stop.clone(),
        );
        let ended = tokio::time::timeout(Duration::from_secs(3600), ended).await;
        ended.unwrap().unwrap();
        assert_eq!(provisioners.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ingress_that_fails_ends_all() {
        let stop = CancellationToken::new();
        let ended = together(
            async |_| Err("the port is taken".into()),
            until_stopped,
            |_| async { Err("it fails too, and waits to be started again".into()) },
            stop,
        );
        let ended = tokio::time::timeout(Duration::from_secs(3600), ended).await;
        assert_eq!(ended.unwrap().unwrap_err().to_string(), "the port is taken");
    }

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let pauses = [1, 2, 3, 6, 7, 8, u32::MAX].map(|failures| pause_after(failures).as_secs());
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
    }
}
