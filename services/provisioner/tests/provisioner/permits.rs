//! Releases of hosts whose end did not come, by provisioners that stop anywhere.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_domain::quota::{self, Answer, Quota};
use bellhop_domain::reservation::{EndCause, Fact};
use bellhop_domain::time;
use bellhop_event_store::LedgerEntry;
use bellhop_provisioner::ProvisionerSettings;
use bellhop_simulator::cluster::HostSpec;

use crate::installation::{PATIENCE, nested};
use crate::world::{NS, World, flat, in_seconds};

const HOSTS: usize = 12;
const MOST: usize = 5;

/// What the ledger holds of releases without an end.
#[derive(Default)]
struct Released {
    quota: Quota,
    /// Who got permits, and how often one was given.
    permitted: BTreeSet<String>,
    grants: usize,
    /// What was released because no end came.
    ended: Vec<String>,
    /// What was released so with no permit before.
    unpermitted: Vec<String>,
}

impl World {
    /// The settings of provisioners for which an end is missed at once.
    fn without_patience(&self) -> ProvisionerSettings {
        let mut settings = self.settings();
        settings.deadline_grace = Duration::ZERO;
        settings.deadline_hold = Duration::ZERO;
        settings.deadline_release_max = MOST;
        settings
    }

    async fn released(&self) -> Released {
        let mut released = Released::default();
        for entry in self.entries().await {
            match entry {
                LedgerEntry::DeadlineReleases(entry) => {
                    released.quota.apply(entry.version, entry.at, &entry.facts);
                    for quota::Fact::PermitGranted { to } in &entry.facts {
                        released.grants += 1;
                        released.permitted.insert(to.to_string());
                    }
                }
                LedgerEntry::Resource(entry) => {
                    for fact in &entry.facts {
                        let Fact::ReservationEnded(ended) = fact else {
                            continue;
                        };
                        if ended.cause != EndCause::Deadline {
                            continue;
                        }
                        let asker = format!("{} on {}", ended.reservation, entry.resource);
                        if !released.permitted.contains(&asker) {
                            released.unpermitted.push(asker.clone());
                        }
                        released.ended.push(asker);
                    }
                }
                LedgerEntry::Capacity(_) => {}
            }
        }
        released
    }

    /// Lets provisioners run one after the other, each until a permit was given, or for a while, and then a moment more: so they
    /// stop before, at and after each step from a permit to its release. They go on until no more are given.
    async fn run_ever_others(&self, first: u64, all_given: &Cell<bool>) {
        for run in first.. {
            let before = self.released().await.grants;
            let provisioner = self.provisioner_with(self.without_patience());
            let one_more = async {
                while self.released().await.grants == before {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            };
            let longest = Duration::from_millis(300 + 150 * run);
            let _given = tokio::time::timeout(longest, one_more).await;
            tokio::time::sleep(Duration::from_millis(7 * (run % 5))).await;
            if run % 3 == 2 {
                provisioner.stop().await;
            } else {
                provisioner.abort().await;
            }
            if all_given.get() {
                return;
            }
            all_given.set(self.released().await.permitted.len() >= MOST);
        }
    }
}

#[tokio::test]
async fn no_more_hosts_are_released_without_an_end_than_there_may_be_though_provisioners_stop_anywhere()
 {
    let hosts: Vec<String> = (1..=HOSTS)
        .map(|number| format!("node{number:02}"))
        .collect();
    let world = World::with_hosts(hosts.iter().map(|name| HostSpec::new(NS, name))).await;
    let provisioner = world.provisioner();
    for (event, host) in (1_i64..).zip(&hosts) {
        let (event, end) = (event.to_string(), in_seconds(3600));
        let start = flat("EVENT_START", &event, host, in_seconds(-3600), end);
        world.says(start).await;
    }
    for (event, host) in (1_i64..).zip(&hosts) {
        world.until_of(&event.to_string(), "HostAssigned").await;
        let mut shortened = nested(
            "EVENT_UPDATED",
            event,
            host,
            in_seconds(-3600),
            in_seconds(-60),
        );
        shortened["data"]["resource"]["id"] = 31.into();
        world.says(shortened).await;
        world
            .until_of(&event.to_string(), "ReservationChanged")
            .await;
    }
    provisioner.stop().await;

    let all_given = Cell::new(false);
    let two = async {
        tokio::join!(
            world.run_ever_others(0, &all_given),
            world.run_ever_others(3, &all_given)
        )
    };
    tokio::time::timeout(8 * PATIENCE, two).await.unwrap();
    for replica in [(); 2].map(|()| world.provisioner_with(world.without_patience())) {
        replica.until_shown("deadline_releases_stopped").await;
        replica.stop().await;
    }

    let released = world.released().await;
    assert!(
        released.unpermitted.is_empty(),
        "{:?}",
        released.unpermitted
    );
    assert_eq!(released.permitted.len(), MOST, "{:?}", released.permitted);
    assert!(released.ended.len() <= MOST, "{:?}", released.ended);
    assert!(!released.ended.is_empty());
    // What was permitted and not done may still be done: that is no other permit. None counts for ever.
    let now = jiff::Timestamp::now();
    for permitted in &released.permitted {
        let asker = bellhop_domain::id::AskerId::new(permitted.clone());
        let answer = released.quota.decide(&asker, now, MOST);
        assert_ne!(answer, Answer::Refused, "{permitted}");
    }
    let another = bellhop_domain::id::AskerId::new("another".to_owned());
    let refused = released.quota.decide(&another, now, MOST);
    assert_eq!(refused, Answer::Refused);
    let later = time::after(now, 2 * quota::WITHIN);
    let granted = released.quota.decide(&another, later, MOST);
    assert!(matches!(granted, Answer::Granted(_)), "{granted:?}");
}
