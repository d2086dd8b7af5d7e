//! One resource, what is said of it and what the driver reads.

use super::*;

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 60 * MINUTE;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

pub(super) fn id(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

pub(super) fn host() -> HostRef {
    HostRef {
        namespace: "metal3".to_owned(),
        name: "lab7-node04".to_owned(),
        uid: "u1".to_owned(),
    }
}

pub(super) fn terms() -> Terms {
    Terms {
        image: Image {
            name: None,
            url: "http://images/noble.qcow2".to_owned(),
            checksum: None,
            checksum_type: None,
            format: None,
        },
        login: "prognose".to_owned(),
        without_key: false,
    }
}

pub(super) fn start() -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    }
}

pub(super) fn unservable() -> Said {
    Said::UnservableStart {
        key: TenantKey::InDelivery,
        reason: FailureReason::ImageNotOffered {
            text: "parameter `image` asks for `jammy`; offered: noble".to_owned(),
        },
    }
}

/// One resource and a clock. A runs from hour 1 to hour 3, B from hour 4 to hour 6; an earlier one until A's start.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) resource: Resource,
    pub(super) now: i64,
    pub(super) up_since: i64,
    pub(super) deliveries: u64,
    pub(super) policy: Policy,
}

impl Story {
    pub(super) fn new() -> Self {
        Self {
            resource: Resource::default(),
            now: 0,
            up_since: 0,
            deliveries: 0,
            policy: Policy::default(),
        }
    }

    pub(super) fn hours(event: &str) -> (i64, i64) {
        match event {
            "a" => (HOUR, 3 * HOUR),
            "b" => (4 * HOUR, 6 * HOUR),
            "earlier" => (0, HOUR),
            other => panic!("no times for {other}"),
        }
    }

    pub(super) fn decide(&mut self, command: &Command) -> Vec<Fact> {
        let now = at(self.now);
        let facts = decide(&self.resource, command, now, &self.policy);
        let version = Version(self.resource.version.0 + 1);
        for fact in &facts {
            self.resource.evolve(Recorded {
                version,
                at: now,
                traceparent: None,
                fact,
            });
        }
        self.resource.version = version;
        let again = decide(&self.resource, command, now, &self.policy);
        assert_eq!(again, [], "decided again after {facts:?}");
        facts
    }

    pub(super) fn word(
        &mut self,
        event: &str,
        said: Said,
        end: i64,
        updated_at: Option<i64>,
    ) -> Word {
        self.deliveries += 1;
        let id_of_delivery = DeliveryId::new(format!("d{}", self.deliveries));
        Word {
            reservation: id(event),
            said,
            knowledge: Knowledge {
                schedule: Schedule {
                    start: at(Self::hours(event).0),
                    end: at(end),
                },
                updated_at: updated_at.map(at),
                said_at: at(self.now),
                said_by: id_of_delivery.clone(),
            },
            webhook: WebhookId::new("12"),
            delivery: DeliveryRef {
                sequence: self.deliveries,
                id: id_of_delivery,
            },
            user: Some(UserId::new("mara")),
            resource_number: Some(31),
            site: None,
            site_named: false,
            only_site: true,
            payload: "{}".to_owned(),
        }
    }

    /// A new delivery with the times that the booking has had from the beginning.
    pub(super) fn said(&mut self, event: &str, said: Said) -> Vec<Fact> {
        let word = self.word(event, said, Self::hours(event).1, None);
        self.decide(&Command::Said(Box::new(word)))
    }

    pub(super) fn extended(&mut self, event: &str, end: i64) -> Vec<Fact> {
        let word = self.word(event, Said::Changed, end, Some(self.now));
        self.decide(&Command::Said(Box::new(word)))
    }

    pub(super) fn observed(&mut self, observation: Observation) -> Vec<Fact> {
        self.decide(&Command::Observed(observation))
    }

    pub(super) fn wait_until(&mut self, now: i64) -> Vec<Fact> {
        self.now = now;
        let up_since = at(self.up_since);
        self.decide(&Command::TimePassed {
            up_since,
            may_release: true,
            clock_is_right: true,
        })
    }

    /// Somebody looks at the host as often as the timeout wants it, and Metal3 works on it all the while.
    pub(super) fn watched_until(&mut self, now: i64) -> Vec<Fact> {
        let mut facts = Vec::new();
        while let Some(next) = (self.resource.holding())
            .and_then(|holding| vigil::next_look(holding, &self.policy))
            .map(|next| next.as_second() - at(0).as_second())
            .filter(|next| *next <= now)
        {
            self.now = next;
            facts.extend(self.observed(working()));
        }
        self.now = now;
        facts
    }

