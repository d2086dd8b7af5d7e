//! Changes after the end.

use super::*;

#[test]
fn a_change_after_the_end_is_answered_and_changes_nothing() {
    let mut site = Site::ready();
    let stale = site.word(Said::Changed, HOUR, 4 * HOUR);
    site.now += 10;
    site.said("one", Said::End, HOUR, 3 * HOUR);
    // Said before the end, and only late: nobody is told anything.
    assert_eq!(site.decide("one", &Command::Said(Box::new(stale))), []);
    site.now += 10;
    assert_eq!(
        names(&site.said("one", Said::Changed, HOUR, 5 * HOUR)),
        ["ChangeCameTooLate", "WordHeard"]
    );
    assert!(matches!(site.phase("one"), Phase::Over(_)));
}

#[test]
fn a_change_of_only_the_resource_or_the_owner_after_the_end_is_answered_once() {
    let mut site = Site::ready();
    site.said("one", Said::Deleted, HOUR, 3 * HOUR);
    let changed = |site: &mut Site, number, user| {
        site.now += 10;
        let word = Word {
            resource_number: Some(number),
            user: Some(UserId::new(user)),
            ..site.word(Said::Changed, HOUR, 3 * HOUR)
        };
        names(&site.decide("one", &Command::Said(Box::new(word))))
    };
    // Each of them is a change of something in the sender's table: an administrator reads of it.
    let answered = ["ChangeCameTooLate", "WordHeard"];
    let recorded = ["WordHeard"];
    assert_eq!(changed(&mut site, 31, "mara"), recorded, "nothing changed");
    assert_eq!(changed(&mut site, 32, "mara"), answered);
    assert_eq!(changed(&mut site, 32, "mara"), recorded, "it was told");
    assert_eq!(changed(&mut site, 32, "nils"), answered);
    assert_eq!(changed(&mut site, 31, "nils"), answered, "moved back");
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(one.reservations[&a()].user, Some(UserId::new("mara")));
}
