//! Facts about reservations of one server, and entries of the ledger made of them.

#![allow(clippy::unwrap_used, dead_code)]

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::reservation::fact::{
    AcceptedStart, Announced, Ended, MovedIn, Refused, Started,
};
use bellhop_domain::reservation::{
    DeliveryRef, EndCause, EndOutcome, Fact, FailureReason, HeardSaid, HeardWord, HostError,
    HostLeft, Image, Knowledge, Note, Schedule, TenantKey, Terms, WaitReason,
};
use bellhop_event_store::Entry;
use jiff::Timestamp;

/// The server.
pub(crate) const SERVER: &str = "lab7-node04";
/// Its number at the reservation system.
pub(crate) const SERVER_NUMBER: i64 = 31;
/// Whose reservations they are.
pub(crate) const USER: &str = "9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f";
/// Under which webhook they came.
pub(crate) const WEBHOOK: &str = "12";
/// The payload of a start, as a fact holds it.
pub(crate) const PAYLOAD: &str = r#"{"eventType":"EVENT_START","eventId":"5120"}"#;

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn server(name: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
}

pub(crate) fn reservation(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

pub(crate) fn schedule() -> Schedule {
    Schedule {
        start: time("2026-12-03T08:00:00Z"),
        end: time("2026-12-03T17:30:00Z"),
    }
}

pub(crate) fn knowledge(schedule: Schedule, said_at: &str) -> Knowledge {
    Knowledge {
        schedule,
        updated_at: None,
        said_at: time(said_at),
        said_by: DeliveryId::new(said_at),
    }
}

fn delivery() -> DeliveryRef {
    DeliveryRef {
        sequence: 1,
        id: DeliveryId::new("delivery"),
    }
}

/// One reservation, and the facts that can be about it.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) id: ReservationId,
    pub(crate) user: Option<UserId>,
    pub(crate) webhook: WebhookId,
    pub(crate) number: Option<i64>,
}

impl Story {
    pub(crate) fn of(event: &str) -> Self {
        Self {
            id: reservation(event),
            user: Some(UserId::new(USER)),
            webhook: WebhookId::new(WEBHOOK),
            number: Some(SERVER_NUMBER),
        }
    }

    pub(crate) fn by_nobody(mut self) -> Self {
        self.user = None;
        self
    }

    pub(crate) fn by(mut self, user: &str) -> Self {
        self.user = Some(UserId::new(user));
        self
    }

    pub(crate) fn under(mut self, webhook: &str) -> Self {
        self.webhook = WebhookId::new(webhook);
        self
    }

    pub(crate) fn announced(&self) -> Fact {
        Fact::ReservationAnnounced(self.announcement(schedule(), "2026-12-02T10:00:00Z"))
    }

    /// A booking of a resource of this site.
    pub(crate) fn announced_of(&self, site: &str) -> Fact {
        Fact::ReservationAnnounced(Announced {
            site: Some(SiteId::new(site)),
            ..self.announcement(schedule(), "2026-12-02T10:00:00Z")
        })
    }

    pub(crate) fn extended(&self, end: &str) -> Fact {
        let schedule = Schedule {
            end: time(end),
            ..schedule()
        };
        Fact::ReservationChanged(self.announcement(schedule, "2026-12-03T17:00:00Z"))
    }

    pub(crate) fn moved_in(&self) -> Fact {
        Fact::ReservationMovedIn(Box::new(MovedIn {
            from: "baremetalhost/metal3/lab7-node03".parse().unwrap(),
            announced: self.announcement(schedule(), "2026-12-03T07:58:00Z"),
            started: Some(AcceptedStart {
                terms: terms(),
                key: TenantKey::InDelivery,
                delivery: delivery(),
                host_stays: false,
            }),
            site_named: false,
            rehomed: false,
        }))
    }

    /// Its host was adopted.
    pub(crate) fn moved_from_an_adopted_host(&self) -> Fact {
        let Fact::ReservationMovedIn(mut moved) = self.moved_in() else {
            unreachable!("a move is a move");
        };
        moved.started = moved.started.map(|started| AcceptedStart {
            host_stays: true,
            ..started
        });
        Fact::ReservationMovedIn(moved)
    }

    /// The same resource, in the namespace that its site turned out to have.
    pub(crate) fn rehomed(&self) -> Fact {
        let Fact::ReservationMovedIn(mut moved) = self.moved_in() else {
            unreachable!("a move is a move");
        };
        moved.from = "baremetalhost/metal3-b/lab7-node04".parse().unwrap();
        moved.rehomed = true;
        Fact::ReservationMovedIn(moved)
    }

    pub(crate) fn postponed(&self) -> Fact {
        Fact::ReservationPostponed {
            reservation: self.id.clone(),
            until: "2026-12-04T08:00:00Z".parse().unwrap(),
        }
    }

    pub(crate) fn owner_changed(&self) -> Vec<Fact> {
        let user = UserId::new("9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f");
        let to = UserId::new("another-user");
        vec![
            Fact::OwnerWithdrawn {
                reservation: self.id.clone(),
                user,
            },
            Fact::OwnerChanged {
                reservation: self.id.clone(),
                to,
            },
        ]
    }

