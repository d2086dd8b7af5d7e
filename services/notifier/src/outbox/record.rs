//! What stands in `REPORTS` about a report.

use bellhop_event_store::{ReportError, ReportKey, ReportState, Revision, Sending};
use jiff::Timestamp;

use super::{Interrupted, OnItsWay, Outbox, STORE_PAUSE};

/// A report that stands as owed in `REPORTS`.
pub(super) struct Owed {
    pub(super) attempts: u32,
    pub(super) last_error: Option<String>,
    pub(super) first_at: Timestamp,
    pub(super) sending: Option<Sending>,
    pub(super) replayed_at: Option<Timestamp>,
    pub(super) revision: Revision,
}

impl Owed {
    /// As it stands in `REPORTS`.
    pub(super) fn to_state(&self) -> ReportState {
        ReportState::Owed {
            attempts: self.attempts,
            last_error: self.last_error.clone(),
            first_at: self.first_at,
            sending: self.sending.clone(),
            replayed_at: self.replayed_at,
        }
    }
}

impl Outbox {
    /// The report as it stands in `REPORTS`, made there if it isn't yet; none once it is settled.
    pub(super) async fn still_owed(&self, key: &ReportKey) -> Result<Option<Owed>, Interrupted> {
        loop {
            match self.store.report(key).await? {
                Some((
                    ReportState::Owed {
                        attempts,
                        last_error,
                        first_at,
                        sending,
                        replayed_at,
                    },
                    revision,
                )) => {
                    return Ok(Some(Owed {
                        attempts,
                        last_error,
                        first_at,
                        sending,
                        replayed_at,
                        revision,
                    }));
                }
                Some(_) => return Ok(None),
                None => {
                    let state = ReportState::untried();
                    match self.store.set_report(key, &state, None).await {
                        // Now it is there, or another notifier made it: look again.
                        Ok(_) | Err(ReportError::Conflict { .. }) => {}
                        Err(ReportError::Store(error)) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Makes a dead letter's report owed again, if what stands in `REPORTS` is still what stood there when it was asked for.
    /// False where it was settled again since.
    pub(super) async fn owe_again(
        &self,
        key: &ReportKey,
        asked_for: Option<Revision>,
    ) -> Result<bool, Interrupted> {
        loop {
            match self.store.report(key).await? {
                Some((ReportState::DeadLettered { .. }, revision))
                    if Some(revision) == asked_for =>
                {
                    let now = Timestamp::now();
                    let owed = ReportState::Owed {
                        attempts: 0,
                        last_error: None,
                        first_at: now,
                        sending: None,
                        replayed_at: Some(now),
                    };
                    match self.store.set_report(key, &owed, Some(revision)).await {
                        // Another notifier was quicker, which then has the same request in hand: look again.
                        Ok(_) | Err(ReportError::Conflict { .. }) => {}
                        Err(ReportError::Store(error)) => return Err(error.into()),
                    }
                }
                // By this request before a crash, or not settled at all.
                Some((ReportState::Owed { .. }, _)) | None => return Ok(true),
                Some(_) => return Ok(false),
            }
        }
    }

    /// Writes what became of a report, however often the broker must be asked: it was sent, or buried, and that can't be
    /// undone. `owed`: the report as it was when that was begun.
    pub(super) async fn remember(&self, key: &ReportKey, state: ReportState, owed: &Owed) {
        let mut last = Some(owed.revision);
        let mut trouble = false;
        loop {
            let error = match self.store.set_report(key, &state, last).await {
                Ok(_) => break,
                // Another notifier has it now, or our own try before was stored though its answer was lost.
                Err(ReportError::Conflict { .. }) if !state.is_settled() => break,
                Err(ReportError::Conflict { .. }) => match self.store.report(key).await {
                    Ok(Some((known, _))) if outweighs(&known, &state, owed) => break,
                    Ok(now) => {
                        last = now.map(|(_, revision)| revision);
                        continue;
                    }
                    Err(error) => error,
                },
                Err(ReportError::Store(error)) => error,
            };
            if !std::mem::replace(&mut trouble, true) {
                tracing::warn!(report = %key, %error, "cannot write down what became of a report; trying again");
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
        if state.is_settled() {
            // An error means that nobody waits.
            let _ = self.settled.send(key.clone());
        }
    }

    pub(super) async fn drop_report(&self, report: &OnItsWay<'_>, owed: &Owed, reason: String) {
        tracing::info!(report = %report.key, reason, "report not sent");
        let state = ReportState::Dropped {
            at: Timestamp::now(),
            reason,
        };
        self.remember(&report.key, state, owed).await;
        self.metrics.settled(self.destination, "dropped");
    }
}

/// Whether what stands in `REPORTS` stays in the face of what we have to say of a report that was `owed` to us.
pub(super) fn outweighs(known: &ReportState, ours: &ReportState, owed: &Owed) -> bool {
    match (known, ours) {
        // Our own try before was stored though its answer was lost.
        _ if known == ours => true,
        // It was delivered, whatever others believe of their own tries: nobody is to send it again.
        (
            ReportState::Owed { .. } | ReportState::DeadLettered { .. },
            ReportState::Delivered { .. },
        ) => false,
        // An operator has it sent again since: what came of earlier tries was told already, and settles nothing any more.
        (ReportState::Owed { replayed_at, .. }, _) => *replayed_at != owed.replayed_at,
        // Another notifier was quicker.
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bellhop_domain::id::{ReservationId, ResourceId, ResourceKind, Source, Version};
    use bellhop_domain::reservation::Fact;
    use bellhop_event_store::{Entry, EventStore, EventStoreSettings, Unreadable};
    use bellhop_nats_server::NatsServer;
    use bellhop_service::{Alarms, Health, Metrics, Shown};
    use tokio::sync::broadcast;
    use tokio_util::sync::CancellationToken;

    use super::super::dead_letter::{NEWER_FORMAT_TRIES, UnreadEntry};
    use super::super::{BeingSettled, Way};
    use super::*;
    use crate::destination::Destination;
    use crate::metrics::ReportMetrics;
    use crate::view::{Followed, Place};

    /// What a notifier has in hand, as far as these tests need it.
    async fn outbox(server: &NatsServer, name: &str) -> Outbox {
        let settings = EventStoreSettings {
            // In seconds: a letter that comes again later is another one.
            duplicate_window: 1,
            ..EventStoreSettings::at(server.url())
        };
        let store = EventStore::connect(&settings, name).await.unwrap();
        store.prepare().await.unwrap();
        let metrics = Metrics::new("test", "0");
        let (alarms, shown) = (Alarms::new(&metrics), Shown::new(&metrics));
        let report_metrics = ReportMetrics::new(&metrics);
        let health = Health::new(metrics, alarms.clone(), shown);
        let (followed, _work) =
            Followed::new(store.clone(), health.dependency("ledger"), alarms.clone());
        Outbox {
            destination: Destination::Notification,
            notifier: name.into(),
            store,
            followed,
            way: Way::NotConfigured,
            metrics: report_metrics,
            alarms,
            being_settled: BeingSettled::default(),
            settled: broadcast::channel(1).0,
            stopping: CancellationToken::new(),
        }
    }

    fn entry() -> Entry {
        Entry {
            resource: ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01"),
            version: Version(1),
            id: None,
            at: Timestamp::UNIX_EPOCH,
            facts: vec![Fact::HostClaimed {
                reservation: ReservationId::new(Source::new("reservation-system"), "5120"),
            }],
            traceparent: None,
            cause: "test".into(),
        }
    }

    fn report<'a>(outbox: &Outbox, entry: &'a Entry) -> OnItsWay<'a> {
        let place = Place::of(entry, 0);
        OnItsWay {
            key: outbox.key(entry.facts[0].reservation().unwrap(), place),
            entry,
            index: 0,
        }
    }

    fn delivered() -> ReportState {
        ReportState::Delivered {
            at: Timestamp::now(),
            status: 200,
            attempts: 1,
        }
    }

    async fn letters(store: &EventStore) -> usize {
        store.dead_letters(1, 10).await.unwrap().len()
    }

    #[tokio::test]
    async fn a_late_notifier_does_not_undo_that_an_operator_has_a_report_sent_again() {
        let server = NatsServer::start().unwrap();
        let (late, other) = (
            outbox(&server, "late").await,
            outbox(&server, "other").await,
        );
        let entry = entry();
        let report = report(&late, &entry);
        let key = &report.key;
        let of_the_late = late.still_owed(key).await.unwrap().unwrap();
        let of_the_other = other.still_owed(key).await.unwrap().unwrap();
        other
            .bury(&report, &of_the_other, None, "refused".into())
            .await;
        let (_, asked_for) = late.store.report(key).await.unwrap().unwrap();
        assert!(other.owe_again(key, Some(asked_for)).await.unwrap());
        let again = other.still_owed(key).await.unwrap().unwrap();

        // Its answer of before the replay comes only now, when the broker has forgotten the first letter's id.
        tokio::time::sleep(Duration::from_secs(2)).await;
        late.bury(&report, &of_the_late, None, "refused".into())
            .await;
        late.drop_report(&report, &of_the_late, "it is over".into())
            .await;
        let (state, revision) = late.store.report(key).await.unwrap().unwrap();
        assert_eq!((&state, revision), (&again.to_state(), again.revision));
        assert_eq!(letters(&late.store).await, 1);

        other.remember(key, delivered(), &again).await;
        late.bury(&report, &of_the_late, None, "refused".into())
            .await;
        let (state, _) = late.store.report(key).await.unwrap().unwrap();
        assert!(matches!(state, ReportState::Delivered { .. }), "{state:?}");
        assert_eq!(letters(&late.store).await, 1);
    }

    #[tokio::test]
    async fn that_a_report_was_delivered_is_remembered_whenever_the_answer_comes() {
        let server = NatsServer::start().unwrap();
        let (late, other) = (
            outbox(&server, "late").await,
            outbox(&server, "other").await,
        );
        let entry = entry();
        let report = report(&late, &entry);
        let key = &report.key;
        let of_the_late = late.still_owed(key).await.unwrap().unwrap();
        let of_the_other = other.still_owed(key).await.unwrap().unwrap();
        other
            .bury(&report, &of_the_other, None, "tried 10 times".into())
            .await;
        late.remember(key, delivered(), &of_the_late).await;
        let (state, _) = late.store.report(key).await.unwrap().unwrap();
        assert!(matches!(state, ReportState::Delivered { .. }), "{state:?}");
    }

    #[tokio::test]
    async fn an_entry_of_a_newer_format_is_a_dead_letter_once_nobody_of_that_version_took_it() {
        let server = NatsServer::start().unwrap();
        let outbox = Arc::new(outbox(&server, "test").await);
        let unread = |tries| UnreadEntry {
            version: Version(1),
            headers: Vec::new(),
            body: "{}".into(),
            stored_at: Timestamp::UNIX_EPOCH,
            tries,
            replay: None,
        };
        let newer = Unreadable::NewerFormat {
            format: 2,
            newest: 1,
        };
        outbox
            .give_up(unread(NEWER_FORMAT_TRIES), &newer)
            .await
            .unwrap();
        let found = outbox.store.dead_letters(1, 10).await.unwrap();
        assert!(
            found[0].reason.contains("newer than this version's"),
            "{found:?}"
        );
        // Before that it rests, and is handed out again.
        outbox.stopping.cancel();
        let rests = outbox.give_up(unread(NEWER_FORMAT_TRIES - 1), &newer).await;
        assert!(rests.is_err());
        assert_eq!(letters(&outbox.store).await, 1);
    }
}
