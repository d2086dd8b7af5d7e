//! What can't be delivered, or can't be read, is kept as a dead letter before it is given up.

use std::borrow::Cow;
use std::time::Duration;

use bellhop_domain::id::Version;
use bellhop_event_store::{
    DeadLetter, DeadLetterClass, Entry, ErrorClass, EventStoreError, Handed, ReplayRequest,
    ReportState, Unreadable, kept,
};
use bytes::Bytes;
use jiff::Timestamp;

use super::record::{Owed, outweighs};
use super::{Interrupted, OnItsWay, Outbox, STORE_PAUSE};
use crate::owed::Report;

/// Who we are in the dead letters.
pub(crate) const SERVICE: &str = "notifier";
/// The kind of alarm that is on while there are dead letters of ours, and what it is about.
pub(crate) const DEAD_LETTERS_ALARM: (&str, &str) = ("dead_letters", "dead_letters.notifier");
/// What the alarm about dead letters says.
pub(crate) const DEAD_LETTERS_TEXT: &str = "reports could not be delivered and wait as dead letters: look at them with `bellhop \
     dead-letters list`, mend the cause, then send them again with `bellhop dead-letters replay --service notifier`, or give them up \
     with `bellhop dead-letters drop --service notifier --reason '…'`";
/// How often an entry, or a request, of a newer format is handed out before it is given up, each time with a rest of [`super::ACK_WAIT`]: an update of
/// all notifiers takes less.
pub(super) const NEWER_FORMAT_TRIES: u64 = 20;
const BURY_TIMEOUT: Duration = Duration::from_secs(5);

/// An entry of the ledger that this version can't read or handle, as it is stored.
pub(super) struct UnreadEntry {
    pub(super) version: Version,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) stored_at: Timestamp,
    pub(super) tries: u64,
    /// By which request it was read once more, if by any.
    pub(super) replay: Option<u64>,
}

impl UnreadEntry {
    /// What was handed out.
    pub(super) fn of(handed: &Handed<Entry>) -> Self {
        Self {
            version: Version(handed.sequence),
            headers: handed.headers(),
            body: handed.body(),
            stored_at: handed.stored_at,
            tries: handed.tries,
            replay: None,
        }
    }
}

impl Outbox {
    /// Keeps a report that can't be delivered as a dead letter.
    pub(super) async fn bury(
        &self,
        report: &OnItsWay<'_>,
        owed: &Owed,
        message: Option<&Report>,
        reason: String,
    ) {
        let at = Timestamp::now();
        let verdict = ReportState::DeadLettered {
            at,
            reason: reason.clone(),
        };
        // What another notifier settled meanwhile, or an operator has sent again, is no dead letter because of us.
        if let Ok(Some((known, _))) = self.store.report(&report.key).await
            && outweighs(&known, &verdict, owed)
        {
            tracing::info!(report = %report.key, reason, "a late answer, which settles nothing any more");
            return;
        }
        let fact = report.entry.facts.get(report.index);
        let body = match message {
            Some(message) => message.first.body.clone(),
            None => serde_json::to_vec(&fact).unwrap_or_default(),
        };
        let mut headers = vec![
            (kept::REPORT.to_owned(), report.key.to_string()),
            (
                kept::RESOURCE.to_owned(),
                report.entry.resource.name().to_owned(),
            ),
        ];
        headers.extend(fact.map(|fact| ("Fact".to_owned(), fact.name().to_owned())));
        headers.extend(
            message.map(|message| ("Webhook".to_owned(), message.first.webhook.to_string())),
        );
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Report,
            id: match owed.replayed_at {
                None => report.key.to_string(),
                // It may die again within the duplicate window: that is another letter.
                Some(at) => format!("{}.replay-{at}", report.key),
            },
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
        self.remember(&report.key, verdict, owed).await;
        self.metrics.settled(self.destination, "dead_letter");
    }

    /// An entry that this version can't read must not keep the others from being handled.
    pub(super) async fn give_up(
        &self,
        entry: UnreadEntry,
        unreadable: &Unreadable,
    ) -> Result<(), Interrupted> {
        if let Unreadable::NewerFormat { .. } = unreadable
            && entry.tries < NEWER_FORMAT_TRIES
        {
            // The ledger's follower raises an alarm.
            let error = EventStoreError::from(unreadable.clone());
            return Err(error.into());
        }
        self.bury_entry(entry, &format!("can't be read: {unreadable}"))
            .await;
        Ok(())
    }

    /// Keeps an entry of the ledger, or what must be done for it, as a dead letter. `reason` goes on where its name ends.
    pub(super) async fn bury_entry(&self, entry: UnreadEntry, reason: &str) {
        let version = entry.version;
        let mut headers = entry.headers;
        headers.push((kept::ENTRY.to_owned(), version.to_string()));
        let id = format!("ledger-{version}-{}", self.destination);
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Delivery,
            id: match entry.replay {
                None => id,
                Some(request) => format!("{id}.replay-{request}"),
            },
            what: self.destination.name().to_owned(),
            reason: format!("entry {version} of the ledger {reason}"),
            tries: entry.tries,
            first_at: entry.stored_at,
            last_at: Timestamp::now(),
            traceparent: None,
            headers,
            body: entry.body,
        })
        .await;
        tracing::error!(
            sequence = version.0,
            destination = %self.destination,
            reason,
            "an entry of the ledger is a dead letter now"
        );
        self.metrics.settled(self.destination, "dead_letter");
    }

    /// Keeps what an operator asked for as it is, for a version that can read it: its replay asks for it once more.
    pub(super) async fn bury_unread_request(&self, handed: &Handed<ReplayRequest>, reason: String) {
        let mut headers = handed.headers();
        headers.push((kept::SUBJECT.to_owned(), handed.subject().to_owned()));
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Delivery,
            id: format!("request-{}", handed.sequence),
            what: self.destination.name().to_owned(),
            reason,
            tries: handed.tries,
            first_at: handed.stored_at,
            last_at: Timestamp::now(),
            traceparent: None,
            headers,
            body: handed.body(),
        })
        .await;
        self.metrics.settled(self.destination, "dead_letter");
    }

    /// Stores a dead letter, however often the broker must be asked: only then may the report be given up.
    async fn store_letter(&self, letter: &DeadLetter) {
        let (kind, about) = DEAD_LETTERS_ALARM;
        self.alarms.raise(kind, about, DEAD_LETTERS_TEXT);
        let mut letter = Cow::Borrowed(letter);
        while let Err(error) = self.store.bury(&letter, BURY_TIMEOUT).await {
            if error.class() == ErrorClass::Permanent {
                if letter.body.is_empty() {
                    tracing::error!(%error, id = letter.id, reason = letter.reason, "a dead letter can't be stored");
                    return;
                }
                letter = Cow::Owned(without_body(&letter));
                continue;
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }
}

/// What is left of a letter that is larger than the broker takes: a replay needs no more, as what it is about stands in the
/// ledger.
fn without_body(letter: &DeadLetter) -> DeadLetter {
    let mut short = DeadLetter {
        body: Bytes::new(),
        reason: format!("{} (too large to be kept whole)", letter.reason),
        ..letter.clone()
    };
    let needed = [kept::REPORT, kept::RESOURCE, kept::ENTRY];
    short
        .headers
        .retain(|(name, _)| needed.contains(&name.as_str()));
    short
}
