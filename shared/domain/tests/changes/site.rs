//! The booking A, and the resources of a site.

use super::*;

pub(crate) const HOUR: i64 = 3600;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

pub(crate) fn a() -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), "a")
}

pub(crate) fn node(name: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
}

pub(crate) fn terms() -> Terms {
    let image = Image {
        name: None,
        url: "http://images/noble".into(),
        checksum: None,
        checksum_type: None,
        format: None,
    };
    Terms {
        image,
        login: "prognose".into(),
        without_key: false,
    }
}

pub(crate) fn host() -> HostRef {
    HostRef {
        namespace: "metal3".into(),
        name: "one".into(),
        uid: "u".into(),
    }
}

pub(crate) fn start(terms: Terms) -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms,
    }
}

/// A ledger and a clock.
#[derive(Default)]
pub(crate) struct Site {
    pub(crate) ledger: Ledger,
    pub(crate) now: i64,
    pub(crate) deliveries: u64,
}

impl Site {
    pub(crate) fn decide(&mut self, on: &str, command: &Command) -> Vec<Fact> {
        let state = self.ledger.resource(&node(on)).cloned().unwrap_or_default();
        let facts = decide(&state, command, at(self.now), &Policy::default());
        let version = Version(self.ledger.version().0 + 1);
        self.ledger
            .apply(&node(on), version, at(self.now), None, &facts);
        let state = self.ledger.resource(&node(on)).cloned().unwrap_or_default();
        assert_eq!(
            decide(&state, command, at(self.now), &Policy::default()),
            [],
            "decided again"
        );
        facts
    }

    /// A saying about the booking as it is from `start` to `end`.
    pub(crate) fn word(&mut self, said: Said, start: i64, end: i64) -> Word {
        self.deliveries += 1;
        let id = DeliveryId::new(format!("d{}", self.deliveries));
        let dated = matches!(said, Said::Changed | Said::Announced | Said::Deleted);
        Word {
            reservation: a(),
            said,
            knowledge: Knowledge {
                schedule: Schedule {
                    start: at(start),
                    end: at(end),
                },
                updated_at: dated.then(|| at(self.now)),
                said_at: at(self.now),
                said_by: id.clone(),
            },
            webhook: WebhookId::new("12"),
            delivery: DeliveryRef {
                sequence: self.deliveries,
                id,
            },
            user: Some(UserId::new("mara")),
            resource_number: Some(31),
            site: Some(SiteId::new("lab-7")),
            site_named: false,
            only_site: true,
            payload: "{}".into(),
        }
    }

    pub(crate) fn said(&mut self, on: &str, said: Said, start: i64, end: i64) -> Vec<Fact> {
        let word = self.word(said, start, end);
        self.decide(on, &Command::Said(Box::new(word)))
    }

    /// A saying about the booking that names a resource which is not served.
    pub(crate) fn of_unserved(&mut self, said: Said, number: i64) -> Command {
        Command::SaidOfUnserved(Box::new(Word {
            resource_number: Some(number),
            ..self.word(said, HOUR, 3 * HOUR)
        }))
    }

    /// What another replica recorded.
    pub(crate) fn recorded(&mut self, on: &str, fact: Fact) {
        let version = Version(self.ledger.version().0 + 1);
        self.ledger
            .apply(&node(on), version, at(self.now), None, &[fact]);
    }

    pub(crate) fn observed(&mut self, on: &str, observation: Observation) -> Vec<Fact> {
        self.decide(on, &Command::Observed(observation))
    }

    pub(crate) fn wait_until(&mut self, on: &str, now: i64) -> Vec<Fact> {
        self.now = now;
        self.decide(
            on,
            &Command::TimePassed {
                up_since: at(0),
                may_release: true,
                clock_is_right: true,
            },
        )
    }

    /// A is ready on `one`, from hour 1 to hour 3. Now is hour 1.
    pub(crate) fn ready() -> Self {
        let mut site = Self {
            now: HOUR - 60,
            ..Self::default()
        };
        site.said("one", start(terms()), HOUR, 3 * HOUR);
        site.prepared("one");
        site.now = HOUR;
        site
    }

    /// Its host is clean, given to who waits, and ready.
    pub(crate) fn prepared(&mut self, on: &str) {
        self.observed(
            on,
            Observation::Clean {
                host: host(),
                secret: "one-a".into(),
            },
        );
        let ready = ClaimedHost {
            progress: Progress::Ready { address: None },
            error: None,
            changed: None,
        };
        self.observed(on, Observation::Claimed(ready));
    }

    pub(crate) fn phase(&self, on: &str) -> Phase {
        self.ledger.resource(&node(on)).unwrap().reservations[&a()]
            .phase
            .clone()
    }

    pub(crate) fn move_in(
        &mut self,
        to: &str,
        from: &str,
        started: Option<AcceptedStart>,
    ) -> Vec<Fact> {
        let word = Box::new(self.word(Said::Changed, HOUR, 3 * HOUR));
        self.decide(
            to,
            &Command::MovedIn {
                word,
                from: node(from),
                started,
                former: None,
            },
        )
    }
}

pub(crate) fn accepted() -> AcceptedStart {
    accepted_by("d1", 1)
}

pub(crate) fn accepted_by(delivery: &str, sequence: u64) -> AcceptedStart {
    let delivery = DeliveryRef {
        sequence,
        id: DeliveryId::new(delivery),
    };
    AcceptedStart {
        terms: terms(),
        key: TenantKey::InDelivery,
        delivery,
        host_stays: false,
    }
}

pub(crate) fn names(facts: &[Fact]) -> Vec<&'static str> {
    facts.iter().map(Fact::name).collect()
}
