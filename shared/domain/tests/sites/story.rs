//! Two sites with a host of the same name each.

use super::*;

pub(crate) const HOUR: i64 = 3600;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

pub(crate) fn id(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

pub(crate) fn node01(namespace: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), namespace, "node01")
}

pub(crate) fn start() -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms: Terms {
            image: Image {
                name: None,
                url: "http://images/noble".into(),
                checksum: None,
                checksum_type: None,
                format: None,
            },
            login: "prognose".into(),
            without_key: false,
        },
    }
}

/// The bookings: A of site-a's node01, B of site-b's.
pub(crate) fn booking(event: &str) -> (&'static str, i64, i64, i64) {
    match event {
        "a" => ("site-a", 31, HOUR, 3 * HOUR),
        "a2" => ("site-a", 31, 4 * HOUR, 6 * HOUR),
        "b" => ("site-b", 99, HOUR, 3 * HOUR),
        "b2" => ("site-b", 99, 4 * HOUR, 6 * HOUR),
        other => panic!("no booking {other}"),
    }
}

/// A ledger and a clock.
#[derive(Clone, Default)]
pub(crate) struct Story {
    pub(crate) ledger: Ledger,
    pub(crate) now: i64,
    pub(crate) deliveries: u64,
    /// Whether `SITE_IDS` names both sites.
    pub(crate) named: bool,
}

impl Story {
    pub(crate) fn decide(&mut self, on: &ResourceId, command: &Command) -> Vec<Fact> {
        let state = self.ledger.resource(on).cloned().unwrap_or_default();
        let facts = decide(&state, command, at(self.now), &Policy::default());
        let version = Version(self.ledger.version().0 + 1);
        self.ledger.apply(on, version, at(self.now), None, &facts);
        let state = self.ledger.resource(on).cloned().unwrap_or_default();
        let again = decide(&state, command, at(self.now), &Policy::default());
        assert_eq!(again, [], "decided again after {facts:?}");
        facts
    }

    pub(crate) fn word(&mut self, event: &str, said: Said) -> Word {
        let (site, number, start, end) = booking(event);
        self.deliveries += 1;
        self.now += 1;
        let delivery = DeliveryId::new(format!("d{}", self.deliveries));
        Word {
            reservation: id(event),
            said,
            knowledge: Knowledge {
                schedule: Schedule {
                    start: at(start),
                    end: at(end),
                },
                updated_at: None,
                said_at: at(self.now),
                said_by: delivery.clone(),
            },
            webhook: WebhookId::new("12"),
            delivery: DeliveryRef {
                sequence: self.deliveries,
                id: delivery,
            },
            user: Some(UserId::new("mara")),
            resource_number: Some(number),
            site: Some(SiteId::new(site)),
            site_named: self.named,
            only_site: true,
            payload: "{}".into(),
        }
    }

    pub(crate) fn said(&mut self, event: &str, said: Said) -> Vec<Fact> {
        self.said_on("metal3", event, said)
    }

    pub(crate) fn said_on(&mut self, namespace: &str, event: &str, said: Said) -> Vec<Fact> {
        let word = self.word(event, said);
        self.decide(&node01(namespace), &Command::Said(Box::new(word)))
    }

    pub(crate) fn judged(&mut self, event: &str, judgement: SiteJudgement) -> Vec<Fact> {
        let command = Command::SiteJudged {
            reservation: id(event),
            judgement,
        };
        self.decide(&node01("metal3"), &command)
    }

    /// Takes an unsettled reservation to another namespace, as a provisioner does.
    pub(crate) fn rehomed(&mut self, event: &str, namespace: &str) -> [Vec<Fact>; 2] {
        let stands = self.ledger.place_of(&id(event)).unwrap().clone();
        let state = self.ledger.resource(&stands).unwrap();
        let (to, rehoming) = Rehoming::of_unsettled(&id(event), &stands, state, namespace).unwrap();
        let there = self.decide(&to, &Command::Rehomed(Box::new(rehoming)));
        let out = Command::MovedOut {
            reservation: id(event),
            to,
        };
        [there, self.decide(&stands, &out)]
    }

    pub(crate) fn observed(&mut self, observation: Observation) -> Vec<Fact> {
        self.decide(&node01("metal3"), &Command::Observed(observation))
    }

    pub(crate) fn phase(&self, namespace: &str, event: &str) -> &Phase {
        &self
            .ledger
            .resource(&node01(namespace))
            .unwrap()
            .reservations[&id(event)]
            .phase
    }

    pub(crate) fn desired(&self, namespace: &str) -> Desired<'_> {
        desired(self.ledger.resource(&node01(namespace)).unwrap())
    }

    pub(crate) fn unsettled(&self) -> Vec<String> {
        let unsettled = self.ledger.unsettled().into_iter();
        unsettled
            .map(|(_, reservation, _)| reservation.event().to_owned())
            .collect()
    }
}

pub(crate) fn clean() -> Observation {
    Observation::Clean {
        host: HostRef {
            namespace: "metal3".into(),
            name: "node01".into(),
            uid: "u".into(),
        },
        secret: "s".into(),
    }
}

pub(crate) fn ready() -> Observation {
    Observation::Claimed(ClaimedHost {
        progress: Progress::Ready { address: None },
        error: None,
        changed: None,
    })
}

pub(crate) fn names(facts: &[Fact]) -> Vec<&'static str> {
    facts.iter().map(Fact::name).collect()
}

pub(crate) fn unsettled() -> Story {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    story.said("b", start());
    story.said("a", start());
    story
}
