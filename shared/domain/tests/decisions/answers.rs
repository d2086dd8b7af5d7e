//! Tables of states against sayings and observations, to be read with a finger. `pairs` has all of them.

use super::*;

#[test]
fn every_saying_about_a_reservation_has_an_answer_in_every_state() {
    check(
        &[
            ("created", |story| story.said("a", Said::Announced)),
            ("updated", |story| story.said("a", Said::Changed)),
            ("start", |story| story.said("a", start())),
            ("end", |story| story.said("a", Said::End)),
            ("deleted", |story| story.said("a", Said::Deleted)),
        ],
        "state     created              updated              start              end              deleted
         unknown   ReservationAnnounced ReservationAnnounced ReservationStarted ReservationEnded ReservationEnded
         announced ReservationChanged   ReservationChanged   ReservationStarted ReservationEnded ReservationEnded
         waiting   ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         claiming  ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         preparing ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         ready     ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         releasing -                    -                    -                  -                WordHeard
         released  -                    -                    -                  -                WordHeard",
    );
}

#[test]
fn every_reading_of_a_host_has_an_answer_in_every_state() {
    check(
        &[
            ("no_host", |story| story.observed(no_host())),
            ("clean", |story| story.observed(clean())),
            ("not_clean", |story| story.observed(not_clean())),
            ("unclaimed", |story| story.observed(Observation::Unclaimed)),
            ("refused", |story| story.observed(refused())),
            ("gone", |story| story.observed(Observation::HostGone)),
            ("releasing", |story| story.observed(Observation::Releasing)),
            ("released", |story| {
                story.observed(Observation::Released {
                    left: HostLeft::Off, not_wiped: false
                })
            }),
        ],
        "state     no_host           clean        not_clean        unclaimed                                 refused           gone              releasing released
         unknown   -                 -            -                -                                         -                 -                 -         -
         announced -                 -            -                -                                         -                 -                 -         -
         waiting   ReservationFailed HostAssigned ReservationWaits -                                         -                 -                 -         -
         claiming  -                 -            ReservationWaits -                                         ReservationFailed ReservationFailed -         -
         preparing -                 -            -                HostChangedByOthers+ProvisioningSuspended -                 ReservationFailed -         -
         ready     -                 -            -                HostChangedByOthers                       -                 ReadyHostTroubled -         -
         releasing -                 -            -                -                                         -                 -                 -         HostReleased
         released  -                 -            -                -                                         -                 -                 -         -",
    );
}

#[test]
fn every_reading_of_a_claimed_host_has_an_answer_in_every_state() {
    check(
        &[
            ("working", |story| story.observed(working())),
            ("paused", |story| story.observed(paused())),
            ("error", |story| story.observed(failing("no disk"))),
            ("ready", |story| story.observed(provisioned())),
            ("changed", |story| {
                story.observed(seen(Progress::Working, None, Some("image")))
            }),
        ],
        "state     working                         paused                error                                                 ready                       changed
         unknown   -                               -                     -                                                     -                           -
         announced -                               -                     -                                                     -                           -
         waiting   -                               -                     -                                                     -                           -
         claiming  HostClaimed+ProvisioningResumed HostClaimed           HostClaimed+ProvisioningErrorSeen+ProvisioningResumed HostClaimed+HostProvisioned HostClaimed+HostChangedByOthers+ProvisioningResumed
         preparing -                               ProvisioningSuspended ProvisioningErrorSeen                                 HostProvisioned             HostChangedByOthers
         ready     -                               -                     ReadyHostTroubled                                     -                           HostChangedByOthers
         releasing -                               -                     -                                                     -                           -
         released  -                               -                     -                                                     -                           -",
    );
}
