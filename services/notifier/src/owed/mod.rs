//! Which fact owes a report to which destination, and what the report says. Pure.
//!
//! Two questions, asked at two times:
//!
//! - [`owes`] when a fact is folded: is there a report for it at all? The answer hangs only on the ledger up to that entry,
//!   so every notifier gives the same, and the order of a reservation's reports is known to all of them.
//! - [`compose`] when the report can leave, maybe hours later: what does it say in the light of what is true *now*? One
//!   that is not true any more is not sent; a later fact says what is.

mod notification;
mod text;
mod webhook_log;

use bellhop_domain::id::{self as domain, ReservationId, ResourceId};
use bellhop_domain::reservation::{Fact, HeardSaid, Holding, Occupancy, Reservation, Resource};
use bellhop_reservation_system::{RefusedByReceiver, WebhookId};
use jiff::Timestamp;

use crate::destination::Destination;

/// A fact in its entry of the ledger, and the state of its resource.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The resource.
    pub resource_id: &'a ResourceId,
    /// All facts of the entry.
    pub facts: &'a [Fact],
    /// Which of them.
    pub index: usize,
    /// When they were decided.
    pub at: Timestamp,
    /// The resource's state: for [`owes`] after the entry, for [`compose`] now.
    pub resource: &'a Resource,
    /// When the reservation was given its host, where it was.
    pub assigned_at: Option<Timestamp>,
    /// The webhooks that brought deliveries about the reservation: that of its accepted start, then the others.
    pub webhooks: &'a [domain::WebhookId],
    /// The payload of its start.
    pub start: StartPayload<'a>,
}

/// The payload of the start that a report is about, where the fact itself does not hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPayload<'a> {
    /// No start came.
    None,
    /// Without key, e-mail and name.
    Kept(&'a str),
    /// A start came, and the entry of the ledger that holds its payload can't be had any more.
    Gone,
}

impl<'a> StartPayload<'a> {
    /// What `facts`, in which it should be, hold of a reservation's start.
    pub fn among(facts: &'a [Fact], reservation: &ReservationId) -> Self {
        let kept = facts
            .iter()
            .filter(|fact| fact.reservation() == Some(reservation))
            .find_map(start_payload);
        kept.map_or(Self::Gone, Self::Kept)
    }
}

/// The payload of the start that led to a fact.
pub fn start_payload(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::ReservationStarted(started) => Some(&started.payload),
        // Beside the failure of a start that nothing could be given to.
        Fact::WordHeard(word) if word.said == HeardSaid::Start => Some(&word.payload),
        _ => None,
    }
}

/// Whether what the fact owes to `destination` says the payload of the reservation's start.
pub fn tells_of_start(destination: Destination, fact: &Fact) -> bool {
    destination == Destination::WebhookLog && webhook_log::tells_of_start(fact)
}

/// What is to be sent to one destination: the same under each webhook that it may leave under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Under the webhook of the accepted start.
    pub first: ReportCopy,
    /// Under the other webhooks that brought deliveries about the reservation, should the receiver not take the first.
    pub others: Vec<ReportCopy>,
}

impl Report {
    /// All of them, in the order in which they are tried.
    pub fn copies(&self) -> impl Iterator<Item = &ReportCopy> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// A report under one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCopy {
    /// The webhook that it names, and whose secret signs it.
    pub webhook: WebhookId,
    /// The bytes to sign and to send. They hold a user's id and no key, e-mail address, name or secret.
    pub body: Vec<u8>,
    /// What it says, in one line that names no user: for the log.
    pub says: String,
    /// The same body without the resource's number, where it has one: the receiver refuses one that it does not know any more.
    pub without_resource: Option<Vec<u8>>,
}

/// What [`compose`] made of an owed report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composed {
    /// It is to be sent.
    Send(Report),
    /// It is not true any more, for this reason.
    NoLongerTrue(&'static str),
    /// The receiver would refuse it whatever is done, for this reason.
    Unsendable(String),
}

/// Whether the fact owes a report to `destination`. `was_over`: the reservation was over before the fact; of what is said about
/// it then only that it came too late is owed, so that there is one final outcome for each reservation.
pub fn owes(destination: Destination, occasion: &Occasion<'_>, was_over: bool) -> bool {
    let Some((fact, reservation)) = occasion.fact().zip(occasion.reservation()) else {
        return false;
    };
    // Nobody could sign it. No fact makes a reservation known without naming a webhook, but for an end that no delivery
    // brought, and that one is only ever decided for a known reservation.
    let silent = match fact {
        Fact::ChangeCameTooLate(_) => false,
        // Before that the fact beside it says what became of the word.
        Fact::WordHeard(word) => !was_over && word.said != HeardSaid::EndBeforeExtension,
        _ => was_over,
    };
    if silent || reservation.webhook.is_none() {
        return false;
    }
    match destination {
        Destination::Notification => {
            user(reservation).is_some() && notification::owes(fact, occasion)
        }
        Destination::WebhookLog => webhook_log::owes(fact),
    }
}

