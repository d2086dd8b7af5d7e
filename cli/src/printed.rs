//! Every command that a text of Bellhop names can be pasted: it has all that it must have.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use bellhop_domain::id::{ResourceId, SiteId};
use bellhop_domain::reservation::Scope;
use clap::Parser as _;

use crate::Bellhop;

/// The sources that print something, tests left out.
fn sources() -> Vec<PathBuf> {
    fn under(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "tests" | "target") {
                under(&path, found);
            } else if name.ends_with(".rs") && !matches!(name.as_str(), "tests.rs" | "printed.rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for part in ["cli", "services", "shared"] {
        under(&root.join(part), &mut found);
    }
    found
}

/// The commands in the texts of a source: between backticks, or a text of their own. What is filled in is a word.
fn commands(source: &str) -> Vec<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut code = code.collect::<Vec<_>>().join("\n");
    // A text that goes on in the next line.
    while let Some(end) = code.find("\\\n") {
        let rest = code.split_off(end);
        code.push_str(rest[2..].trim_start());
    }
    let mut found = Vec::new();
    for quote in ['`', '"'] {
        let begin = format!("{quote}bellhop ");
        for (at, _) in code.match_indices(&begin) {
            let text = &code[at + 1..];
            found.push(filled_in(&text[..text.find(quote).unwrap()]));
        }
    }
    found
}

fn filled_in(text: &str) -> String {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('}').unwrap();
        filled.push('x');
        filled.push_str(rest);
    }
    filled
}

fn parse(command: &str) -> Result<(), String> {
    let words = shlex::split(command).ok_or("its quotes do not close")?;
    match Bellhop::try_parse_from(&words) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_command_that_a_text_names_is_complete() {
    let mut commands: Vec<(PathBuf, String)> = Vec::new();
    for path in sources() {
        let found = self::commands(&fs::read_to_string(&path).unwrap());
        commands.extend(found.into_iter().map(|command| (path.clone(), command)));
    }
    let names = |command: &str| commands.iter().any(|(_, found)| found.starts_with(command));
    for known in [
        "bellhop allow x --reason",
        "bellhop release x --reason",
        "bellhop unhold x --reason",
        "bellhop dead-letters drop",
    ] {
        assert!(names(known), "{known} was not found: {commands:?}");
    }
    for (path, command) in &commands {
        if let Err(why) = parse(command) {
            panic!("{}: `{command}`: {why}", path.display());
        }
    }
}

#[test]
fn a_command_that_lacks_something_is_seen_to_do_so() {
    let source = r#"
        // `bellhop release` in a comment is none.
        format!("look there; `bellhop \
                 release {}` takes it back", word(host));
    "#;
    assert_eq!(commands(source), ["bellhop release x"]);
    assert!(parse("bellhop release x").is_err());
}

#[test]
fn names_from_outside_are_one_word_of_a_command() {
    let resource: ResourceId = "baremetalhost/metal3/lab 7; it's `reboot`".parse().unwrap();
    for scope in [
        Scope::Everything,
        Scope::Site(SiteId::new("-site of lab $7")),
        Scope::Resource(resource.clone()),
    ] {
        let command = crate::orders::resume(&scope);
        assert_eq!(parse(&command), Ok(()), "{command}");
    }
    let words = shlex::split(&crate::orders::resume(&Scope::Resource(resource.clone()))).unwrap();
    assert_eq!(words[2], format!("--host={resource}"));
}
