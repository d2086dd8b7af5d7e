//! What operators say, as commands of the program against a running system: what they read, what becomes of it, and what the
//! reservation system is told.
#![allow(clippy::unwrap_used, clippy::panic)]

mod adoption;
mod hand_back;
mod holds;
mod lost_ledger;
mod pauses;
mod reservations;
mod words;

use std::process::Output;

use bellhop_end_to_end::{PATIENCE, ServiceKind, System, wait_for};
use bellhop_simulator::reservation_system::Booking;
use serde_json::Value;

/// What a command answered.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// What it printed, where it went well and complained of nothing.
    fn well(self) -> String {
        assert!(self.code == Some(0) && self.error.is_empty(), "{self:?}");
        self.out
    }

    /// It refused, for this reason, and did nothing.
    fn refused(self, why: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.error.contains(why), "{why}: {self:?}");
        assert!(!self.out.contains("recorded"), "{self:?}");
    }

    /// It can't be said so.
    fn misused(self, why: &str) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert!(self.error.contains(why), "{why}: {self:?}");
    }
}

const WHY: [&str; 4] = ["--by", "ada", "--reason", "a disk is to be looked at"];

/// Says something as ada, with a reason.
async fn say(system: &System, words: &[&str]) -> Said {
    let words = [words, &WHY].concat();
    let said = Said::from(system.command(&words).await.unwrap());
    println!("$ bellhop {}\n{}{}", words.join(" "), said.out, said.error);
    said
}

/// As [`say`], where the hosts are looked at.
async fn say_at_the_cluster(system: &System, words: &[&str]) -> Said {
    let words = [words, &WHY].concat();
    let said = system.command_at_the_cluster(&words).await.unwrap();
    let said = Said::from(said);
    println!("$ bellhop {}\n{}{}", words.join(" "), said.out, said.error);
    said
}

/// Waits until the `/readyz?verbose` of all provisioners holds, or no longer holds, this text.
async fn until_shown(system: &mut System, text: &str, shown: bool) {
    let found = wait_for(PATIENCE, async || {
        let pages = system.shown().await;
        let all = pages.iter().all(|page| page.contains(text) == shown);
        (!pages.is_empty() && all).then_some(())
    });
    if found.await.is_none() {
        let pages = system.shown().await;
        panic!("{text}: shown is not {shown}: {pages:#?}");
    }
}

/// Waits until the user of a booking reads a text that holds `part`.
async fn until_told(system: &System, booking: &Booking, part: &str) {
    let id = booking.id.to_string();
    let told = system.reservations.wait_for_notification(PATIENCE, |it| {
        it.event_id.as_ref() == Some(&id) && it.message.contains(part)
    });
    if told.await.is_none() {
        let told: Vec<_> = system
            .reservations
            .notifications()
            .into_iter()
            .filter(|it| it.event_id.as_ref() == Some(&id))
            .map(|it| it.message)
            .collect();
        panic!("{id} was never told {part}, but {told:#?}");
    }
}

/// Waits until a provisioner logged a fact with who ordered it and why.
async fn until_logged_by_ada(system: &System, fact: &str) {
    let is_it = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == fact && line["by"] == "ada" && line["why"] == WHY[3]).then_some(())
    };
    let found = wait_for(PATIENCE, async || {
        let logs = system.logs();
        let of_kind = ["0", "1"].map(|it| format!("{}-{it}.log", ServiceKind::Provisioner));
        let ours = (logs.iter()).filter(|(path, _)| of_kind.iter().any(|it| path.ends_with(it)));
        ours.flat_map(|(_, log)| log.lines()).find_map(is_it)
    });
    assert!(
        found.await.is_some(),
        "{fact} is not logged with by and why"
    );
}
