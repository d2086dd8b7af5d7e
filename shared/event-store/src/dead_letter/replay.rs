//! A dead letter is handled once more: a delivery goes to DELIVERIES again, a report to the notifier.

use std::fmt;

use bellhop_domain::id::Version;

use super::redelivery::Redelivery;
use super::{AskedReport, BuriedLetter, DeadLetterClass, Operator, Verdict, VerdictError, kept};
use crate::error::{EventStoreError, StoreError};
use crate::report::{ReportState, Revision};
use crate::store::EventStore;
use crate::subject::decode_token;

/// How many reports are asked for at once.
const AT_ONCE: usize = 500;

/// The replay of one dead letter, or of several reports about one reservation to one destination. Nothing of it is done yet.
#[derive(Debug)]
pub struct Replay {
    letters: Vec<BuriedLetter>,
    act: Act,
}

#[derive(Debug)]
enum Act {
    /// It is stored in DELIVERIES once more.
    Deliver(Redelivery),
    /// The notifier is asked to send these again, one for each letter.
    Ask {
        destination: String,
        /// The reservation as REPORTS names it, or the entry: what is about the same leaves in order.
        about: String,
        reports: Vec<AskedReport>,
    },
    /// The report was settled meanwhile.
    Nothing(ReportState),
}

/// A dead letter can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It does not hold what a replay needs.
    #[error("dead letter {sequence} can't be replayed: {problem}")]
    Unreplayable {
        /// Which.
        sequence: u64,
        /// Why.
        problem: String,
    },
    /// It is not known to be stored.
    #[error(transparent)]
    NotStored(#[from] StoreError),
    /// The broker could not be asked.
    #[error(transparent)]
    Broker(#[from] EventStoreError),
}

impl Replay {
    /// Whether the notifier does it: then replays about one reservation are put together by [`in_order`].
    pub fn is_for_notifier(&self) -> bool {
        matches!(self.act, Act::Ask { .. })
    }

    /// The sequences of its letters.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        self.letters.iter().map(|letter| letter.sequence)
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Deliver(redelivery) => write!(
                f,
                "delivery {} goes to {}",
                redelivery.id, redelivery.subject
            ),
            Act::Ask {
                destination,
                about,
                reports,
            } => {
                write!(f, "about {about}, the notifier sends to {destination}:")?;
                for report in reports {
                    match report.fact {
                        Some(fact) => write!(f, " report {}-{fact}", report.entry)?,
                        None => write!(f, " all that entry {} owes", report.entry)?,
                    }
                }
                Ok(())
            }
            Act::Nothing(ReportState::Delivered { at, .. }) => {
                write!(
                    f,
                    "nothing is sent: the report was delivered at {at}; the letter goes"
                )
            }
            Act::Nothing(_) => {
                f.write_str("nothing is sent: the report is not true any more; the letter goes")
            }
        }
    }
}

/// Puts together what is for the notifier and about the same reservation, so that it leaves in the ledger's order.
pub fn in_order(replays: Vec<Replay>) -> Vec<Replay> {
    let mut ordered: Vec<Replay> = Vec::new();
    for replay in replays {
        match ordered
            .iter_mut()
            .find(|known| known.is_about_same(&replay))
        {
            Some(known) => known.join(replay),
            None => ordered.push(replay),
        }
    }
    for replay in &mut ordered {
        replay.sort();
    }
    ordered
}

impl Replay {
    fn is_about_same(&self, other: &Self) -> bool {
        match (&self.act, &other.act) {
            (
                Act::Ask {
                    destination,
                    about,
                    reports,
                },
                Act::Ask {
                    destination: other_destination,
                    about: other_about,
                    ..
                },
            ) => {
                destination == other_destination && about == other_about && reports.len() < AT_ONCE
            }
            _ => false,
        }
    }

    fn join(&mut self, other: Self) {
        if let (Act::Ask { reports, .. }, Act::Ask { reports: more, .. }) =
            (&mut self.act, other.act)
        {
            reports.extend(more);
            self.letters.extend(other.letters);
        }
    }

    fn sort(&mut self) {
        if let Act::Ask { reports, .. } = &mut self.act {
            let mut both: Vec<_> = std::mem::take(&mut self.letters)
                .into_iter()
                .zip(std::mem::take(reports))
                .collect();
            both.sort_by_key(|(_, report)| (report.entry, report.fact));
            (self.letters, *reports) = both.into_iter().unzip();
        }
    }
}

