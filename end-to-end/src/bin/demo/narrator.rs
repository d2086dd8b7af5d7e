//! Says what happens as it happens: seconds since the start, who, what.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellhop_domain::id::Version;
use bellhop_end_to_end::site::NAMESPACE;
use bellhop_end_to_end::{HarnessError, System};
use bellhop_event_store::{EventStore, EventStoreSettings, Follower};
use bellhop_simulator::cluster::Cluster;
use bellhop_simulator::reservation_system::ReservationSystem;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::words::{self, Names};

/// How often the records are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How old a line must be to be printed: a record may become known a little later than one that follows from it.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_millis(150);
/// The width of the column that says who.
const WHO: usize = 18;
/// Where a line is broken.
const WIDTH: usize = 118;
/// The time that a line takes before who and what.
const INDENT: usize = 8 + 2 + WHO + 2;

/// One line.
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) who: String,
    pub(crate) what: String,
}

/// Prints lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Narrator {
    began: Timestamp,
    styled: bool,
    printing: Arc<Mutex<()>>,
    /// Asks whoever follows to print all that is known by now.
    catch_up: mpsc::UnboundedSender<oneshot::Sender<()>>,
    asked: Arc<Mutex<Option<mpsc::UnboundedReceiver<oneshot::Sender<()>>>>>,
    /// Whose reservations the lines are about.
    pub(crate) names: Names,
}

impl Narrator {
    /// Time begins now.
    pub(crate) fn start() -> Self {
        let (catch_up, asked) = mpsc::unbounded_channel();
        Self {
            began: Timestamp::now(),
            styled: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            printing: Arc::default(),
            catch_up,
            asked: Arc::new(Mutex::new(Some(asked))),
            names: Names::default(),
        }
    }

    /// A heading.
    pub(crate) fn heading(&self, text: &str) {
        let (on, off) = self.style("1");
        self.print(&format!("\n{on}{text}{off}\n"));
    }

    /// Something that happens now.
    pub(crate) fn say(&self, who: &str, what: &str) {
        self.line(&Line {
            at: Timestamp::now(),
            who: who.to_owned(),
            what: what.to_owned(),
        });
    }

    /// A step that was seen by the receiver or in the cluster.
    pub(crate) async fn seen(&self, what: &str) {
        self.catch_up().await;
        self.say("seen", what);
    }

    /// Text as it is.
    pub(crate) fn text(&self, text: &str) {
        self.print(text);
    }

    fn line(&self, line: &Line) {
        let since = line.at.duration_since(self.began).as_secs_f64().max(0.0);
        let (on, off) = match line.who.as_str() {
            "seen" => self.style("32"),
            "demo" => self.style("33"),
            _ => ("", ""),
        };
        let mut text = String::new();
        for (place, part) in wrapped(&line.what, WIDTH.saturating_sub(INDENT))
            .iter()
            .enumerate()
        {
            if place == 0 {
                text.push_str(&format!(
                    "{since:>6.1} s  {on}{:WHO$}{off}  {on}{part}{off}\n",
                    line.who
                ));
            } else {
                text.push_str(&format!("{:INDENT$}{on}{part}{off}\n", ""));
            }
        }
        self.print(&text);
    }

    fn style(&self, code: &str) -> (&'static str, &'static str) {
        match (self.styled, code) {
            (false, _) => ("", ""),
            (true, "1") => ("\u{1b}[1m", "\u{1b}[0m"),
            (true, "32") => ("\u{1b}[32m", "\u{1b}[0m"),
            (true, _) => ("\u{1b}[33m", "\u{1b}[0m"),
        }
    }