    /// Nobody is there until then.
    pub(super) fn away_until(&mut self, now: i64) -> Vec<Fact> {
        self.up_since = now;
        self.wait_until(now)
    }

    pub(super) fn holding_stage(&self) -> &Stage {
        &self.resource.holding().unwrap().stage
    }
}

// The states that the tables name. Now is 55 minutes: A's start has come five minutes early.

pub(super) fn unknown() -> Story {
    Story {
        now: 55 * MINUTE,
        ..Story::new()
    }
}

pub(super) fn announced() -> Story {
    let mut story = unknown();
    story.said("a", Said::Announced);
    story
}

pub(super) fn waiting() -> Story {
    let mut story = unknown();
    story.said("a", start());
    story
}

pub(super) fn claiming() -> Story {
    let mut story = waiting();
    story.observed(clean());
    story
}

pub(super) fn preparing() -> Story {
    let mut story = claiming();
    story.observed(working());
    story
}

pub(super) fn ready() -> Story {
    let mut story = preparing();
    story.observed(provisioned());
    story
}

pub(super) fn releasing() -> Story {
    let mut story = ready();
    story.said("a", Said::End);
    story
}

pub(super) fn released() -> Story {
    let mut story = releasing();
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    story
}

pub(super) fn states() -> [(&'static str, Story); 8] {
    [
        ("unknown", unknown()),
        ("announced", announced()),
        ("waiting", waiting()),
        ("claiming", claiming()),
        ("preparing", preparing()),
        ("ready", ready()),
        ("releasing", releasing()),
        ("released", released()),
    ]
}

// What the driver reads.

pub(super) fn clean() -> Observation {
    Observation::Clean {
        host: host(),
        secret: "secret".to_owned(),
    }
}

pub(super) fn not_clean() -> Observation {
    Observation::NotClean {
        text: "it is deprovisioning".to_owned(),
    }
}

pub(super) fn no_host() -> Observation {
    Observation::NoHost {
        text: "no host is named lab7-node04".to_owned(),
    }
}

pub(super) fn refused() -> Observation {
    Observation::ClaimRefused {
        text: "someone else has it".to_owned(),
    }
}

pub(super) fn seen(progress: Progress, error: Option<&str>, changed: Option<&str>) -> Observation {
    Observation::Claimed(ClaimedHost {
        progress,
        error: error.map(|message| HostError {
            kind: "provisioning error".to_owned(),
            message: message.to_owned(),
        }),
        changed: changed.map(str::to_owned),
    })
}

pub(super) fn working() -> Observation {
    seen(Progress::Working, None, None)
}

pub(super) fn failing(message: &str) -> Observation {
    seen(Progress::Working, Some(message), None)
}

pub(super) fn paused() -> Observation {
    let reason = "paused".to_owned();
    seen(Progress::Suspended { reason }, None, None)
}

pub(super) fn provisioned() -> Observation {
    seen(Progress::Ready { address: None }, None, None)
}

pub(super) fn names(facts: &[Fact]) -> Vec<&'static str> {
    facts.iter().map(Fact::name).collect()
}

pub(super) fn failure(facts: &[Fact]) -> Option<&FailureReason> {
    facts.iter().find_map(|fact| match fact {
        Fact::ReservationFailed { reason, .. } => Some(reason),
        _ => None,
    })
}

pub(super) fn end(facts: &[Fact]) -> Option<(EndCause, EndOutcome)> {
    facts.iter().find_map(|fact| match fact {
        Fact::ReservationEnded(ended) => Some((ended.cause, ended.outcome)),
        _ => None,
    })
}

/// A column of a table: its head, and the command.
pub(super) type Column<'a> = (&'a str, fn(&mut Story) -> Vec<Fact>);

/// Checks a table: for each state, what follows from each command; `-` is nothing, `+` joins several facts.
pub(super) fn check(columns: &[Column], table: &str) {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
        .collect();
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    assert_eq!(rows[0][1..], heads[..], "the table's first line");
    let states = states();
    assert_eq!(rows.len(), states.len() + 1, "a row for each state");
    for ((state, story), row) in states.iter().zip(&rows[1..]) {
        assert_eq!(row[0], *state);
        for ((head, command), expected) in columns.iter().zip(&row[1..]) {
            let facts = command(&mut story.clone());
            let found = match names(&facts).join("+") {
                nothing if nothing.is_empty() => "-".to_owned(),
                found => found,
            };
            assert_eq!(found, *expected, "{head} while {state}");
        }
    }
}
