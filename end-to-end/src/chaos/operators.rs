//! What operators say while everything fails, with the program `bellhop`, and that it is taken back at the end.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::bookings::{PlannedStanding, Standing};
use super::stage::Stage;
use crate::program;
use crate::site::{NOOR, node};

/// A command waits up to ten seconds for a provisioner; without a broker it may hang.
const LONGEST: Duration = Duration::from_secs(20);
/// The pause before a word that was not heard is said again.
const AGAIN: Duration = Duration::from_millis(700);
const WHO: [&str; 4] = ["--by", "ada", "--reason", "chaos"];

/// How often each word was said, and how often it was heard.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<BTreeMap<String, (usize, usize)>>);

impl Words {
    fn count(&self, word: &str, heard: bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, well) = counts.entry(word.to_owned()).or_default();
        *said += 1;
        *well += usize::from(heard);
    }

    /// By word: how often it was said, and how often it was heard.
    pub(super) fn counts(&self) -> BTreeMap<String, (usize, usize)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Runs a command; none where it did not end in time, or can't be run.
async fn run(stage: &Stage, words: &[&str]) -> Option<Output> {
    let mut command = tokio::process::Command::new(program::bellhop().ok()?);
    command
        .args(words)
        .env_clear()
        .env("NATS_URL", &stage.broker_url)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(LONGEST, command.output()).await.ok()?.ok()
}

/// Says something once, and whether it was heard.
async fn say(stage: &Stage, words: &[&str]) -> bool {
    let output = run(stage, &[words, &WHO].concat()).await;
    let heard = output.is_some_and(|output| output.status.success());
    stage.words.count(words[0], heard);
    heard
}

/// Says something again and again, until it is heard or `until` is past.
pub(super) async fn say_until(stage: &Stage, words: &[&str], until: Instant) {
    while !say(stage, words).await && Instant::now() < until {
        sleep(AGAIN).await;
    }
}

/// Brings the key of a booking whose user's account holds none.
pub(super) async fn bring_key(stage: &Stage, id: i64, until: Instant) {
    let file = stage.folder().join("noor.pub");
    let written = std::fs::write(&file, format!("ssh-ed25519 {} noor@laptop\n", NOOR.key()));
    let (id, file) = (id.to_string(), file.display().to_string());
    if written.is_ok() {
        say_until(stage, &["retry", &id, "--ssh-key-file", &file], until).await;
    }
}

/// Says at their times what stands for a while, and takes it back.
pub(super) async fn say_all(stage: &Stage, planned: &[PlannedStanding], began: Instant) {
    for PlannedStanding {
        at,
        lasts,
        standing,
    } in planned
    {
        sleep_until(began + Duration::from_millis(*at)).await;
        let server = match standing {
            Standing::Hold(server) => node(*server),
            Standing::Pause => String::new(),
        };
        let (word, back) = match standing {
            Standing::Hold(_) => (vec!["hold", &server], vec!["unhold", &server]),
            Standing::Pause => (vec!["pause"], vec!["resume"]),
        };
        say(stage, &word).await;
        sleep(Duration::from_millis(*lasts)).await;
        // Should it not be heard now, it is taken back at the end.
        say(stage, &back).await;
    }
}

/// Takes back whatever still stands: one that was stored while nobody decided stands later than it was said.
pub(super) async fn take_back(stage: &Stage) {
    let Some(output) = run(stage, &["orders"]).await else {
        return;
    };
    let standing = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in standing.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("held"), Some(host)) => {
                say(stage, &["unhold", host]).await;
            }
            (Some("paused"), _) => {
                say(stage, &["resume"]).await;
            }
            _ => {}
        }
    }
}
