//! What a run says at its end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::checks::Finding;
use super::checks::repeats::Repeat;
use super::strike::Struck;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The plan's.
    pub seed: u64,
    /// How long faults were done.
    pub lasted: Duration,
    /// How long it took then until everything was well.
    pub settled: Duration,
    /// The faults that were done.
    pub struck: Vec<Struck>,
    /// What is lost, or else wrong.
    pub findings: Vec<Finding>,
    /// What was told again.
    pub repeats: Vec<Repeat>,
    /// How many events were sent, and how many of them answered 2xx.
    pub sent: (usize, usize),
    /// When and why an event was not answered 2xx: the sender's loss, by contract.
    pub senders_losses: Vec<(Timestamp, String)>,
    /// How many reports arrived.
    pub reports: usize,
    /// How many reservations have each outcome.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// How often operators said each word, and how often that was heard.
    pub words: BTreeMap<String, (usize, usize)>,
}

impl Outcome {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.findings.is_empty()
    }

    /// What of this happened while a fault was in force, or else soonest after it.
    fn blamed(&self, at: Option<Timestamp>) -> Option<String> {
        let at = at?;
        let before = self.struck.iter().filter(|it| it.from <= at);
        before
            .max_by_key(|it| (it.to >= at, it.from))
            .map(|it| it.fault.to_string())
    }
}

/// A row of the table.
#[derive(Default)]
struct Row {
    times: usize,
    lost: usize,
    repeated: usize,
    slowest: Option<Duration>,
    never_well: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for struck in &self.struck {
            let row = rows.entry(struck.fault.to_string()).or_default();
            row.times += 1;
            row.slowest = row.slowest.max(struck.recovered);
            row.never_well += usize::from(struck.recovered.is_none());
        }
        for repeat in &self.repeats {
            rows.entry(repeat.fault.to_string()).or_default().repeated += 1;
        }
        let mut unplaced = 0;
        for finding in &self.findings {
            match self.blamed(finding.at) {
                Some(fault) => rows.entry(fault).or_default().lost += 1,
                None => unplaced += 1,
            }
        }
        writeln!(
            f,
            "| fault | how often | lost | repeated | slowest recovery |"
        )?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (name, row) in &rows {
            let recovery = match (row.never_well, row.slowest) {
                (0, Some(slowest)) => format!("{:.1} s", slowest.as_secs_f64()),
                (0, None) => "–".to_owned(),
                (some, _) => format!("{some} never"),
            };
            writeln!(
                f,
                "| {name} | {} | {} | {} | {recovery} |",
                row.times, row.lost, row.repeated
            )?;
        }
        let total = self.findings.len();
        writeln!(
            f,
            "| all | {} | {total} | {} | |",
            self.struck.len(),
            self.repeats.len()
        )?;
        if unplaced > 0 {
            writeln!(f, "\n{unplaced} of those lost can't be placed in time.")?;
        }
        self.write_summary(f)
    }
}

impl Outcome {
    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, accepted) = self.sent;
        writeln!(
            f,
            "\nseed {}: faults for {:.0} s, everything well {:.0} s after the last",
            self.seed,
            self.lasted.as_secs_f64(),
            self.settled.as_secs_f64()
        )?;
        writeln!(
            f,
            "{sent} events sent, {accepted} answered 2xx, {} the sender's loss; {} reports arrived",
            self.senders_losses.len(),
            self.reports
        )?;
        let outcomes: Vec<String> = self
            .outcomes
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(f, "reservations: {}", outcomes.join(", "))?;
        let words: Vec<String> = self
            .words
            .iter()
            .map(|(word, (said, heard))| format!("{word} {heard} of {said}"))
            .collect();
        writeln!(f, "operators were heard: {}", words.join(", "))?;
        for (at, why) in &self.senders_losses {
            writeln!(f, "the sender's loss at {at}: {why}")?;
        }
        for finding in &self.findings {
            writeln!(f, "FOUND {finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::chaos::fault::{Fault, Part};
    use crate::service::ServiceKind;

    #[test]
    fn each_fault_has_a_row_with_what_it_cost() {
        let at = |second: i64| Timestamp::UNIX_EPOCH + second.seconds();
        let kill = |replica| Fault::Kill(Part::Service(ServiceKind::Notifier, replica));
        let struck = |replica, from, recovered| Struck {
            fault: kill(replica),
            from: at(from),
            to: at(from + 1),
            recovered: Some(Duration::from_millis(recovered)),
        };
        let outcome = Outcome {
            seed: 7,
            lasted: Duration::from_secs(30),
            settled: Duration::from_secs(4),
            struck: vec![struck(0, 10, 400), struck(1, 20, 1300)],
            findings: vec![Finding {
                check: "untold",
                at: Some(at(21)),
                what: "somebody".to_owned(),
            }],
            repeats: vec![Repeat {
                at: at(12),
                fault: kill(0),
            }],
            sent: (3, 2),
            senders_losses: vec![(at(11), "503".to_owned())],
            reports: 9,
            outcomes: BTreeMap::from([("ReservationEnded", 2)]),
            words: BTreeMap::from([("hold".to_owned(), (3, 2))]),
        };
        let text = outcome.to_string();
        assert!(
            text.contains("| kill notifier | 2 | 1 | 1 | 1.3 s |"),
            "{text}"
        );
        assert!(text.contains("| all | 2 | 1 | 1 | |"), "{text}");
        assert!(text.contains("seed 7"), "{text}");
        assert!(
            text.contains("3 events sent, 2 answered 2xx, 1 the sender's loss"),
            "{text}"
        );
        assert!(text.contains("operators were heard: hold 2 of 3"), "{text}");
        assert!(text.contains("FOUND untold: somebody"), "{text}");
        assert!(!outcome.is_well());
    }
}
