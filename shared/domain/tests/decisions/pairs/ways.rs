//! Where the decisions lead is what the documentation of the state machine says, in its table and in its drawing.

use std::collections::BTreeSet;

use super::super::ways::{DOCUMENTATION, TABLE, Way, taken, way};
use super::*;

const FOR_OPERATORS: &str = include_str!("../../../../../docs/reservations.md");

/// Ways that no decision leads.
fn ledger_s() -> BTreeSet<Way> {
    // It was moved here by who did not know of its start: the ledger gives it that one, and its time comes.
    BTreeSet::from([way("announced", "postponed")])
}

/// The ways that any command leads in any state.
fn led() -> BTreeSet<Way> {
    let mut ways = BTreeSet::new();
    for asked in tables().into_iter().flat_map(|(_, commands)| commands) {
        for state in State::all() {
            let mut story = state.story();
            let command = (asked.command)(&mut story);
            let before = story.resource.clone();
            let facts = story.decide(&command);
            ways.extend(taken(&before, &facts, at(story.now), &story.resource));
        }
    }
    ways
}

#[test]
fn the_table_of_ways_has_all_that_decisions_lead_and_no_other() {
    let led = &led() | &ledger_s();
    let missing: Vec<_> = led.difference(&TABLE).collect();
    assert!(missing.is_empty(), "the table lacks {missing:#?}");
    let never: Vec<_> = TABLE.difference(&led).collect();
    assert!(never.is_empty(), "no command leads {never:#?}");
}

#[test]
fn the_drawing_shows_ways_that_there_are() {
    let drawing = first_block(DOCUMENTATION, "//! ```text\n", "//! ```\n");
    let drawing = drawing.replace("//! ", "").replace("//!\n", "\n");
    let drawn = drawing::ways(&drawing);
    let wrong: Vec<_> = drawn.difference(&TABLE).collect();
    assert!(wrong.is_empty(), "there is no way {wrong:#?}");
    assert_eq!(
        first_block(FOR_OPERATORS, "```\n", "```\n"),
        drawing,
        "docs/reservations.md has another drawing"
    );
}

fn first_block<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, from) = text.split_once(begin).unwrap();
    from.split_once(end).unwrap().0
}
