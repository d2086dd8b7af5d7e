//! Which sites were seen.

use super::*;

#[test]
fn all_is_served_while_only_one_site_was_ever_seen() {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    story.said("a", start());
    assert_eq!(story.unsettled(), [""; 0]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
    assert_eq!(story.ledger.sites().len(), 1);
}

#[test]
fn from_the_first_delivery_of_a_second_site_on_new_starts_of_all_sites_wait() {
    // Whatever that delivery said.
    for said in [
        Said::Announced,
        Said::Changed,
        Said::End,
        Said::Deleted,
        start(),
    ] {
        let mut story = Story::default();
        let starts = matches!(said, Said::Start { .. });
        story.said("a", Said::Announced);
        story.said("b", said);
        story.said("a", start());
        story.said("a2", start());
        let mut waiting = vec!["a", "a2"];
        waiting.extend(starts.then_some("b"));
        assert_eq!(story.unsettled(), waiting);
        // No host is looked for, so none can be given, and one that is not there fails nobody.
        assert_eq!(story.desired("metal3"), Desired::Nothing);
        let none = Observation::NoHost {
            text: "no host".into(),
        };
        assert_eq!(story.observed(clean()), []);
        assert_eq!(story.observed(none), []);
    }
}

#[test]
fn a_delivery_about_no_reservation_makes_its_site_known_too() {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    let site = SiteId::new("site-b");
    let seen = Command::SiteSeen {
        site: site.clone(),
        delivery: DeliveryRef {
            sequence: 9,
            id: DeliveryId::new("d9"),
        },
    };
    let on = Scope::Site(site).resource();
    assert_eq!(names(&story.decide(&on, &seen)), ["SiteSeen"]);
    assert_eq!(story.ledger.sites().len(), 2);
    story.said("a", start());
    assert_eq!(story.unsettled(), ["a"]);
}

#[test]
fn a_start_that_was_accepted_before_the_second_site_was_seen_goes_on() {
    let mut story = Story::default();
    story.said("a", start());
    story.said("b", Said::Announced);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
}

#[test]
fn a_start_that_comes_too_late_makes_its_site_known_as_any_delivery_does() {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    story.now = 3 * HOUR;
    assert_eq!(names(&story.said("b", start())), ["ReservationRefused"]);
    story.said("a2", start());
    assert_eq!(story.unsettled(), ["a2"]);
}

#[test]
fn where_sites_are_named_nobody_waits_for_that() {
    let mut story = Story {
        named: true,
        ..Story::default()
    };
    story.said("b", Said::Announced);
    story.said("a", start());
    assert_eq!(story.unsettled(), [""; 0]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
}
