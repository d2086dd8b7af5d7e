//! Adopted hosts, where several sites or resources have their name.

use super::*;

/// An end of A by a webhook that brings the words of several sites.
fn end_of_one_of_several_sites(story: &mut Story, name: &str, number: i64) -> Vec<Fact> {
    let mut word = of_site(story.word("a", Said::End, 3 * HOUR, None), name, number);
    word.only_site = false;
    story.decide(&Command::Said(Box::new(word)))
}

#[test]
fn an_end_of_another_site_s_host_of_that_name_does_not_release_an_adopted_host() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    story.observed(provisioned());
    let facts = end_of_one_of_several_sites(&mut story, "site-2", 77);
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Cancelled)));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    // It is none of this host's, and nobody need look.
    assert_eq!(alarmed(&story), []);
}

#[test]
fn an_end_of_its_own_site_releases_an_adopted_host_though_several_sites_send() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    story.observed(provisioned());
    let facts = end_of_one_of_several_sites(&mut story, "site-1", 31);
    assert_eq!(names(&facts), ["ReservationEnded", "ReservationEnded"]);
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

#[test]
fn an_end_that_may_be_another_site_s_holds_an_adopted_host_and_asks_an_operator() {
    let mut story = adopted(None, None);
    let facts = end_of_one_of_several_sites(&mut story, "site-2", 77);
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Cancelled)));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
    let text = alarms(&story.resource).remove(0).text;
    assert!(text.contains("reservation-system:a"), "{text}");
}

#[test]
fn an_end_that_names_another_number_than_its_host_is_bound_to_holds_it_and_asks() {
    // Somebody had it by Bellhop, it was handed back, and the service before gave it to somebody again.
    let mut story = released();
    assert!(story.resource.bound_to.is_some());
    story.now = 5 * HOUR;
    story.ordered(adoption(None, None));
    story.observed(provisioned());
    let mut word = story.word("b", Said::End, 6 * HOUR, None);
    word.resource_number = Some(77);
    story.decide(&Command::Said(Box::new(word)));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
}

#[test]
fn where_two_numbers_have_the_name_of_an_adopted_host_an_end_of_one_holds_it_and_asks() {
    let mut story = adopted(None, None);
    let mut word = story.word("b", Said::Announced, 6 * HOUR, None);
    word.resource_number = Some(77);
    story.decide(&Command::Said(Box::new(word)));
    story.said("a", Said::End);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
}

/// Whether a pause of this site covers the resource with these facts.
fn is_paused_with(facts: &[Fact], paused: &str) -> bool {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let mut ledger = Ledger::default();
    ledger.apply(&node, Version(1), at(2 * HOUR), None, facts);
    let pause = [Fact::DrivingPaused { note: note() }];
    let scope = Scope::Site(site(paused)).resource();
    ledger.apply(&scope, Version(2), at(2 * HOUR), None, &pause);
    ledger.paused(&node).is_some()
}

#[test]
fn a_pause_of_any_site_covers_an_adopted_host_of_which_no_site_is_known() {
    let facts = moving_over().ordered(adoption(None, None));
    assert!(is_paused_with(&facts, "site-1") && is_paused_with(&facts, "site-2"));
}

#[test]
fn a_pause_of_its_site_covers_an_adopted_host_and_one_of_another_site_does_not() {
    let facts = adopt_of_site(&mut moving_over(), "site-1");
    assert!(is_paused_with(&facts, "site-1") && !is_paused_with(&facts, "site-2"));
}

#[test]
fn a_pause_of_a_site_covers_what_it_may_be_meant_for_until_the_host_is_clean() {
    // Its end brings its site to light, and its host is not clean yet.
    let mut story = adopted(None, None);
    let ended = story.word("a", Said::End, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(ended, "site-1", 31))));
    let these = HostSites::These([site("site-1")].into());
    assert_eq!(story.resource.host_sites(), these);
    // Free, as when it is handed back: what is known from before.
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert_eq!(story.resource.host_sites(), these);
    // Somebody who waits may be of another site.
    let start = story.word("b", start(), 8 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(start, "site-2", 77))));
    assert_eq!(
        story.resource.host_sites(),
        HostSites::These([site("site-1"), site("site-2")].into())
    );
    // Of a host of which nothing at all was said, nobody knows.
    assert_eq!(Resource::default().host_sites(), HostSites::Any);
}

