//! A history that is too rare to be met by chance: a replica makes the secret of a claim and is killed before it writes that;
//! then the booking gets another owner, and the other replica goes on.

use super::action::Action;
use super::mutant::Mutant;
use super::sender;
use super::three_attempts;
use super::world::{Setting, Verdict, World};

fn played(mutant: Option<Mutant>) -> Verdict {
    let sent = sender::deliveries(&[sender::booking_that_changes_hands()]);
    let coming = sent.into_iter().map(|sent| (sent.at, sent)).collect();
    let setting = Setting {
        mutant,
        ..three_attempts()
    };
    let mut world = World::new(coming, setting);
    let (killed, other, resource) = (0, 1, 0);
    world.advance(7300, true)?;
    world.handle_all(killed)?;
    world.stall(killed, resource, 2)?;
    assert_eq!(world.cluster.secrets.len(), 1);
    assert_eq!(world.cluster.hosts[resource].as_ref().unwrap().image, None);
    world.restart(killed)?;
    world.advance(8200, true)?;
    world.handle_all(other)?;
    let owner_changed = |world: &World| {
        let mut names = world.facts().map(|fact| fact.name());
        names.any(|name| name == "OwnerChanged")
    };
    assert!(owner_changed(&world));
    for _ in 0..3 {
        world.act(Action::Work {
            replica: other,
            resource,
        })?;
    }
    let host = world.cluster.hosts[resource].as_ref().unwrap();
    assert!(host.is_about_to_be_prepared());
    world.metal3(resource, false)?;
    world.settle()
}

#[test]
fn a_secret_that_was_made_for_a_former_owner_prepares_no_host() {
    assert_eq!(played(None), Ok(()));
}

#[test]
fn a_secret_that_is_used_whoever_it_was_made_for_is_found_by_r9() {
    let broken = played(Some(Mutant::FormerOwnersSecret)).unwrap_err();
    assert!(broken.starts_with("R9:"), "{broken}");
}