    fn print(&self, text: &str) {
        let _one_at_a_time = self.printing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        // Nobody reads any more: then there is nobody to tell, and the exit status still says how it went.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Tells, from now on, all that the reservation system, the cluster and the ledger record.
    pub(crate) async fn follow(&self, system: &System) -> Result<(), HarnessError> {
        let settings = EventStoreSettings::at(system.nats.url());
        let store = EventStore::connect(&settings, "bellhop-demo").await?;
        let records = Records {
            reservations: system.reservations.clone(),
            cluster: system.cluster.clone(),
            ledger: store.follow_ledger(Version(0)),
            names: self.names.clone(),
            told: Told::default(),
        };
        let asked = self
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(asked) = asked {
            tokio::spawn(self.clone().tell(records, asked));
        }
        Ok(())
    }

    /// Waits until all that is recorded by now is told.
    pub(crate) async fn catch_up(&self) {
        let (done, is_done) = oneshot::channel();
        if self.catch_up.send(done).is_ok() {
            let _told = tokio::time::timeout(Duration::from_secs(2), is_done).await;
        }
    }

    async fn tell(
        self,
        mut records: Records,
        mut asked: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    ) {
        let mut lines = Vec::new();
        loop {
            let asked = tokio::time::timeout(LOOK_EVERY, asked.recv()).await;
            let asked = asked.ok().flatten();
            lines.extend(records.news().await);
            lines.sort_by_key(|line: &Line| line.at);
            let settled = match asked {
                Some(_) => lines.len(),
                None => lines.partition_point(|line| line.at + SETTLED_AFTER < Timestamp::now()),
            };
            for line in lines.drain(..settled) {
                self.line(&line);
            }
            if let Some(done) = asked {
                let _nobody_waits = done.send(());
            }
        }
    }
}

/// What is followed, and how far it was told.
struct Records {
    reservations: ReservationSystem,
    cluster: Cluster,
    ledger: Follower,
    names: Names,
    told: Told,
}

#[derive(Default)]
struct Told {
    sent: usize,
    notifications: usize,
    webhook_logs: usize,
    refused: usize,
    writes: usize,
    states: std::collections::BTreeMap<String, usize>,
}

impl Records {
    /// All lines since the last time.
    async fn news(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        let names = &self.names;
        let sent = self.reservations.sent();
        lines.extend(
            new(&sent, &mut self.told.sent)
                .iter()
                .flat_map(|it| words::sent(it, names)),
        );
        let notifications = self.reservations.notifications();
        lines.extend(
            new(&notifications, &mut self.told.notifications)
                .iter()
                .map(words::notification),
        );
        let logs = self.reservations.webhook_logs();
        lines.extend(
            new(&logs, &mut self.told.webhook_logs)
                .iter()
                .map(words::webhook_log),
        );
        let refused = self.reservations.refused();
        lines.extend(
            new(&refused, &mut self.told.refused)
                .iter()
                .map(words::refused),
        );
        let writes = self.cluster.writes();
        lines.extend(
            new(&writes, &mut self.told.writes)
                .iter()
                .filter_map(|it| words::write(it, names)),
        );
        for host in self.cluster.hosts() {
            let name = bellhop_end_to_end::site::text(&host, "/metadata/name").to_owned();
            let states = self.cluster.states(NAMESPACE, &name);
            // What each host was at the start is not news.
            let told = self.told.states.entry(name.clone()).or_insert(1);
            let from = (*told).max(1);
            for place in from..states.len() {
                lines.extend(words::state(&name, &states[place - 1], &states[place]));
            }
            *told = states.len();
        }
        while let Ok(Ok(entry)) =
            tokio::time::timeout(Duration::from_millis(5), self.ledger.next()).await
        {
            let entry = entry.into_resource();
            lines.extend(entry.iter().flat_map(|entry| words::entry(entry, names)));
        }
        lines
    }
}

/// What is beyond the first `told`.
fn new<'a, T>(all: &'a [T], told: &mut usize) -> &'a [T] {
    let new = all.get(*told..).unwrap_or_default();
    *told = all.len();
    new
}

/// Words in lines of at most `width` characters; a longer word keeps its own line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width
        });
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn a_long_text_is_broken_between_words() {
        assert_eq!(
            wrapped("a bb  ccc dddddd e", 5),
            ["a bb", "ccc", "dddddd", "e"]
        );
        assert_eq!(wrapped("", 5), [""]);
    }
}
