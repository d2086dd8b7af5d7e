//! What the log says of a broker that is away.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_end_to_end::{PATIENCE, System, SystemSettings, wait_for};
use serde_json::Value;

/// How long the broker is away: many tries to reach it again.
const AWAY: Duration = Duration::from_secs(10);

/// How often each service said each thing that is above level info or about its connection, but for the details.
fn told(system: &System) -> BTreeMap<(String, String), usize> {
    let mut told = BTreeMap::new();
    for (path, log) in system.logs() {
        let service = path.file_stem().unwrap().to_string_lossy().into_owned();
        for line in log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            let text = |name: &str| line[name].as_str().unwrap_or_default();
            let message = text("message").split(": ").next().unwrap_or_default();
            let of_connection = message.contains("to NATS") || message.starts_with("nats is");
            if ["WARN", "ERROR"].contains(&text("level")) || of_connection {
                *told
                    .entry((service.clone(), message.to_owned()))
                    .or_default() += 1;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_and_comes_back_is_a_line_each_in_the_log_and_no_try_in_between_is() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    let before = told(&system);
    let since = |system: &System, service: &str, message: &str| {
        let key = (service.to_owned(), message.to_owned());
        let count = |told: &BTreeMap<_, usize>| told.get(&key).copied().unwrap_or_default();
        count(&told(system)) - count(&before)
    };
    let services = ["ingress-0", "provisioner-0", "notifier-0"];
    system.nats.kill().unwrap();
    tokio::time::sleep(AWAY).await;
    system.nats.restart().unwrap();
    let well = wait_for(PATIENCE, async || {
        let mut services = services.iter();
        services
            .all(|service| since(&system, service, "nats is ok") > 0)
            .then_some(())
    });
    well.await.unwrap();
    for service in services {
        for message in [
            "lost the connection to NATS; connecting again",
            "connected to NATS",
            "nats is ok",
        ] {
            assert_eq!(since(&system, service, message), 1, "{service}: {message}");
        }
        let away = ["nats is down", "nats is degraded"];
        let away = away.map(|message| since(&system, service, message));
        assert_eq!(away.iter().sum::<usize>(), 1, "{service}");
    }
    // A service has a few readers at the broker; each may say once that it waits.
    for ((service, message), count) in told(&system) {
        let new = count
            - before
                .get(&(service.clone(), message.clone()))
                .unwrap_or(&0);
        assert!(new <= 6, "{service} said {new} times: {message}");
    }
}
