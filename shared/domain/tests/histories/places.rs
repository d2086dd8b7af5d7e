//! A history that is too rare to be met by chance: of a reservation that nobody knows yet, two replicas hear at once that it is
//! over, on two resources.

use bellhop_domain::reservation::{Fact, Said};

use super::mutant::Mutant;
use super::sender::{self, Sent};
use super::three_attempts;
use super::world::{Setting, Verdict, World};

/// Its end, as it is said of the resource from which it was moved, and of the other one.
fn ends() -> [Sent; 2] {
    let all = sender::deliveries(&[sender::booking_that_changes_hands()]);
    let is_end = |sent: &Sent| matches!(sent.word.said, Said::End);
    let end = all.into_iter().find(is_end).unwrap();
    let mut of_the_other = end.clone();
    of_the_other.resource = 1 - end.resource;
    of_the_other.word.resource_number = Some(sender::number(0, of_the_other.resource));
    of_the_other.word.delivery.sequence += 1000;
    [end, of_the_other]
}

fn played(mutant: Option<Mutant>) -> Verdict {
    let coming = ends().map(|sent| (sent.at, sent));
    let arrives = coming[0].0;
    let setting = Setting {
        mutant,
        ..three_attempts()
    };
    let mut world = World::new(coming.to_vec(), setting);
    world.advance(arrives, true)?;
    for steps in [1, u32::MAX] {
        world.handle(0, steps, true)?;
        world.handle(1, steps, true)?;
    }
    let outcomes = world.facts().filter(|fact| Fact::is_outcome(fact)).count();
    assert_eq!(outcomes, if mutant.is_some() { 2 } else { 1 });
    world.settle()
}

#[test]
fn of_a_reservation_that_is_over_on_two_resources_at_once_there_is_one_outcome() {
    assert_eq!(played(None), Ok(()));
}

#[test]
fn what_is_recorded_whatever_others_recorded_elsewhere_is_found_by_r7() {
    let broken = played(Some(Mutant::ReservationUnguarded)).unwrap_err();
    assert!(broken.starts_with("R7:"), "{broken}");
}
