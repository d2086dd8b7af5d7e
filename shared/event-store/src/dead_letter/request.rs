//! What operators ask of the notifier: reports that are to be sent again.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use bellhop_domain::id::Version;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Operator;
use crate::error::{StoreError, Unreadable};
use crate::inbox::{ConsumerLimits, Inbox, Raw};
use crate::message::{self, BadHeader, Outgoing};
use crate::report::Revision;
use crate::store::{EventStore, not_a_message};
use crate::streams::DEAD_LETTERS;
use crate::subject::encode_token;

/// What the subjects of all requests begin with, without prefix.
pub(super) const REQUESTS: &str = "dead_letters.replays.";
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reports about one reservation to one destination that are to be sent again, in the ledger's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRequest {
    /// Who asks.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// For what.
    pub reports: Vec<AskedReport>,
}

/// One report that is to be sent again, or all that an entry owes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedReport {
    /// The ledger's entry.
    pub entry: Version,
    /// Which of its facts, from 0; none for an entry that could not be read: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<usize>,
    /// What stood in REPORTS when it was asked for: if something else stands there, it was sent again meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

impl EventStore {
    /// What operators want sent again to a destination, for the durable consumer `name`.
    pub fn replay_requests(
        &self,
        name: &str,
        destination: &str,
        limits: ConsumerLimits,
    ) -> Inbox<ReplayRequest> {
        Inbox::new(
            self,
            DEAD_LETTERS,
            name,
            "Bellhop: sends reports again that operators ask for",
            limits,
            |_, raw| read(raw),
        )
        .only(&subject(destination))
    }

    /// Stores a request for the notifier. Storing one twice is harmless.
    pub(super) async fn ask_for_reports(
        &self,
        destination: &str,
        reports: Vec<AskedReport>,
        by: &Operator,
    ) -> Result<(), StoreError> {
        let what = format!("the request to send reports to {destination} again");
        let request = ReplayRequest {
            by: by.name.clone(),
            at: by.at,
            reports,
        };
        let message = outgoing(&request).map_err(|bad| not_a_message(&what, &bad))?;
        let subject = self.subject(&subject(destination));
        let stored = self.publish(subject, message, &what, TIMEOUT).await;
        stored
            .map(drop)
            .map_err(|failure| failure.into_store_error(&what))
    }
}

fn subject(destination: &str) -> String {
    format!("{REQUESTS}{}", encode_token(destination))
}

fn outgoing(request: &ReplayRequest) -> Result<PublishMessage, BadHeader> {
    let body = serde_json::to_vec(request).expect("a request has only text keys");
    let id = uuid::Uuid::now_v7().to_string();
    let event_type = "dead-letter.replay-reports";
    let body = Bytes::from(body);
    let outgoing = Outgoing::new(&id, "bellhop/operator", event_type, request.at, body)?;
    Ok(outgoing.into_message())
}

fn read(raw: &Raw<'_>) -> Result<ReplayRequest, Unreadable> {
    message::check_format(raw.headers)?;
    serde_json::from_slice(raw.body).map_err(|error| Unreadable::Body {
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn requests_are_read_for_ever_as_they_were_written() {
        let written = r#"{"by":"mara","at":"2026-11-24T10:02:11Z","reports":[{"entry":12,"fact":0,"revision":40},{"entry":15}]}"#;
        let request: ReplayRequest = serde_json::from_str(written).unwrap();
        assert_eq!(request.reports.len(), 2);
        assert_eq!(serde_json::to_string(&request).unwrap(), written);
    }
}
