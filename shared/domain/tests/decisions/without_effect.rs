//! Orders about a reservation from which nothing follows, and why.

use bellhop_domain::reservation::{Order, Reservation, WithoutEffect};

use super::orders::delivery;
use super::*;

impl Story {
    fn known(&self, event: &str) -> &Reservation {
        &self.resource.reservations[&id(event)]
    }
}

#[test]
fn a_deadline_is_moved_to_later_only() {
    let mut story = ready();
    let end = at(3 * HOUR);
    for (until, why) in [
        (end, Some(WithoutEffect::EndsAt { end })),
        (at(2 * HOUR), Some(WithoutEffect::EndsLater { end })),
        (at(8 * HOUR), None),
        // It was extended by now.
        (
            at(7 * HOUR),
            Some(WithoutEffect::EndsLater { end: at(8 * HOUR) }),
        ),
    ] {
        assert_eq!(story.known("a").why_not_extended(until), why);
        let facts = story.ordered(Order::Extend {
            reservation: id("a"),
            until,
        });
        assert_eq!(facts.is_empty(), why.is_some(), "{until}: {facts:?}");
    }
    story.said("a", Said::End);
    assert_eq!(
        story.known("a").why_not_extended(at(9 * HOUR)),
        Some(WithoutEffect::NotHere)
    );
}

#[test]
fn who_was_allowed_already_is_not_allowed_again() {
    let mut story = releasing();
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: true,
    });
    story.said("b", start());
    let allow = |story: &mut Story, why| {
        assert_eq!(story.known("b").why_not_allowed(), why);
        let facts = story.ordered(Order::Allow {
            reservation: id("b"),
        });
        assert_eq!(facts.is_empty(), why.is_some(), "{facts:?}");
    };
    allow(&mut story, Some(WithoutEffect::AsksNoOperator));
    story.observed(clean());
    allow(&mut story, None);
    allow(&mut story, Some(WithoutEffect::Allowed));
    story.observed(clean());
    allow(&mut story, Some(WithoutEffect::AsksNoOperator));
    story.said("b", Said::Deleted);
    allow(&mut story, Some(WithoutEffect::NotHere));
}

#[test]
fn a_key_is_brought_to_who_lacks_one_and_once() {
    let mut story = unknown();
    let reason = "none came".to_owned();
    story.said(
        "a",
        Said::Start {
            key: TenantKey::Missing { reason },
            terms: terms(),
        },
    );
    for why in [None, Some(WithoutEffect::LacksNoKey)] {
        assert_eq!(story.known("a").why_no_key(), why);
        let facts = story.ordered(Order::BringKey {
            reservation: id("a"),
            user: None,
            delivery: delivery(),
        });
        assert_eq!(facts.is_empty(), why.is_some(), "{facts:?}");
    }
    assert_eq!(
        ready().known("a").why_no_key(),
        Some(WithoutEffect::LacksNoKey)
    );
}
