//! What can't be delivered, or can't be read, is kept as a dead letter before it is given up.

use std::time::Duration;

use bellhop_event_store::{
    DeadLetter, DeadLetterClass, Entry, ErrorClass, EventStoreError, Handed, ReportState,
    Unreadable,
};
use bytes::Bytes;
use jiff::Timestamp;

use super::record::Owed;
use super::{ACK_WAIT, Interrupted, OnItsWay, Outbox, STORE_PAUSE};
use crate::owed::Report;

/// Who we are in the dead letters.
pub(crate) const SERVICE: &str = "notifier";
/// The kind of alarm that is on while there are dead letters of ours, and what it is about.
pub(crate) const DEAD_LETTERS_ALARM: (&str, &str) = ("dead_letters", "dead_letters.notifier");
/// What the alarm about dead letters says.
pub(crate) const DEAD_LETTERS_TEXT: &str = "reports could not be delivered and wait as dead letters: look at them with `bellhop \
     dead-letters list`, mend the cause, tell the users by hand where it matters, then remove each with `nats stream rmm \
     DEAD_LETTERS SEQUENCE`";
const BURY_TIMEOUT: Duration = Duration::from_secs(5);

impl Outbox {
    /// Keeps a report that can't be delivered as a dead letter.
    pub(super) async fn bury(
        &self,
        report: &OnItsWay<'_>,
        owed: &Owed,
        message: Option<&Report>,
        reason: String,
    ) {
        let fact = report.entry.facts.get(report.index);
        let body = match message {
            Some(message) => message.first.body.clone(),
            None => serde_json::to_vec(&fact).unwrap_or_default(),
        };
        let mut headers = vec![("Report".to_owned(), report.key.to_string())];
        headers.extend(fact.map(|fact| ("Fact".to_owned(), fact.name().to_owned())));
        headers.extend(
            message.map(|message| ("Webhook".to_owned(), message.first.webhook.to_string())),
        );
        let at = Timestamp::now();
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Report,
            id: report.key.to_string(),
            what: self.destination.name().to_owned(),
            reason: reason.clone(),
            tries: u64::from(owed.attempts),
            first_at: owed.first_at,
            last_at: at,
            traceparent: report.entry.traceparent.clone(),
            headers,
            body: Bytes::from(body),
        })
        .await;
        tracing::error!(
            report = %report.key,
            reservation = %report.key.reservation,
            destination = %self.destination,
            fact = fact.map(|fact| fact.name()),
            reason,
            "a report could not be delivered; it is kept as a dead letter"
        );
        self.remember(
            &report.key,
            ReportState::DeadLettered { at, reason },
            owed.revision,
        )
        .await;
        self.metrics.settled(self.destination, "dead_letter");
    }

    /// An entry that this version can't read must not keep the others from being handled.
    pub(super) async fn give_up(
        &self,
        handed: &Handed<Entry>,
        unreadable: &Unreadable,
    ) -> Result<(), Interrupted> {
        if let Unreadable::NewerFormat { .. } = unreadable {
            // While versions change, a notifier of the newer one takes it. The ledger's follower raises an alarm.
            self.unless_stopping(tokio::time::sleep(ACK_WAIT)).await?;
            let error = EventStoreError::from(unreadable.clone());
            return Err(error.into());
        }
        let at = Timestamp::now();
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Delivery,
            id: format!("ledger-{}-{}", handed.sequence, self.destination),
            what: self.destination.name().to_owned(),
            reason: format!(
                "entry {} of the ledger can't be read: {unreadable}",
                handed.sequence
            ),
            tries: handed.tries,
            first_at: handed.stored_at,
            last_at: at,
            traceparent: None,
            headers: handed.headers(),
            body: handed.body(),
        })
        .await;
        tracing::error!(
            sequence = handed.sequence,
            destination = %self.destination,
            reason = %unreadable,
            "an entry of the ledger can't be read; it is kept as a dead letter"
        );
        Ok(())
    }

    /// Stores a dead letter, however often the broker must be asked: only then may the report be given up.
    async fn store_letter(&self, letter: &DeadLetter) {
        let (kind, about) = DEAD_LETTERS_ALARM;
        self.alarms.raise(kind, about, DEAD_LETTERS_TEXT);
        while let Err(error) = self.store.bury(letter, BURY_TIMEOUT).await {
            if error.class() == ErrorClass::Permanent {
                tracing::error!(%error, id = letter.id, reason = letter.reason, "a dead letter can't be stored");
                return;
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }
}