    pub(crate) fn changed_too_late(&self) -> Fact {
        Fact::ChangeCameTooLate(self.announcement(schedule(), "2026-12-04T07:58:00Z"))
    }

    /// A change that gives the booking to another user.
    pub(crate) fn given_too_late(&self) -> Fact {
        let mut announced = self.announcement(schedule(), "2026-12-04T07:59:00Z");
        announced.user = Some(UserId::new("another-user"));
        Fact::ChangeCameTooLate(announced)
    }

    /// A word that changes nothing.
    pub(crate) fn heard(&self, said: HeardSaid) -> Fact {
        let payload = match said {
            HeardSaid::Start | HeardSaid::StartAnew => PAYLOAD.to_owned(),
            HeardSaid::Changed => PAYLOAD.replace("START", "UPDATED"),
            HeardSaid::End | HeardSaid::EndBeforeExtension => PAYLOAD.replace("START", "END"),
            HeardSaid::Deleted => PAYLOAD.replace("START", "DELETED"),
        };
        Fact::WordHeard(Box::new(HeardWord {
            reservation: self.id.clone(),
            said,
            webhook: self.webhook.clone(),
            user: self.user.clone(),
            resource_number: self.number,
            site: None,
            knowledge: knowledge(schedule(), "2026-12-03T17:31:00Z"),
            delivery: delivery(),
            payload,
        }))
    }

    /// That its webhook told of it too.
    pub(crate) fn webhook_heard(&self) -> Fact {
        Fact::WebhookHeard {
            reservation: self.id.clone(),
            webhook: self.webhook.clone(),
            delivery: delivery(),
        }
    }

    fn announcement(&self, schedule: Schedule, said_at: &str) -> Announced {
        Announced {
            reservation: self.id.clone(),
            user: self.user.clone(),
            webhook: self.webhook.clone(),
            resource_number: self.number,
            site: None,
            knowledge: knowledge(schedule, said_at),
            delivery: delivery(),
        }
    }

    pub(crate) fn started(&self) -> Fact {
        self.started_with(TenantKey::InDelivery)
    }

    pub(crate) fn started_with(&self, key: TenantKey) -> Fact {
        Fact::ReservationStarted(Box::new(Started {
            reservation: self.id.clone(),
            user: self.user.clone(),
            webhook: self.webhook.clone(),
            resource_number: self.number,
            site: None,
            site_named: false,
            knowledge: knowledge(schedule(), "2026-12-03T07:55:20Z"),
            delivery: delivery(),
            terms: Terms {
                without_key: key != TenantKey::InDelivery,
                ..terms()
            },
            key,
            payload: PAYLOAD.to_owned(),
        }))
    }

    /// A start that chose this image of the catalogue.
    pub(crate) fn started_choosing(&self, image: &str) -> Fact {
        let Fact::ReservationStarted(mut started) = self.started() else {
            unreachable!("a start is a start");
        };
        started.terms.image.name = Some(image.to_owned());
        Fact::ReservationStarted(started)
    }

    pub(crate) fn refused(&self) -> Fact {
        Fact::ReservationRefused(Refused {
            announced: Announced {
                reservation: self.id.clone(),
                user: self.user.clone(),
                webhook: self.webhook.clone(),
                resource_number: self.number,
                site: None,
                knowledge: knowledge(schedule(), "2026-12-03T17:45:00Z"),
                delivery: delivery(),
            },
            payload: PAYLOAD.to_owned(),
        })
    }

    pub(crate) fn waits(&self, reason: WaitReason) -> Fact {
        Fact::ReservationWaits {
            reservation: self.id.clone(),
            reason,
        }
    }

    pub(crate) fn key_brought(&self) -> Fact {
        Fact::KeyBrought {
            reservation: self.id.clone(),
            delivery: delivery(),
            note: None,
        }
    }

    pub(crate) fn assigned(&self) -> Fact {
        let host = HostRef {
            namespace: "metal3".to_owned(),
            name: SERVER.to_owned(),
            uid: "uid".to_owned(),
        };
        Fact::HostAssigned {
            reservation: self.id.clone(),
            host,
            secret: "secret".to_owned(),
        }
    }

    pub(crate) fn claimed(&self) -> Fact {
        Fact::HostClaimed {
            reservation: self.id.clone(),
        }
    }

    pub(crate) fn resumed(&self) -> Fact {
        Fact::ProvisioningResumed {
            reservation: self.id.clone(),
        }
    }

    pub(crate) fn error_seen(&self, attempt: u32) -> Fact {
        Fact::ProvisioningErrorSeen {
            reservation: self.id.clone(),
            error: host_error(),
            attempt,
            attempts: 3,
        }
    }

    pub(crate) fn error_cleared(&self) -> Fact {
        Fact::ProvisioningErrorCleared {
            reservation: self.id.clone(),
        }
    }

