//! What may never happen, judged after each append, each write and each look from the facts and the hosts.
//!
//! | rule | judged by |
//! |---|---|
//! | R2 | [`Judge::written`]: no write on a host that carries another's image, no claim for a reservation whose host was released; `facts`: `only_one_changed`, `holder_is_one`, `assigned_in_order`; `orders`: an operator's release ends the holder that it names, an adopted host goes back at an end that encloses its adoption, no other word changes who has the resource |
//! | R3 | [`Judge::heard`]: an end or deletion that was heard is final; `facts`: `ended_rightly`, `assigned_in_order`; [`Judge::written`]: nothing is prepared after its end; the properties in `main.rs` about the order of arrival; [`Judge::last_orders_stand`]: of what operators ordered the last word stands |
//! | R4 | `writes`: a claim finds a clean host; `facts`: `assigned_in_order`, `released_clean`; a host that was not wiped is said to be so, whatever Metal3 was told after its image was taken off, and given away only where an operator allowed it; `sharing`: so is the host of another of the sender's resources |
//! | capacity | `sharing`: never more hosts are prepared at once than may be |
//! | R5 | `facts`: `ended_rightly` (told, held, the hold not passed while nobody was there), `holds_long_enough`, no deadline before the end that an operator extended; `orders`: the deletion of a resource ends no holder; [`Judge::fires`]: what waits in the broker comes first; [`Judge::at_the_end`]: a missed start was told as overdue; `World::judge_rest`: nothing is held for ever |
//! | R6 | `sharing`: no host is given to a start of which nobody has said where the hosts of its site are; `writes`: no write on a host that someone else has, or paused, or with an image that we did not set, or that the service before prepared; `orders`: none that an operator paused before its writer last asked, and no release of a host that one holds |
//! | R7 | `facts`: no fact after the outcome, ready once, completed if and only if it was ready, no start that was accepted is missed; [`Judge::at_the_end`]: one outcome each; `World::judge_rest`: none goes on for ever |
//! | R8 | `facts`: `ready_is_true`, `error_is_counted`, `fails_rightly`; [`Judge::looked`]: an error that was read was told, the clock stands while Metal3 does not work |
//! | R9 | [`Judge::secret_made`]: with its owner's key, or none; [`Judge::prepared`]: a host is prepared with the user data of the reservation in its `consumerRef`, and the key of the owner that this had when it was claimed, or none; `orders`: an operator's key is its owner's; `World::judge_rest`: no secret is left, hosts are off |
//! | R10 | [`Judge::at_the_end`]: every delivery that the broker took was heard; `World::restart`: a snapshot is read as it was written; `facts`: folding or deciding again changes nothing; and all the others, whatever stops |
//! | R12 | `writes`: an image is set once on each host given, the one of the start that was accepted first, wherever it was moved, after the fact that gives the host; `orders`: an adoption changes nothing that Metal3 acts on; `facts`: no change of its booking takes an adopted host back |
//! | R13 | `writes`: no write on a host of an unknown holder, a release takes away what we wrote; `World::judge_rest`: nothing of ours stays |
//!
//! R1 and R11 are the services' and have tests there.

mod facts;
mod orders;
mod sharing;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use bellhop_domain::id::{HostRef, ReservationId, UserId};
use bellhop_domain::reservation::{
    EndCause, Fact, Holding, Occupancy, Policy, Reservation, Resource, Said, Stage, Word,
};
use jiff::Timestamp;

use super::delivery::Delivery;
use super::host::{Host, State};
use super::orders::{SITES, site};
use super::replica::Decision;
use super::sender::at;
use super::ways::Way;
use super::world::{AWAY, Verdict};

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}
use ensure;

/// What is remembered of one reservation on one resource.
#[derive(Default)]
struct Record {
    is_over: bool,
    readies: u32,
    claims: u32,
    errors: u32,
    worked: i64,
    working_since: Option<i64>,
    hold_until: Option<Timestamp>,
    overdue: bool,
    missed: bool,
    /// A start of it had been accepted when it was moved here.
    has_start: bool,
    /// The image that we wrote to its host here, or took over with it.
    written: Option<String>,
    /// The host that it was given.
    host: Option<HostRef>,
    /// The host that was adopted for it.
    adopted: Option<orders::Adopted>,
    /// Whose it was when our claim was written, as far as its writer knew.
    claimed_for: Option<UserId>,
    /// Our claim was written on it.
    taken_over: bool,
    /// Our claim was seen on it: it is in use.
    in_use: bool,
    /// An operator said that its end is not missed before this.
    extended_until: Option<Timestamp>,
    /// An operator let it go ahead.
    allowed: bool,
    /// Its start was accepted when several sites were heard of, and nobody has said where the hosts of each are.
    unsettled: bool,
    /// Its host was given back while Metal3 was told not to wipe it.
    unwiped: bool,
}

pub(crate) struct Judge {
    policy: Policy,
    /// The image that the start of each reservation fixed that was accepted first, wherever that was.
    fixed: BTreeMap<ReservationId, String>,
    records: BTreeMap<(usize, ReservationId), Record>,
    /// How many outcomes each reservation has.
    finals: BTreeMap<ReservationId, u32>,
    /// Which deliveries were handled, by their sequence.
    heard: BTreeSet<u64>,
    /// When nobody was there, from and to.
    absences: Vec<(i64, i64)>,
    orders: orders::Orders,
    /// Which resources' hosts were released and not wiped.
    not_wiped: BTreeSet<usize>,
    /// Of which site each booking is, by its number.
    sites: BTreeMap<ReservationId, usize>,
    sharing: sharing::Sharing,
    /// From which states to which reservations and resources went.
    pub(crate) ways: BTreeSet<Way>,
}