impl EventStore {
    /// What the replay of a dead letter would do. Changes nothing.
    ///
    /// # Errors
    /// Where the letter does not hold what a replay needs, or the broker does not answer.
    pub async fn plan_replay(&self, letter: BuriedLetter) -> Result<Replay, ReplayError> {
        if letter.id.is_empty() {
            return Err(unreplayable(&letter, &letter.reason));
        }
        let act = match letter.class() {
            Some(DeadLetterClass::Report) => self.ask_for_report(&letter).await?,
            Some(DeadLetterClass::Delivery) => match unreadable_entry(&letter) {
                Some(entry) => Act::Ask {
                    destination: letter.what().unwrap_or_default(),
                    about: format!("entry {entry} of the ledger"),
                    reports: vec![AskedReport {
                        entry,
                        fact: None,
                        revision: None,
                    }],
                },
                None => Act::Deliver(self.redelivery(&letter).await?),
            },
            None => {
                return Err(unreplayable(&letter, "its subject is not one of Bellhop's"));
            }
        };
        Ok(Replay {
            letters: vec![letter],
            act,
        })
    }

    /// Replays: writes the verdicts down, stores what is to be handled again, and then erases the letters. Returns what was left
    /// out, because another operator was there first.
    ///
    /// # Errors
    /// Where something is not known to be stored. The letters are then still there, and replaying them again is harmless.
    pub async fn replay(
        &self,
        replay: &Replay,
        by: &Operator,
    ) -> Result<Vec<VerdictError>, ReplayError> {
        let mut left_out = Vec::new();
        let mut ours = Vec::new();
        for (index, letter) in replay.letters.iter().enumerate() {
            match self.decide(letter, Verdict::Replay, by).await {
                Ok(()) => ours.push(index),
                Err(VerdictError::NotStored(error)) => return Err(error.into()),
                Err(VerdictError::Broker(error)) => return Err(error.into()),
                Err(others) => left_out.push(others),
            }
        }
        match &replay.act {
            _ if ours.is_empty() => {}
            Act::Nothing(_) => {}
            Act::Deliver(redelivery) => {
                for letter in replay.sequences() {
                    self.deliver_again(letter, redelivery).await?;
                }
            }
            Act::Ask {
                destination,
                reports,
                ..
            } => {
                let mut asked: Vec<AskedReport> = ours
                    .iter()
                    .filter_map(|index| reports.get(*index).cloned())
                    .collect();
                // A crash may have buried one report twice.
                asked.dedup();
                self.ask_for_reports(destination, asked, by).await?;
            }
        }
        for letter in ours.iter().filter_map(|index| replay.letters.get(*index)) {
            self.erase_letter(letter).await?;
        }
        Ok(left_out)
    }

    async fn ask_for_report(&self, letter: &BuriedLetter) -> Result<Act, ReplayError> {
        let not_a_key = || unreplayable(letter, "it does not say which report it was");
        let key = letter.header(kept::REPORT).ok_or_else(not_a_key)?;
        let mut tokens = key.rsplitn(3, '.');
        let (Some(destination), Some(place), Some(reservation)) =
            (tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(not_a_key());
        };
        let place = place
            .split_once('-')
            .and_then(|(entry, fact)| Some((entry.parse().ok()?, fact.parse().ok()?)));
        let (entry, fact): (u64, usize) = place.ok_or_else(not_a_key)?;
        let (state, revision): (Option<ReportState>, Option<Revision>) =
            self.report_under(key).await?.unzip();
        Ok(match state {
            Some(settled @ (ReportState::Delivered { .. } | ReportState::Dropped { .. })) => {
                Act::Nothing(settled)
            }
            // The letter was stored, and that it is one not yet noted: whoever has it in hand is about to do so, or to send it.
            Some(ReportState::Owed { first_at, .. }) if first_at == letter.first_at => {
                let problem = "the notifier has it in hand: look again in a minute";
                return Err(unreplayable(letter, problem));
            }
            Some(ReportState::DeadLettered { .. } | ReportState::Owed { .. }) | None => Act::Ask {
                destination: destination.to_owned(),
                about: decode_token(reservation).unwrap_or_else(|_| reservation.to_owned()),
                reports: vec![AskedReport {
                    entry: Version(entry),
                    fact: Some(fact),
                    revision,
                }],
            },
        })
    }
}

/// Which entry of the ledger the letter is, where it is one that the notifier could not read.
fn unreadable_entry(letter: &BuriedLetter) -> Option<Version> {
    let entry = letter.header(kept::ENTRY).or_else(|| {
        // As letters were before they had that header.
        letter.id.strip_prefix("ledger-")?.split('-').next()
    })?;
    entry.parse().ok().map(Version)
}

pub(super) fn unreplayable(letter: &BuriedLetter, problem: &str) -> ReplayError {
    ReplayError::Unreplayable {
        sequence: letter.sequence,
        problem: problem.to_owned(),
    }
}