    pub(crate) fn provisioned(&self) -> Fact {
        Fact::HostProvisioned {
            reservation: self.id.clone(),
            address: Some("198.51.100.34".to_owned()),
        }
    }

    pub(crate) fn provisioned_somewhere(&self) -> Fact {
        Fact::HostProvisioned {
            reservation: self.id.clone(),
            address: None,
        }
    }

    pub(crate) fn troubled(&self) -> Fact {
        Fact::ReadyHostTroubled {
            reservation: self.id.clone(),
            trouble: "power management error: the BMC does not answer".to_owned(),
        }
    }

    pub(crate) fn recovered(&self) -> Fact {
        Fact::ReadyHostRecovered {
            reservation: self.id.clone(),
        }
    }

    pub(crate) fn changed_by_others(&self) -> Fact {
        Fact::HostChangedByOthers {
            reservation: self.id.clone(),
            change: "spec.image.url is another one".to_owned(),
        }
    }

    pub(crate) fn failed(&self, reason: FailureReason) -> Fact {
        Fact::ReservationFailed {
            reservation: self.id.clone(),
            reason,
        }
    }

    pub(crate) fn ended(&self, cause: EndCause, outcome: EndOutcome) -> Fact {
        let by_delivery = matches!(cause, EndCause::End | EndCause::Deleted);
        Fact::ReservationEnded(Ended {
            reservation: self.id.clone(),
            cause,
            outcome,
            user: self.user.clone(),
            webhook: by_delivery.then(|| self.webhook.clone()),
            resource_number: self.number,
            site: None,
            delivery: by_delivery.then(delivery),
            payload: by_delivery.then(|| PAYLOAD.replace("START", "END")),
            knowledge: None,
            note: (cause == EndCause::Operator).then(note),
        })
    }

    pub(crate) fn extended_by_an_operator(&self, until: &str) -> Fact {
        Fact::DeadlineExtended {
            reservation: self.id.clone(),
            until: time(until),
            note: note(),
        }
    }

    /// An operator holds the host, whatever comes.
    pub(crate) fn host_held() -> Fact {
        Fact::HostHeld { note: note() }
    }

    pub(crate) fn overdue(&self) -> Fact {
        Fact::StartOverdue {
            reservation: self.id.clone(),
        }
    }

    pub(crate) fn missed(&self) -> Fact {
        Fact::ReservationMissed {
            reservation: self.id.clone(),
        }
    }

    pub(crate) fn deadline_passed(&self, hold_until: &str) -> Fact {
        Fact::DeadlinePassed {
            reservation: self.id.clone(),
            hold_until: time(hold_until),
        }
    }

    pub(crate) fn held_again(&self, hold_until: &str) -> Fact {
        Fact::DeadlineHeldAgain {
            reservation: self.id.clone(),
            hold_until: time(hold_until),
        }
    }

    pub(crate) fn released(&self) -> Fact {
        Fact::HostReleased {
            reservation: self.id.clone(),
            took: std::time::Duration::from_secs(95),
            left: HostLeft::Off,
            not_wiped: false,
        }
    }

    /// Everything up to a host that is being prepared, entry by entry.
    pub(crate) fn to_preparing(&self) -> Vec<Vec<Fact>> {
        vec![
            vec![self.started()],
            vec![self.assigned()],
            vec![self.claimed(), self.resumed()],
        ]
    }

    /// Everything up to a host that is ready, entry by entry.
    pub(crate) fn to_ready(&self) -> Vec<Vec<Fact>> {
        let mut entries = self.to_preparing();
        entries.push(vec![self.provisioned()]);
        entries
    }
}

/// What an operator says of an order.
fn note() -> Note {
    Note {
        by: "ada".to_owned(),
        why: "its user asked".to_owned(),
        at: None,
    }
}

pub(crate) fn host_error() -> HostError {
    HostError {
        kind: "provisioning error".to_owned(),
        message: "image could not be written: checksum mismatch.\nsee the log".to_owned(),
    }
}

/// When the entry with this number in a history was decided: two minutes after the one before.
pub(crate) fn decided_at(number: usize) -> Timestamp {
    let number = i64::try_from(number).unwrap();
    time("2026-12-03T07:55:00Z") + jiff::SignedDuration::from_mins(2 * number)
}

/// A history of one server as entries of the ledger, from version 1 on.
pub(crate) fn entries(history: Vec<Vec<Fact>>) -> Vec<Entry> {
    let entry = |(number, facts): (usize, Vec<Fact>)| Entry {
        resource: server(SERVER),
        version: Version(number as u64 + 1),
        id: None,
        at: decided_at(number),
        facts,
        traceparent: None,
        cause: "test".to_owned(),
    };
    history.into_iter().enumerate().map(entry).collect()
}

fn terms() -> Terms {
    Terms {
        image: Image {
            name: None,
            url: "http://images.example/noble.qcow2".to_owned(),
            checksum: None,
            checksum_type: None,
            format: None,
        },
        login: "prognose".to_owned(),
        without_key: false,
    }
}
