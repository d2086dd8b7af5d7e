//! Permits to release hosts because no end came, of which there are so many within ten minutes, whichever provisioner asks.

use bellhop_domain::id::{AskerId, ResourceId};
use bellhop_domain::quota::{Answer, Fact};
use bellhop_event_store::AppendError;
use jiff::Timestamp;

use super::{DecisionError, Decisions, TRIES};

impl Decisions {
    /// Asks for a permit for `asker`, which is about `resource`. Returns whether it has one, which is in the ledger and folded
    /// then.
    pub(crate) async fn permit_release(
        &self,
        resource: &ResourceId,
        asker: &AskerId,
        most: usize,
    ) -> Result<bool, DecisionError> {
        for _ in 0..TRIES {
            let now = Timestamp::now();
            let (expected, answer) = self.folded.read(|ledger| {
                let quota = ledger.deadline_releases();
                (quota.version(), quota.decide(asker, now, most))
            });
            let fact = match answer {
                Answer::Permitted => return Ok(true),
                Answer::Refused => return Ok(false),
                Answer::Granted(fact) => fact,
            };
            let name = fact.name();
            let appended = (self.store)
                .append_beside(expected, now, &[fact], "time")
                .await;
            let newest = match appended {
                Ok(version) => {
                    tracing::info!(%resource, %asker, cause = "time", "{name}");
                    version
                }
                // Another provisioner was first: whether there is one left is to be decided upon what it left.
                Err(AppendError::Conflict { .. }) => self.store.newest_beside::<Fact>().await?,
                Err(error) => return Err(error.into()),
            };
            self.read_up_to(newest).await?;
        }
        Err(DecisionError::Overtaken {
            resource: resource.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_domain::id::{ResourceKind, Version};
    use bellhop_event_store::LedgerEntry;
    use bellhop_nats_server::NatsServer;

    use super::super::replicas::replica;
    use super::*;

    /// Asks for ten, one after the other. Returns for which it may go ahead.
    async fn ask_for_ten(replica: &Decisions, name: &str, most: usize) -> Vec<String> {
        let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01");
        let mut permitted = Vec::new();
        for number in 0..10 {
            let asker = AskerId::new(format!("{name}{number}"));
            if replica.permit_release(&node, &asker, most).await.unwrap() {
                permitted.push(asker.to_string());
            }
        }
        permitted
    }

    #[tokio::test]
    async fn replicas_that_ask_at_once_get_as_many_permits_as_there_may_be_and_share_those_for_the_same()
     {
        let server = NatsServer::start().unwrap();
        let (one, other) = (replica(&server).await, replica(&server).await);
        let (of_one, of_other) =
            tokio::join!(ask_for_ten(&one, "a", 5), ask_for_ten(&other, "b", 5));
        assert_eq!(of_one.len() + of_other.len(), 5, "{of_one:?} {of_other:?}");
        // Whoever asks for the same has the same permit, and none is added.
        one.catch_up_with_all().await.unwrap();
        other.catch_up_with_all().await.unwrap();
        assert_eq!(ask_for_ten(&other, "a", 5).await, of_one);
        assert_eq!(ask_for_ten(&one, "b", 5).await, of_other);
        let end = one.store.ledger_end().await.unwrap();
        assert_eq!(end.0, 5);
        let mut ledger = one.store.follow_ledger(Version(0));
        let first = ledger.next().await.unwrap();
        assert!(
            matches!(first, LedgerEntry::DeadlineReleases(_)),
            "{first:?}"
        );
    }
}
