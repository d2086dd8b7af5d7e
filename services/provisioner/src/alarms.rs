//! Alarms that follow from the folded ledger and the hosts: raised while the state says so, cleared when it doesn't.

use std::collections::{HashMap, HashSet};

use bellhop_domain::id::ResourceId;
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Note, Occupancy, Orders};
use bellhop_service::notices::{Alarms, Shown};
use jiff::Timestamp;

use crate::baremetalhost::watch::KnownHosts;
use crate::folded::FoldedLedger;

const UNKNOWN_HOLDER: &str = "unknown_holder";
const NOT_ADOPTED: &str = "not_adopted";

/// Which alarms are on because of what.
pub(crate) struct AlarmBoard {
    alarms: Alarms,
    shown: Shown,
    folded: FoldedLedger,
    known: KnownHosts,
    raised: HashMap<ResourceId, HashSet<(&'static str, String)>>,
    unknown: HashSet<String>,
    /// Not adopted, though perhaps over.
    left: HashSet<String>,
    /// Seen once: the watch may lag behind the ledger.
    suspected: HashSet<String>,
}

impl AlarmBoard {
    pub(crate) fn new(
        alarms: Alarms,
        shown: Shown,
        folded: FoldedLedger,
        known: KnownHosts,
    ) -> Self {
        Self {
            alarms,
            shown,
            folded,
            known,
            raised: HashMap::new(),
            unknown: HashSet::new(),
            left: HashSet::new(),
            suspected: HashSet::new(),
        }
    }

    /// Brings the alarms of one resource to what its state says.
    pub(crate) fn update(&mut self, resource: &ResourceId) {
        let (alarms, orders) = self
            .folded
            .read(|ledger| {
                let state = ledger.resource(resource)?;
                Some((ledger.alarms(resource), state.orders.clone()))
            })
            .unwrap_or_default();
        self.show(resource, &orders);
        let mut on = HashSet::new();
        let now = Timestamp::now();
        for alarm in alarms.into_iter().filter(|alarm| alarm.is_on(now)) {
            let key = format!("{resource} {}", alarm.reservation);
            self.alarms.raise(alarm.kind.as_str(), &key, &alarm.text);
            on.insert((alarm.kind.as_str(), key));
        }
        let before = self.raised.remove(resource).unwrap_or_default();
        for (kind, key) in before.difference(&on) {
            self.alarms.clear(kind, key);
        }
        if !on.is_empty() {
            self.raised.insert(resource.clone(), on);
        }
    }

    /// What operators ordered is shown as long as it stands.
    fn show(&self, resource: &ResourceId, orders: &Orders) {
        let key = resource.to_string();
        let show = |kind, order: &Option<Note>| match order {
            Some(note) => self
                .shown
                .show(kind, &key, &format!("by {}: {}", note.by, note.why)),
            None => self.shown.clear(kind, &key),
        };
        show("paused", &orders.paused);
        show("held", &orders.held);
        show("handed_back", &orders.handed_back);
    }

    /// Brings all alarms to what the state says, those of the hosts too.
    pub(crate) fn update_all(&mut self) {
        for resource in self.folded.resources_where(|_, _| true) {
            self.update(&resource);
        }
        self.unknown_holders();
        self.not_adopted();
    }

    /// A host that the service before Bellhop prepared, and whose reservation may have ended here: nobody will take it back.
    fn not_adopted(&mut self) {
        let ended = self.folded.read(|ledger| {
            let ended = ledger.resources().filter_map(|(id, resource)| {
                let (reservation, at) = resource.ended_with_the_service_before()?;
                let name = (id.namespace().to_owned(), id.name().to_owned());
                Some((name, (reservation.clone(), at)))
            });
            ended.collect::<HashMap<_, _>>()
        });
        let mut on = HashSet::new();
        for (name, host) in self.known.all() {
            let Some((reservation, at)) = ended.get(&(host.namespace, host.answers_to)) else {
                continue;
            };
            if host.of_the_service_before {
                let text = format!(
                    "the end of reservation {reservation} came at {at}, and host {name}, which was not adopted, has an image that the \
                     service before Bellhop set: look whether somebody works there; it is left alone"
                );
                self.alarms.raise(NOT_ADOPTED, &name, &text);
                on.insert(name);
            }
        }
        for name in self.left.difference(&on) {
            self.alarms.clear(NOT_ADOPTED, name);
        }
        self.left = on;
    }

    /// A host that carries our `consumerRef` for a reservation that the ledger does not know as its holder (R13).
    fn unknown_holders(&mut self) {
        let held = self.folded.read(held_hosts);
        let mut on = HashSet::new();
        let suspected = std::mem::take(&mut self.suspected);
        for (name, host) in self.known.all() {
            let Some(reservation) = host.reservation else {
                continue;
            };
            if held
                .get(&host.uid)
                .is_some_and(|holder| *holder == reservation)
            {
                continue;
            }
            self.suspected.insert(name.clone());
            if !suspected.contains(&name) {
                continue;
            }
            let text = format!(
                "host {name} says that reservation {reservation} has it, which the ledger does not know: it is left alone"
            );
            self.alarms.raise(UNKNOWN_HOLDER, &name, &text);
            on.insert(name);
        }
        for name in self.unknown.difference(&on) {
            self.alarms.clear(UNKNOWN_HOLDER, name);
        }
        self.unknown = on;
    }
}

/// The reservation that has, or still has, each host, by the host's uid.
fn held_hosts(ledger: &Ledger) -> HashMap<String, String> {
    let holders = ledger
        .resources()
        .filter_map(|(_, resource)| match &resource.occupancy {
            Occupancy::Free => None,
            Occupancy::Held(holding) => {
                Some((holding.host.uid.clone(), holding.reservation.to_string()))
            }
            Occupancy::Releasing(release) => {
                Some((release.host.uid.clone(), release.reservation.to_string()))
            }
        });
    holders.collect()
}