impl Judge {
    pub(crate) fn new<'a>(
        policy: Policy,
        preparing_max: Option<u32>,
        words: impl Iterator<Item = &'a Word>,
    ) -> Self {
        let site_of = |word: &Word| (0..SITES).find(|number| word.site == Some(site(*number)));
        Self {
            policy,
            sites: words
                .filter_map(|word| Some((word.reservation.clone(), site_of(word)?)))
                .collect(),
            sharing: sharing::Sharing::new(preparing_max),
            fixed: BTreeMap::new(),
            records: BTreeMap::new(),
            finals: BTreeMap::new(),
            heard: BTreeSet::new(),
            absences: Vec::new(),
            orders: orders::Orders::default(),
            not_wiped: BTreeSet::new(),
            ways: BTreeSet::new(),
        }
    }

    /// No replica was running from then to then.
    pub(crate) fn nobody_was_there(&mut self, from: i64, to: i64) {
        match self.absences.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => self.absences.push((from, to)),
        }
    }

    fn was_somebody_there(&self, instant: Timestamp) -> bool {
        !self
            .absences
            .iter()
            .any(|(from, to)| to - from > AWAY && at(*from) < instant && instant < at(*to))
    }

    /// R3: an end or a deletion that was heard is final, whether or not its start was heard before; but for an end that is
    /// older than a known extension.
    /// `known`: what each resource knows of it.
    pub(crate) fn heard(&self, word: &Word, known: &[&Reservation]) -> Verdict {
        let extended = |known: &&Reservation| known.times.extends_beyond(&word.knowledge);
        let is_final = match word.said {
            Said::Deleted => true,
            Said::End => !known.iter().any(extended),
            Said::Announced | Said::Changed | Said::Start { .. } | Said::UnservableStart { .. } => {
                false
            }
        };
        let over = known.iter().any(|known| known.outcome().is_some());
        let what = if matches!(word.said, Said::End) {
            "end"
        } else {
            "deletion"
        };
        ensure!(
            over || !is_final,
            "R3: the {what} of {} was heard, and it goes on",
            word.reservation
        );
        ensure!(
            !known.is_empty(),
            "R10: a delivery about {} was heard, and no fact names it",
            word.reservation
        );
        Ok(())
    }

    /// The delivery with this sequence was handled.
    pub(crate) fn handled(&mut self, sequence: u64) {
        self.heard.insert(sequence);
    }

    /// R5: no host is released without an end while an extension waits in the broker.
    pub(crate) fn fires(&self, decision: &Decision, waiting: &[Delivery]) -> Verdict {
        for fact in &decision.facts {
            let Fact::ReservationEnded(ended) = fact else {
                continue;
            };
            if !matches!(ended.cause, EndCause::Deadline | EndCause::ProvenOver) {
                continue;
            }
            let known = decision.before.reservations.get(&ended.reservation);
            let Some(known) = known.and_then(|known| known.times.newest()) else {
                continue;
            };
            let extends = |word: &Word| {
                word.reservation == ended.reservation
                    && word.knowledge.is_newer_than(known)
                    && word.knowledge.schedule.end > known.schedule.end
                    && !matches!(word.said, Said::End | Said::Deleted)
            };
            ensure!(
                !(waiting.iter().filter_map(Delivery::said)).any(|sent| extends(&sent.word)),
                "R5: {} is released while its extension waits in the broker",
                ended.reservation
            );
        }
        Ok(())
    }

    /// R8: nothing follows from what was read, so all that it shows was told already.
    pub(crate) fn looked(&self, state: &Resource, host: Option<&Host>) -> Verdict {
        let (Occupancy::Held(holding), Some(host)) = (&state.occupancy, host) else {
            return Ok(());
        };
        let Holding {
            reservation, stage, ..
        } = holding.as_ref();
        if host.reference() != holding.host || !host.belongs_to(reservation) {
            return Ok(());
        }
        match stage {
            Stage::Adopting | Stage::Claiming => {}
            Stage::Preparing {
                in_error,
                working_since,
                ..
            } => {
                ensure!(
                    *in_error == host.error,
                    "R8: {reservation} was told of an error: {in_error}; its host shows one: {}",
                    host.error
                );
                let stands = host.paused || host.state == State::Available;
                ensure!(
                    !stands || working_since.is_none(),
                    "R8: the clock of {reservation} runs while Metal3 does not work"
                );
            }
            Stage::Ready { trouble } => ensure!(
                trouble.is_some() == host.error,
                "R8: {reservation} was told of trouble: {trouble:?}; its host shows any: {}",
                host.error
            ),
        }
        Ok(())
    }

    /// `taken`: the sequences of all deliveries that ever came.
    pub(crate) fn at_the_end<'a>(&self, mut taken: impl Iterator<Item = &'a u64>) -> Verdict {
        for ((_, id), record) in &self.records {
            let finals = self.finals.get(id).copied().unwrap_or_default();
            ensure!(finals == 1, "R7: {id} has {finals} outcomes");
            ensure!(
                !record.missed || record.overdue,
                "R5: nobody was told that the start of {id} did not come"
            );
        }
        match taken.find(|sequence| !self.heard.contains(sequence)) {
            Some(lost) => Err(format!("R10: delivery {lost} was taken, and is lost")),
            None => Ok(()),
        }
    }
}