#[test]
fn an_adopted_host_is_bound_to_the_resource_that_its_reservation_or_its_end_names() {
    let bound = Binding::new(Some(site("site-1")), Some(31));
    // Its reservation was announced to us before.
    let mut story = moving_over();
    let word = story.word("a", Said::Announced, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 31))));
    let facts = story.ordered(adoption(Some(id("a")), Some(3 * HOUR)));
    assert_eq!(names(&facts), ["HostAdopted"]);
    assert_eq!(story.resource.bound_to, bound);
    // Nobody knew whose it is before its end.
    let mut story = adopted(None, None);
    assert_eq!(story.resource.bound_to, None);
    let word = story.word("a", Said::End, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 31))));
    assert_eq!(story.resource.bound_to, bound);
    // So one of another site's resource of that name waits for an operator.
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    let word = story.word("b", start(), 8 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-2", 31))));
    assert_eq!(names(&story.observed(clean())), ["ReservationWaits"]);
}

/// What a start of `reservation` for `resource`, of which it tells so much, leads to once its host is clean.
fn given_to(story: &mut Story, reservation: &str, of: (Option<&str>, Option<i64>)) -> Vec<Fact> {
    let mut word = story.word("b", start(), Story::hours("b").1, None);
    word.reservation = id(reservation);
    (word.site, word.resource_number) = (of.0.map(site), of.1);
    story.decide(&Command::Said(Box::new(word)));
    let facts = story.observed(clean());
    if names(&facts) == ["HostAssigned"] {
        story.ordered(Order::Release {
            reservation: id(reservation),
        });
        story.observed(Observation::Released {
            left: HostLeft::Off,
            not_wiped: false,
        });
    }
    facts
}

#[test]
fn a_host_that_was_adopted_with_its_site_alone_is_bound_to_that_and_to_what_comes_to_light_later() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    assert_eq!(
        story.resource.bound_to,
        Binding::new(Some(site("site-1")), None)
    );
    story.observed(provisioned());
    let holder = story.resource.holding().unwrap().reservation.clone();
    story.ordered(Order::Release {
        reservation: holder,
    });
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    // One of another site waits for an operator, whether or not its number is told.
    for (other, number) in [("b", Some(31)), ("c", None)] {
        let mut story = story.clone();
        let facts = given_to(&mut story, other, (Some("site-2"), number));
        assert!(
            matches!(&facts[..], [Fact::ReservationWaits { reason: WaitReason::Operator { text }, .. }] if text.contains("site-1") && text.contains("site-2")),
            "{facts:?}"
        );
    }
    assert_eq!(
        names(&given_to(&mut story, "b", (Some("site-1"), Some(31)))),
        ["HostAssigned"]
    );
    // What a later one does not tell is known all the same.
    for of in [(None, Some(31)), (Some("site-1"), None)] {
        let mut story = story.clone();
        assert_eq!(names(&given_to(&mut story, "c", of)), ["HostAssigned"]);
        assert_eq!(
            story.resource.bound_to,
            Binding::new(Some(site("site-1")), Some(31))
        );
        let facts = given_to(&mut story, "d", (Some("site-1"), Some(77)));
        assert_eq!(names(&facts), ["ReservationWaits"]);
    }
}

#[test]
fn where_two_numbers_have_the_name_of_a_host_whose_site_alone_is_known_an_end_of_one_holds_it() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    story.observed(provisioned());
    let word = story.word("b", Said::Announced, 6 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 77))));
    let word = story.word("a", Said::End, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 31))));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
}

#[test]
fn what_an_operator_says_of_a_host_s_site_makes_it_no_site_that_sends() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let facts = adopt_of_site(&mut moving_over(), "site-1");
    let mut ledger = Ledger::default();
    ledger.apply(&node, Version(1), at(2 * HOUR), None, &facts);
    assert_eq!(ledger.sites().len(), 0);
}

#[test]
fn a_site_is_the_only_one_until_anything_is_said_of_another() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let mut ledger = Ledger::default();
    let mut story = unknown();
    for (version, (event, name, is_only)) in [("a", "site-1", true), ("b", "site-2", false)]
        .into_iter()
        .enumerate()
    {
        let word = story.word(event, Said::Announced, 8 * HOUR, None);
        let facts = story.decide(&Command::Said(Box::new(of_site(word, name, 31))));
        let version = Version(version as u64 + 1);
        ledger.apply(&node, version, at(0), None, &facts);
        assert_eq!(ledger.is_only_site(Some(&site("site-1"))), is_only);
        assert_eq!(ledger.is_only_site(None), is_only);
    }
    assert!(!ledger.is_only_site(Some(&site("site-2"))));
}
