//! What the outside and the broker have on record. No service is asked, and no log is read.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use bellhop_event_store::{Entry, EventStore, EventStoreSettings};
use bellhop_simulator::cluster::{StateRecord, UserDataRead, Write};
use bellhop_simulator::reservation_system::{Received, Sent};
use jiff::Timestamp;
use serde_json::Value;

use super::ChaosError;
use super::load::Booked;
use super::sendings::{self, Reports};
use super::stage::Stage;
use super::strike::Struck;
use crate::HarnessError;
use crate::records::{self, RecordsError};
use crate::site::{self, NAMESPACE};

/// All of it at one moment.
pub(super) struct Evidence {
    /// When.
    pub(super) at: Timestamp,
    /// The bookings that were made.
    pub(super) booked: Vec<Booked>,
    /// What the sender sent, with the answers.
    pub(super) sent: Vec<Sent>,
    /// The bodies in `DELIVERIES`.
    pub(super) stored: BTreeSet<String>,
    /// What is in `DEAD_LETTERS`, in a line each.
    pub(super) dead_letters: Vec<String>,
    /// The ledger.
    pub(super) entries: Vec<Entry>,
    /// `REPORTS`, word by word.
    pub(super) reports: Reports,
    /// What the receiver received.
    pub(super) received: Vec<Received>,
    /// The cluster's record, by server.
    pub(super) hosts: Vec<HostRecord>,
    /// Whether no consumer has anything left or in hand.
    pub(super) is_idle: bool,
}

/// What the cluster has on record of a host.
pub(super) struct HostRecord {
    /// The number of its server.
    pub(super) server: i64,
    /// As it is.
    pub(super) host: Value,
    /// The writes that it took over HTTP.
    pub(super) writes: Vec<Write>,
    /// What its status was.
    pub(super) states: Vec<StateRecord>,
    /// What it was prepared with.
    pub(super) user_data: Vec<UserDataRead>,
}

/// What was done and seen, for those that judge.
pub(super) struct Case {
    pub(super) evidence: Evidence,
    pub(super) struck: Vec<Struck>,
    /// The authority that each notifier names.
    pub(super) notifiers: Vec<String>,
}

impl Evidence {
    /// Collects it.
    pub(super) async fn collect(stage: &Stage, booked: &[Booked]) -> Result<Self, ChaosError> {
        let client = records::connect(&stage.broker_url)
            .await
            .map_err(HarnessError::Broker)?;
        let settings = EventStoreSettings::at(&stage.broker_url);
        let store = EventStore::connect(&settings, "bellhop-chaos")
            .await
            .map_err(HarnessError::EventStore)?;
        // What the broker keeps is read before what it should follow from: what comes meanwhile is missing nowhere.
        let sent = stage.reservations.sent();
        let stored = records::messages(&client, "DELIVERIES")
            .await
            .map_err(HarnessError::Records)?;
        let dead = records::messages(&client, "DEAD_LETTERS")
            .await
            .map_err(HarnessError::Records)?;
        let reports = records::messages(&client, "KV_REPORTS")
            .await
            .map_err(HarnessError::Records)?;
        let hosts = (1..).take_while(|server| {
            !stage
                .cluster
                .host(NAMESPACE, &site::node(*server))
                .unwrap_or_default()
                .is_null()
        });
        let user_data = stage.cluster.user_data_reads();
        Ok(Self {
            at: Timestamp::now(),
            booked: booked.to_vec(),
            sent,
            stored: stored.into_iter().map(|message| message.body).collect(),
            dead_letters: dead
                .iter()
                .map(|it| {
                    let reason = it.headers.iter().find(|(name, _)| name == "Bellhop-Reason");
                    format!(
                        "{}: {}",
                        it.subject,
                        reason.map_or("", |(_, reason)| reason)
                    )
                })
                .collect(),
            entries: records::entries(&store)
                .await
                .map_err(HarnessError::Ledger)?,
            reports: sendings::words(&reports),
            received: stage.reservations.received(),
            hosts: hosts
                .map(|server| {
                    let name = site::node(server);
                    HostRecord {
                        server,
                        host: stage.cluster.host(NAMESPACE, &name).unwrap_or_default(),
                        writes: stage.cluster.writes_to_host(NAMESPACE, &name),
                        states: stage.cluster.states(NAMESPACE, &name),
                        user_data: user_data
                            .iter()
                            .filter(|it| it.host == name)
                            .cloned()
                            .collect(),
                    }
                })
                .collect(),
            is_idle: is_idle(&client).await,
        })
    }
}

/// Lets the bucket of reports keep all that is written there, and not only the last word about each: no service looks at what
/// was before.
pub(super) async fn keep_every_word(broker_url: &str) -> Result<(), HarnessError> {
    let context = jetstream::new(records::connect(broker_url).await?);
    let kept = async {
        let mut bucket = context
            .get_stream("KV_REPORTS")
            .await?
            .cached_info()
            .config
            .clone();
        bucket.max_messages_per_subject = -1;
        context.update_stream(bucket).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    kept.await
        .map_err(|source| HarnessError::Records(RecordsError::of("KV_REPORTS", source)))
}

/// Which server of the broker leads the ledger, as it knows it itself; the first one where nobody says.
pub(super) async fn ledger_leader(broker_url: &str) -> usize {
    let asked = async {
        let context = jetstream::new(records::connect(broker_url).await.ok()?);
        let stream = context.get_stream("LEDGER").await.ok()?;
        let cluster = stream.cached_info().cluster.as_ref()?;
        // They are called `n0` and so on.
        cluster.leader.as_deref()?.strip_prefix('n')?.parse().ok()
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), asked).await;
    answer.ok().flatten().unwrap_or_default()
}

async fn is_idle(client: &async_nats::Client) -> bool {
    let context = jetstream::new(client.clone());
    for (stream, consumer) in [
        ("DELIVERIES", "provisioner"),
        ("LEDGER", "notifier-notification"),
        ("LEDGER", "notifier-webhook-log"),
    ] {
        let Ok(mut consumer) = context
            .get_consumer_from_stream::<pull::Config, _, _>(consumer, stream)
            .await
        else {
            return false;
        };
        let idle = consumer
            .info()
            .await
            .is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0);
        if !idle {
            return false;
        }
    }
    true
}
