//! What places, moves or ends a reservation: recorded only while nothing at all is recorded by others, since they may have heard of
//! it on another resource ([`bellhop_domain::ledger::Upon`]).

use bellhop_domain::id::{ResourceId, Version};
use bellhop_event_store::{AppendError, NewEntry};

use super::{DecisionError, Decisions};

/// How often it is tried to be the next in the ledger. Whoever was first each time recorded something, on whatever resource, so
/// this many in a row mean hundreds of facts a second.
const TRIES: usize = 100;

impl Decisions {
    /// Appends what was decided upon the version `expected` of its resource, where nobody recorded anything since of which we
    /// don't know.
    pub(super) async fn append_at_end(
        &self,
        resource: &ResourceId,
        expected: Version,
        entry: &NewEntry,
    ) -> Result<Version, DecisionError> {
        let _turn = self.at_end.lock().await;
        for _ in 0..TRIES {
            let end = self.end_that_allows(resource, expected, entry)?;
            match self.store.append_at_end(resource, end, entry).await {
                Ok(version) => {
                    // Whoever has the next turn needs to know of it.
                    self.read_up_to(version).await?;
                    return Ok(version);
                }
                Err(AppendError::Conflict { .. }) => self.read_up_to(Version(end.0 + 1)).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(DecisionError::Overtaken {
            resource: resource.clone(),
        })
    }

    /// How far the ledger is folded, where all that is known up to there allows what was decided.
    fn end_that_allows(
        &self,
        resource: &ResourceId,
        expected: Version,
        entry: &NewEntry,
    ) -> Result<Version, DecisionError> {
        self.folded.read(|ledger| {
            let newest = ledger.resource(resource).map(|resource| resource.version);
            if newest.unwrap_or_default() != expected {
                return Err(DecisionError::Append(AppendError::Conflict {
                    what: format!("facts on {resource}"),
                    expected,
                }));
            }
            ledger.recorded_upon(resource, &entry.facts)?;
            Ok(ledger.version())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_domain::id::ResourceKind;
    use bellhop_domain::reservation::Fact;
    use bellhop_nats_server::NatsServer;
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::replicas::{one_that_reads_nothing, replica};
    use super::*;

    fn node(name: &str) -> ResourceId {
        ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
    }

    fn announced(event: &str) -> Fact {
        serde_json::from_value(json!({
            "type": "ReservationAnnounced", "reservation": event, "webhook": "12",
            "knowledge": {
                "start": "2026-12-03T08:00:00Z", "end": "2026-12-03T17:30:00Z",
                "said_at": "2026-11-30T14:02:11.5Z", "said_by": "d1",
            },
            "delivery": {"sequence": 1, "id": "d1"},
        }))
        .unwrap()
    }

    fn ended(event: &str) -> Fact {
        serde_json::from_value(json!({
            "type": "ReservationEnded", "reservation": event, "cause": "End", "outcome": "Cancelled",
        }))
        .unwrap()
    }

    impl Decisions {
        async fn records(
            &self,
            resource: &str,
            expected: u64,
            facts: Vec<Fact>,
        ) -> Result<Vec<Fact>, DecisionError> {
            let now = Timestamp::now();
            self.record(&node(resource), Version(expected), now, facts, "test")
                .await
        }
    }

    #[tokio::test]
    async fn of_two_replicas_that_hear_of_a_reservation_on_two_resources_one_gives_it_its_place_and_its_outcome()
     {
        let server = NatsServer::start().unwrap();
        let one = replica(&server).await;
        let other = one_that_reads_nothing(&server).await;
        one.records("a", 0, vec![announced("s:1")]).await.unwrap();
        // It knows of nothing, and nothing is on that resource.
        let late = tokio::spawn({
            let other = other.clone();
            async move { other.records("b", 0, vec![ended("s:1")]).await }
        });
        // Whatever it tries first is refused: it knows that it must read.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(!late.is_finished());
        other.begin_to_read();
        let refused = late.await.unwrap();
        assert!(
            matches!(&refused, Err(DecisionError::StandsElsewhere(elsewhere)) if elsewhere.place == node("a")),
            "{refused:?}"
        );
        // Where it stands, either may end it.
        other.records("a", 1, vec![ended("s:1")]).await.unwrap();
        let end = one.store.ledger_end().await.unwrap();
        assert_eq!(end, Version(2));
    }

    #[tokio::test]
    async fn what_others_record_meanwhile_of_other_resources_delays_nobody_for_good() {
        let server = NatsServer::start().unwrap();
        let (one, other) = (replica(&server).await, replica(&server).await);
        let places = |replica: Decisions, name: &'static str| async move {
            for number in 0..50 {
                let (resource, event) = (format!("{name}{number}"), format!("s:{name}{number}"));
                replica
                    .records(&resource, 0, vec![announced(&event)])
                    .await
                    .unwrap();
            }
        };
        tokio::join!(
            places(one.clone(), "a"),
            places(one.clone(), "b"),
            places(other.clone(), "c"),
            places(other.clone(), "d"),
        );
        assert_eq!(one.store.ledger_end().await.unwrap(), Version(200));
    }

    #[tokio::test]
    async fn what_was_decided_upon_an_old_state_of_its_resource_is_decided_again() {
        let server = NatsServer::start().unwrap();
        let one = replica(&server).await;
        one.records("a", 0, vec![announced("s:1")]).await.unwrap();
        let late = one.records("a", 0, vec![announced("s:2")]).await;
        assert!(
            matches!(
                late,
                Err(DecisionError::Append(AppendError::Conflict { .. }))
            ),
            "{late:?}"
        );
    }
}
