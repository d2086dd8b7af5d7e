//! Never two holders, by the cluster's own record of writes; and how each host was left.

use bellhop_simulator::cluster::{HostState, StateRecord, Write};
use jiff::Timestamp;
use serde_json::Value;

use super::Finding;
use crate::chaos::bookings::USERS;
use crate::chaos::evidence::HostRecord;
use crate::chaos::load::Booked;
use crate::site::{self, is_clean, is_provisioned, text};

/// A host goes from one holder to nobody, and only then, clean, to the next; each claims it no more often than it may, which
/// `rounds` says.
pub(in crate::chaos) fn history(
    record: &HostRecord,
    rounds: impl Fn(i64) -> usize,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut holder, mut image) = (String::new(), String::new());
    let mut claimed: Vec<String> = Vec::new();
    let name = site::node(record.server);
    for write in record.writes.iter().filter(|write| write.was_accepted()) {
        let mut wrong = |check, what: String| {
            findings.push(Finding {
                check,
                at: Some(write.at),
                what: format!("{name}: {what}"),
            });
        };
        let spec = write.spec_after().unwrap_or(&Value::Null);
        let next = text(spec, "/consumerRef/name").to_owned();
        let next_image = text(spec, "/image/url").to_owned();
        if next != holder && !next.is_empty() {
            if !holder.is_empty() {
                wrong("two holders", format!("{next} takes it from {holder}"));
            }
            let times = claimed.iter().filter(|before| **before == next).count();
            if times >= booking(&next).map_or(1, &rounds) {
                wrong("claimed again", format!("by {next}"));
            }
            if !was_clean(&record.states, write) || !image.is_empty() {
                wrong("claimed unclean", format!("by {next}"));
            }
            claimed.push(next.clone());
        }
        if !next_image.is_empty() && next.is_empty() {
            wrong("image of nobody", next_image.clone());
        }
        (holder, image) = (next, next_image);
    }
    findings
}

/// Whether the host's last status before a write was that of a clean one.
fn was_clean(states: &[StateRecord], write: &Write) -> bool {
    let before = states.iter().rfind(|state| state.at <= write.at);
    before.is_none_or(|state| {
        state.state == Some(HostState::Available)
            && state.image_url.is_empty()
            && state.error_message.is_empty()
    })
}

/// Whoever Metal3 prepared the host for was its holder, and got the key of that booking's user, or of the one that it was given
/// to, and of nobody else.
pub(in crate::chaos) fn tenants(record: &HostRecord, booked: &[Booked]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for read in &record.user_data {
        let consumer = read.consumer.as_ref().unwrap_or(&Value::Null);
        let id = booking(text(consumer, "/name"));
        let booked = booked.iter().find(|it| Some(it.id) == id);
        let keys: Vec<_> = (0..USERS.len())
            .filter(|person| read.user_data.contains(&USERS[*person].key()))
            .collect();
        let is_an_owners =
            |booked: &Booked| matches!(keys[..], [one] if booked.owners().any(|it| it == one));
        if !booked.is_some_and(is_an_owners) {
            findings.push(Finding {
                check: "wrong key",
                at: Some(read.at),
                what: format!(
                    "{} is prepared for {id:?} with another's key, or none",
                    read.host
                ),
            });
        }
    }
    findings
}

/// Clean and free, or ready for who has it by the facts.
pub(in crate::chaos) fn end(record: &HostRecord, holder: Option<i64>) -> Option<Finding> {
    let host = &record.host;
    let consumer = booking(text(host, "/spec/consumerRef/name"));
    let well = match holder {
        Some(_) => consumer == holder && is_provisioned(host),
        None => is_clean(host),
    };
    (!well).then(|| Finding {
        check: "host left wrong",
        at: None::<Timestamp>,
        what: format!(
            "{} should be {}; its consumer is {consumer:?}, its state {}, its error {:?}",
            site::node(record.server),
            holder.map_or("clean".to_owned(), |id| format!("{id}'s")),
            text(host, "/status/provisioning/state"),
            text(host, "/status/errorMessage"),
        ),
    })
}

/// The number of the booking in a `consumerRef`'s name.
fn booking(consumer: &str) -> Option<i64> {
    consumer.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use bellhop_simulator::cluster::{Cluster, ClusterSettings, Pauses};
    use serde_json::json;

    use super::*;
    use crate::site::NAMESPACE;

    /// What the simulated cluster records when somebody writes these specs, one after the other, each when it is ready for
    /// the next.
    async fn record(specs: &[Value], patient: bool) -> HostRecord {
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let cluster = Cluster::start(ClusterSettings {
            hosts: vec![crate::settings::host(1)],
            pauses: Pauses::all(Duration::from_millis(1)),
            ..ClusterSettings::default()
        })
        .await
        .unwrap();
        let url = format!(
            "{}/apis/metal3.io/v1alpha1/namespaces/{NAMESPACE}/baremetalhosts/node01",
            cluster.url()
        );
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for spec in specs {
            let patch = client
                .patch(&url)
                .header("Content-Type", "application/merge-patch+json")
                .body(json!({"spec": spec}).to_string());
            assert!(patch.send().await.unwrap().status().is_success());
            if patient {
                let state = if spec["image"].is_null() {
                    "available"
                } else {
                    "provisioned"
                };
                let settled = |host: &Value| text(host, "/status/provisioning/state") == state;
                let wait = cluster.wait_until(NAMESPACE, "node01", crate::PATIENCE, settled);
                wait.await.unwrap();
            }
        }
        HostRecord {
            server: 1,
            host: cluster.host(NAMESPACE, "node01").unwrap(),
            writes: cluster.writes_to_host(NAMESPACE, "node01"),
            states: cluster.states(NAMESPACE, "node01"),
            user_data: Vec::new(),
        }
    }

    fn claim(id: i64) -> Value {
        json!({"online": true, "image": {"url": site::IMAGE, "checksum": "x"},
            "consumerRef": {"kind": "Reservation", "name": format!("reservation-system:{id}")}})
    }

    fn release() -> Value {
        json!({"online": false, "image": null, "consumerRef": null})
    }

    fn found(record: &HostRecord) -> Vec<&'static str> {
        history(record, |_| 1)
            .iter()
            .map(|finding| finding.check)
            .collect()
    }

    #[tokio::test]
    async fn a_host_that_goes_from_one_to_nobody_to_the_next_is_well() {
        let record = record(&[claim(1), release(), claim(2)], true).await;
        assert_eq!(found(&record), [""; 0]);
        assert_eq!(end(&record, Some(2)), None);
        for wrong in [None, Some(1)] {
            assert_eq!(end(&record, wrong).unwrap().check, "host left wrong");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_taken_from_its_holder_is_found() {
        let record = record(&[claim(1), claim(2)], true).await;
        assert!(found(&record).contains(&"two holders"));
    }

    #[tokio::test]
    async fn a_host_that_is_claimed_while_it_is_taken_back_or_twice_by_one_is_found() {
        let record = record(&[claim(1)], true).await;
        let mut hasty = record;
        // The second claim comes at the moment of the last status, which is `provisioned`.
        let mut again = hasty.writes[0].clone();
        again.at = hasty.states.last().unwrap().at;
        let mut released = again.clone();
        released.after.as_mut().unwrap()["spec"] = json!({});
        hasty.writes.extend([released, again]);
        assert_eq!(found(&hasty), ["claimed again", "claimed unclean"]);
    }
}
