//! A key that comes with a start that is said again, or never.

use super::*;

#[test]
fn a_start_that_comes_again_with_a_key_ends_the_wait_for_one() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let key = TenantKey::Missing {
        reason: "none".into(),
    };
    site.said(
        "one",
        Said::Start {
            key,
            terms: terms(),
        },
        HOUR,
        3 * HOUR,
    );
    assert_eq!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Wait
    );
    let facts = site.said(
        "one",
        Said::Start {
            key: TenantKey::InDelivery,
            terms: terms(),
        },
        HOUR,
        3 * HOUR,
    );
    assert!(names(&facts).contains(&"KeyBrought"));
    assert!(matches!(site.phase("one"), Phase::Waiting(waiting) if waiting.delivery.sequence == 2));
    assert!(matches!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Offer { .. }
    ));
}

#[test]
fn a_start_without_a_key_that_ends_without_one_has_failed() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let key = TenantKey::Missing {
        reason: "none".into(),
    };
    site.said(
        "one",
        Said::Start {
            key,
            terms: terms(),
        },
        HOUR,
        3 * HOUR,
    );
    assert_eq!(
        names(&site.said("one", Said::End, HOUR, 3 * HOUR)),
        ["ReservationFailed", "WordHeard"]
    );
}
