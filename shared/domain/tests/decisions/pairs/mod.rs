//! Every pair of a state and a command is decided, and what follows from it stands in a table.
//!
//! The compiler knows that no state and no command is missing: [`State`] and [`Kind`] are made from the product's types without
//! a wildcard, and the tables have all of them. A table is a file in `tests/decisions/tables`. It has a section for each command;
//! there, each answer is followed by the states that it is given in: how far A is and, before a colon, who has the resource
//! where that matters. An answer is the facts and, after an arrow, what A and the resource are then, where that is another.
//!
//! After a change that is meant, `RENEW_TABLES=1 cargo test --workspace --test decisions pairs` writes the files: read the
//! difference as you would read the change.

mod commands;
mod drawing;
mod listed;
mod states;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use commands::{Asked, Kind, tables};
use states::{Others, Place, State};

/// The width that lists of states are broken at.
const WIDTH: usize = 118;

/// What is written where no fact follows.
const NOTHING: &str = "nothing";

#[test]
fn each_state_is_reached_by_its_story() {
    for state in State::all() {
        assert_eq!(State::of(&state.story().resource), state);
    }
}

#[test]
fn each_kind_of_command_is_in_a_table() {
    let in_tables: BTreeSet<Kind> = tables()
        .into_iter()
        .flat_map(|(_, commands)| commands)
        .map(|asked| Kind::of(&(asked.command)(&mut State::all()[0].story())))
        .collect();
    let missing: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| !in_tables.contains(kind))
        .map(|kind| kind.name())
        .collect();
    assert!(
        missing.is_empty(),
        "no table has these commands; add them in tests/decisions/pairs/commands.rs: {missing:#?}"
    );
}

#[test]
fn what_follows_from_each_command_in_each_state_is_as_the_tables_say() {
    let renew = std::env::var_os("RENEW_TABLES").is_some();
    let mut wrong = String::new();
    for (name, commands) in tables() {
        let path = path(name);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let found: Vec<String> = commands.iter().map(section).collect();
        if renew {
            std::fs::write(&path, found.join("\n")).unwrap();
            continue;
        }
        let written: Vec<&str> = sections(&written);
        for section in &found {
            if !written.contains(&section.as_str()) {
                let _ = write!(wrong, "\n{} should have:\n\n{section}", path.display());
            }
        }
        for section in &written {
            if !found.iter().any(|found| found == section) {
                let head = section.lines().next().unwrap_or_default();
                let _ = write!(
                    wrong,
                    "\n{} has another `{head}`: delete it\n",
                    path.display()
                );
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the decisions are not as in their tables; where that is meant, paste what follows, or run this test once with \
         RENEW_TABLES=1\n{wrong}"
    );
}

fn path(table: &str) -> PathBuf {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions/tables");
    tables.join(table).with_extension("txt")
}

/// A file's sections, which an empty line parts, each with the end of its last line.
fn sections(file: &str) -> Vec<&str> {
    file.split_inclusive("\n\n")
        .map(|section| match section.strip_suffix("\n\n") {
            Some(_) => &section[..section.len() - 1],
            None => section,
        })
        .collect()
}

/// What follows from one command in all states.
fn section(asked: &Asked) -> String {
    let mut answers: BTreeMap<String, Vec<State>> = BTreeMap::new();
    for state in State::all() {
        answers.entry(answer(asked, state)).or_default().push(state);
    }
    let mut answers: Vec<_> = answers.into_iter().collect();
    answers.sort_by_key(|(answer, states)| (answer == NOTHING, states[0]));
    let mut text = format!("{}\n", asked.name);
    for (answer, states) in answers {
        let _ = writeln!(text, "  {answer}");
        for (others, places) in by_others(&states) {
            let others: Vec<_> = others.into_iter().map(Others::name).collect();
            let head = match others.join(" or ") {
                any if any.is_empty() => any,
                others => format!("{others}: "),
            };
            broken(&mut text, &head, &places);
        }
    }
    text
}

/// Places together with all those that the same others have the resource in.
fn by_others(states: &[State]) -> Vec<(Vec<Others>, Vec<&'static str>)> {
    let mut groups: Vec<(Vec<Others>, Vec<&'static str>)> = Vec::new();
    for place in Place::ALL {
        let here = states.iter().filter(|state| state.place == *place);
        let others: Vec<Vec<Others>> = here
            .map(|state| state.others.into_iter().collect())
            .collect();
        if others.is_empty() {
            continue;
        }
        let others = others.concat();
        let is_everywhere = others.is_empty() || others.len() == Others::ALL.len();
        let others = if is_everywhere { Vec::new() } else { others };
        match groups.iter_mut().find(|(known, _)| *known == others) {
            Some((_, places)) => places.push(place.name()),
            None => groups.push((others, vec![place.name()])),
        }
    }
    groups
}

/// Writes a list in lines that are not too wide.
fn broken(text: &mut String, head: &str, names: &[&str]) {
    let mut line = format!("      {head}");
    for (index, name) in names.iter().enumerate() {
        if line.len() + name.len() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(10);
        }
        line.push_str(name);
        if index + 1 < names.len() {
            line.push_str(", ");
        }
    }
    let _ = writeln!(text, "{line}");
}

/// The facts that follow, and what A and the resource are then, where that is another.
fn answer(asked: &Asked, state: State) -> String {
    let mut story = state.story();
    let command = (asked.command)(&mut story);
    let facts = story.decide(&command);
    let after = State::of(&story.resource);
    let mut text = match facts.iter().map(told).collect::<Vec<_>>().join(" + ") {
        nothing if nothing.is_empty() => NOTHING.to_owned(),
        facts => facts,
    };
    let place = (after.place != state.place).then(|| after.place.name());
    let others = after
        .others
        .filter(|others| Some(*others) != state.others)
        .map(Others::name);
    let becomes: Vec<_> = place.into_iter().chain(others).collect();
    if !becomes.is_empty() {
        let _ = write!(text, " → {}", becomes.join(", "));
    }
    text
}

/// A fact with what tells it apart from others of its name, and whose it is, where it isn't A's.
fn told(fact: &Fact) -> String {
    let mut text = fact.name().to_owned();
    match fact {
        Fact::ReservationEnded(ended) => {
            let _ = write!(text, " {:?} {:?}", ended.cause, ended.outcome);
        }
        Fact::ReservationFailed { reason, .. } => {
            let reason = serde_json::to_value(reason).unwrap();
            let _ = write!(text, " {}", reason["because"].as_str().unwrap());
        }
        Fact::ReservationWaits { reason, .. } => {
            let reason = serde_json::to_value(reason).unwrap();
            let _ = write!(text, " {}", reason["for"].as_str().unwrap());
        }
        _ => {}
    }
    match fact.reservation() {
        Some(other) if other.is_unknown() => text.push_str(" of unknown"),
        Some(other) if *other != id("a") => text.push_str(" of another"),
        Some(_) | None => {}
    }
    text
}