/// What the report says that the fact owes to `destination`.
pub fn compose(destination: Destination, occasion: &Occasion<'_>) -> Composed {
    let unsendable = |reason: &dyn std::fmt::Display| Composed::Unsendable(reason.to_string());
    let Some((fact, reservation)) = occasion.fact().zip(occasion.reservation()) else {
        return unsendable(&"the ledger does not know its reservation");
    };
    let Some(id) = fact.reservation() else {
        return unsendable(&"it is about no reservation");
    };
    let about = About {
        fact,
        id,
        occasion,
        reservation,
        name: text::one_line(occasion.resource_id.name(), text::NAME_LIMIT),
    };
    if destination == Destination::Notification
        && let Some(reason) = notification::no_longer_true(&about)
    {
        return Composed::NoLongerTrue(reason);
    }
    let mut copies = Vec::new();
    let mut refused = "its reservation came under no webhook".to_owned();
    for webhook in occasion.webhooks {
        match copy(destination, webhook, &about) {
            Ok(Some(copy)) => copies.push(copy),
            Ok(None) => {
                return Composed::NoLongerTrue("this version of Bellhop says nothing about it");
            }
            Err(why) => refused = why,
        }
    }
    let mut copies = copies.into_iter();
    match copies.next() {
        Some(first) => Composed::Send(Report {
            first,
            others: copies.collect(),
        }),
        None => unsendable(&refused),
    }
}

/// The report under one webhook; none where there is nothing to say.
fn copy(
    destination: Destination,
    webhook: &domain::WebhookId,
    about: &About<'_>,
) -> Result<Option<ReportCopy>, String> {
    let webhook = WebhookId::parse(webhook.as_str())
        .map_err(|error| format!("its webhook id can't be one: {error}"))?;
    let (written, without_resource) = match destination {
        Destination::Notification => (notification::body(webhook.clone(), about), Ok(None)),
        Destination::WebhookLog => {
            let log = |number| webhook_log::body(webhook.clone(), about, number);
            let number = about.reservation.resource_number;
            (log(number), number.map_or(Ok(None), |_| log(None)))
        }
    };
    let written = written.map_err(|refused| refused.to_string())?;
    let without_resource = without_resource.map_err(|refused| refused.to_string())?;
    Ok(written.map(|written| ReportCopy {
        webhook,
        body: written.body,
        says: written.says,
        without_resource: without_resource.map(|written| written.body),
    }))
}

/// Everything that a text may speak of.
struct About<'a> {
    fact: &'a Fact,
    id: &'a ReservationId,
    occasion: &'a Occasion<'a>,
    reservation: &'a Reservation,
    /// The resource's name, fit to be printed.
    name: String,
}

/// A body, and what it says in one line that names no user.
struct Written {
    body: Vec<u8>,
    says: String,
}

type Body = Result<Option<Written>, RefusedByReceiver>;

impl<'a> Occasion<'a> {
    fn fact(&self) -> Option<&'a Fact> {
        self.facts.get(self.index)
    }

    fn reservation(&self) -> Option<&'a Reservation> {
        self.resource.reservations.get(self.fact()?.reservation()?)
    }

    /// What the fact's reservation has, where it has anything.
    fn holding(&self) -> Option<&'a Holding> {
        let reservation = self.fact()?.reservation()?;
        self.resource
            .holding()
            .filter(|holding| holding.reservation == *reservation)
    }

    /// Whether an operator keeps the host that the reservation has, or gives back: then it is not taken back now.
    fn is_kept(&self) -> bool {
        let whose = match &self.resource.occupancy {
            Occupancy::Free => None,
            Occupancy::Held(holding) => Some(&holding.reservation),
            Occupancy::Releasing(release) => Some(&release.reservation),
        };
        let is_its_own = whose.is_some() && whose == self.fact().and_then(Fact::reservation);
        is_its_own && self.resource.orders.held.is_some()
    }

    /// Whether the same entry says that a start came under the id of one that is over.
    fn starts_anew(&self) -> bool {
        self.facts
            .iter()
            .any(|fact| matches!(fact, Fact::WordHeard(word) if word.said == HeardSaid::StartAnew))
    }

    /// Whether the same entry says that the reservation failed.
    fn fails_at_once(&self, reservation: &ReservationId) -> bool {
        self.facts.iter().any(|fact| {
            matches!(fact, Fact::ReservationFailed { reservation: failed, .. } if failed == reservation)
        })
    }
}

fn user(reservation: &Reservation) -> Option<&str> {
    let user = reservation.user.as_ref()?.as_str();
    (!user.trim().is_empty()).then_some(user)
}

#[cfg(test)]
mod tests;
