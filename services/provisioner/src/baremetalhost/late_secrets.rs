//! Secrets that were made too late (R9).
//!
//! A claim makes its secret before it writes the host. A provisioner that sleeps just before that (stopped, starved) may make
//! the secret when its reservation is over and the host was given back. It finds that its claim is refused, and deletes it; but
//! if it is killed in between, nobody knows of the secret: the role allows no list. So every provisioner looks now and then for
//! the secrets whose reservations are over, by their names, which are facts.
//!
//! Each is looked for in the sweep after its host was given back, then when that is twice as long ago, and so on: what was made
//! late goes before it is twice as late, and a name costs a request for each doubling, some twenty in a year. Who starts looks
//! for all once, since whoever was killed is started again. They are few ([`SPENT_SECRETS`] a resource), and one is looked for
//! after the other, with a pause.
//!
//! [`SPENT_SECRETS`]: bellhop_domain::reservation::SPENT_SECRETS

use std::collections::HashMap;
use std::time::Duration;

use bellhop_domain::reservation::SpentSecret;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::cluster::WritableCluster;
use super::driver::{Driver, Hands};

/// The pause between two looks: a thousand hosts with all that is remembered of them are looked through within half an hour.
const PAUSE: Duration = Duration::from_millis(100);
/// So many failures in a row end a round: the API server is away, and the next round goes on.
const FAILURES: u32 = 3;

/// Looks for what was made too late until told to stop.
pub(crate) async fn run(driver: &Driver, sweep: Duration, stop: &CancellationToken) {
    let Hands::Live(cluster) = &driver.hands else {
        return;
    };
    let mut looks = Looks {
        first: SignedDuration::try_from(sweep).unwrap_or(SignedDuration::MAX),
        done: HashMap::new(),
    };
    let mut rounds = tokio::time::interval(sweep);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = round(driver, cluster, &mut looks) => {}
        }
    }
}

/// Looks for all that are due, the youngest first.
async fn round(driver: &Driver, cluster: &WritableCluster, looks: &mut Looks) {
    let now = Timestamp::now();
    let mut due = driver.folded.read(|ledger| {
        looks.forget_all_but(ledger.spent_secrets());
        let due = ledger
            .spent_secrets()
            .filter(|spent| looks.is_due(spent, now));
        due.cloned().collect::<Vec<_>>()
    });
    due.sort_by_key(|spent| std::cmp::Reverse(spent.released));
    let mut failures = 0;
    for spent in due {
        let owner = driver.owner(&spent.reservation, &spent.host);
        match cluster.delete_secret(&spent.secret, &owner).await {
            Ok(was_there) => {
                failures = 0;
                looks.note(&spent, now);
                if was_there {
                    tracing::warn!(
                        secret = spent.secret,
                        reservation = %spent.reservation,
                        host = %spent.host,
                        "deleted a secret that was made when its reservation was over already"
                    );
                }
            }
            // The role of a namespace that is not served any more.
            Err(error) if error.is_forbidden() => looks.note(&spent, now),
            Err(error) => {
                failures += 1;
                tracing::debug!(
                    secret = spent.secret,
                    error = error.text(),
                    "could not look for a secret that nobody needs"
                );
            }
        }
        if failures == FAILURES {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// When each was looked for last by this process.
struct Looks {
    /// How long after a host was given back its secret is looked for first.
    first: SignedDuration,
    done: HashMap<String, Timestamp>,
}

impl Looks {
    fn is_due(&self, spent: &SpentSecret, now: Timestamp) -> bool {
        let Some(last) = self.done.get(&spent.secret) else {
            return true;
        };
        let age = last.duration_since(spent.released).max(self.first / 2);
        now.duration_since(spent.released) >= age.saturating_add(age)
    }

    fn note(&mut self, spent: &SpentSecret, now: Timestamp) {
        self.done.insert(spent.secret.clone(), now);
    }

    fn forget_all_but<'a>(&mut self, known: impl Iterator<Item = &'a SpentSecret>) {
        let mut kept = HashMap::with_capacity(self.done.len());
        for spent in known {
            if let Some((secret, at)) = self.done.remove_entry(&spent.secret) {
                kept.insert(secret, at);
            }
        }
        self.done = kept;
    }
}

#[cfg(test)]
mod tests {
    use bellhop_domain::id::{HostRef, ReservationId, Source};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    #[test]
    fn a_secret_is_looked_for_at_once_and_then_when_its_release_is_twice_as_long_ago() {
        let spent = SpentSecret {
            reservation: ReservationId::new(Source::new("s"), "1"),
            host: HostRef {
                namespace: "metal3".into(),
                name: "node01".into(),
                uid: "uid-1".into(),
            },
            secret: "node01-abc".into(),
            released: at(1000),
        };
        let mut looks = Looks {
            first: SignedDuration::from_secs(60),
            done: HashMap::new(),
        };
        let mut looked = Vec::new();
        for second in 1000..1000 + 31 * 24 * 3600 {
            if looks.is_due(&spent, at(second)) {
                looks.note(&spent, at(second));
                looked.push(second - 1000);
            }
        }
        assert_eq!(looked[..5], [0, 60, 120, 240, 480]);
        assert_eq!(looked.len(), 17);
        looks.forget_all_but([&spent].into_iter());
        assert!(!looks.is_due(&spent, at(1000 + 31 * 24 * 3600)));
        looks.forget_all_but([].into_iter());
        assert!(looks.is_due(&spent, at(1000 + 31 * 24 * 3600)));
    }
}
