//! Every command that there can be, said of A.

use bellhop_domain::reservation::{
    AcceptedStart, Adoption, Announced, OperatorWord, Order, Rehoming, SiteJudgement,
};

use super::super::orders::{delivery, note};
use super::super::*;
use super::listed::listed;
use super::states::{NOW, another_resource, start_without_key};

listed! {
    /// What a command is. [`Kind::of`] takes the product's commands apart without a wildcard: a new one is a new line here.
    Kind {
        SaidAnnounced = "Said Announced",
        SaidChanged = "Said Changed",
        SaidStart = "Said Start",
        SaidUnservableStart = "Said UnservableStart",
        SaidEnd = "Said End",
        SaidDeleted = "Said Deleted",
        UnservedAnnounced = "SaidOfUnserved Announced",
        UnservedChanged = "SaidOfUnserved Changed",
        UnservedStart = "SaidOfUnserved Start",
        UnservedUnservableStart = "SaidOfUnserved UnservableStart",
        UnservedEnd = "SaidOfUnserved End",
        UnservedDeleted = "SaidOfUnserved Deleted",
        MovedIn = "MovedIn, announced",
        MovedInStarted = "MovedIn, started",
        Rehomed = "Rehomed, announced",
        RehomedStarted = "Rehomed, started",
        SiteUnclear = "SiteJudged Unclear",
        SiteHere = "SiteJudged Here",
        SiteNotServed = "SiteJudged NotServed",
        SiteSeen = "SiteSeen",
        MovedOut = "MovedOut",
        Extend = "Ordered Extend",
        Release = "Ordered Release",
        End = "Ordered End",
        Allow = "Ordered Allow",
        BringKey = "Ordered BringKey",
        Hold = "Ordered Hold",
        Unhold = "Ordered Unhold",
        Adopt = "Ordered Adopt",
        HandBack = "Ordered HandBack",
        Pause = "Ordered Pause",
        Resume = "Ordered Resume",
        ResourceDeleted = "ResourceDeleted",
        NoHost = "Observed NoHost",
        Clean = "Observed Clean",
        WouldBeClaimed = "Observed WouldBeClaimed",
        NotClean = "Observed NotClean",
        Paused = "Observed Paused",
        CleaningOff = "Observed CleaningOff",
        NoPlace = "Observed NoPlace",
        PlaceUnused = "Observed PlaceUnused",
        Unclaimed = "Observed Unclaimed",
        ClaimRefused = "Observed ClaimRefused",
        AdoptionRefused = "Observed AdoptionRefused",
        Working = "Observed Claimed, Working",
        Suspended = "Observed Claimed, Suspended",
        Ready = "Observed Claimed, Ready",
        HostGone = "Observed HostGone",
        SwitchedOn = "Observed SwitchedOn",
        StillReleasing = "Observed Releasing",
        Released = "Observed Released",
        TimePassed = "TimePassed",
    }
}

impl Kind {
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Said(word) => Self::said(&word.said),
            Command::SaidOfUnserved(word) => Self::said_of_unserved(&word.said),
            Command::MovedIn { started: None, .. } => Self::MovedIn,
            Command::MovedIn {
                started: Some(_), ..
            } => Self::MovedInStarted,
            Command::Rehomed(rehoming) if rehoming.started.is_none() => Self::Rehomed,
            Command::Rehomed(_) => Self::RehomedStarted,
            Command::SiteJudged { judgement, .. } => match judgement {
                SiteJudgement::Unclear => Self::SiteUnclear,
                SiteJudgement::Here => Self::SiteHere,
                SiteJudgement::NotServed { .. } => Self::SiteNotServed,
            },
            Command::SiteSeen { .. } => Self::SiteSeen,
            Command::MovedOut { .. } => Self::MovedOut,
            Command::Ordered(word) => Self::ordered(&word.order),
            Command::ResourceDeleted { .. } => Self::ResourceDeleted,
            Command::Observed(observation) => Self::observed(observation),
            Command::TimePassed { .. } => Self::TimePassed,
        }
    }

    fn said(said: &Said) -> Self {
        match said {
            Said::Announced => Self::SaidAnnounced,
            Said::Changed => Self::SaidChanged,
            Said::Start { .. } => Self::SaidStart,
            Said::UnservableStart { .. } => Self::SaidUnservableStart,
            Said::End => Self::SaidEnd,
            Said::Deleted => Self::SaidDeleted,
        }
    }

    fn said_of_unserved(said: &Said) -> Self {
        match said {
            Said::Announced => Self::UnservedAnnounced,
            Said::Changed => Self::UnservedChanged,
            Said::Start { .. } => Self::UnservedStart,
            Said::UnservableStart { .. } => Self::UnservedUnservableStart,
            Said::End => Self::UnservedEnd,
            Said::Deleted => Self::UnservedDeleted,
        }
    }

    fn ordered(order: &Order) -> Self {
        match order {
            Order::Extend { .. } => Self::Extend,
            Order::Release { .. } => Self::Release,
            Order::End { .. } => Self::End,
            Order::Allow { .. } => Self::Allow,
            Order::BringKey { .. } => Self::BringKey,
            Order::Hold => Self::Hold,
            Order::Unhold => Self::Unhold,
            Order::Adopt(_) => Self::Adopt,
            Order::HandBack => Self::HandBack,
            Order::Pause => Self::Pause,
            Order::Resume => Self::Resume,
        }
    }

    fn observed(observation: &Observation) -> Self {
        match observation {
            Observation::NoHost { .. } => Self::NoHost,
            Observation::Clean { .. } => Self::Clean,
            Observation::WouldBeClaimed { .. } => Self::WouldBeClaimed,
            Observation::NotClean { .. } => Self::NotClean,
            Observation::Paused { .. } => Self::Paused,
            Observation::CleaningOff => Self::CleaningOff,
            Observation::NoPlace { .. } => Self::NoPlace,
            Observation::PlaceUnused { .. } => Self::PlaceUnused,
            Observation::Unclaimed => Self::Unclaimed,
            Observation::ClaimRefused { .. } => Self::ClaimRefused,
            Observation::AdoptionRefused { .. } => Self::AdoptionRefused,
            Observation::Claimed(host) => match host.progress {
                Progress::Working => Self::Working,
                Progress::Suspended { .. } => Self::Suspended,
                Progress::Ready { .. } => Self::Ready,
            },
            Observation::HostGone => Self::HostGone,
            Observation::SwitchedOn { .. } => Self::SwitchedOn,
            Observation::Releasing => Self::StillReleasing,
            Observation::Released { .. } => Self::Released,
        }
    }
}

/// A command of the tables. Said in a state, it may make that state's time pass first.
pub(super) struct Asked {
    /// As the table names it.
    pub(super) name: &'static str,
    pub(super) command: fn(&mut Story) -> Command,
}

/// A table: its file's name, and its commands.
pub(super) type Table = (&'static str, Vec<Asked>);

/// All of them.
pub(super) fn tables() -> Vec<Table> {
    vec![
        ("said", said()),
        ("said_of_unserved", said_of_unserved()),
        ("moved", moved()),
        ("ordered", ordered()),
        ("observed", observed()),
        ("time", time()),
    ]
}

fn asked(name: &'static str, command: fn(&mut Story) -> Command) -> Asked {
    Asked { name, command }
}

/// A minute later, with the times that are known, and an `updatedAt` where the sender has one.
fn word(story: &mut Story, said: Said) -> Word {
    story.now = NOW + MINUTE;
    let has_updated_at = matches!(said, Said::Announced | Said::Changed);
    let updated_at = has_updated_at.then_some(story.now);
    story.word("a", said, Story::hours("a").1, updated_at)
}

fn says(story: &mut Story, said: Said) -> Command {
    Command::Said(Box::new(word(story, said)))
}

fn said() -> Vec<Asked> {
    vec![
        asked("created", |story| says(story, Said::Announced)),
        asked("updated", |story| says(story, Said::Changed)),
        asked("updated: a later end", |story| {
            let mut word = word(story, Said::Changed);
            word.knowledge.schedule.end = at(8 * HOUR);
            Command::Said(Box::new(word))
        }),
        asked("updated: a later start", |story| {
            let mut word = word(story, Said::Changed);
            word.knowledge.schedule.start = at(2 * HOUR);
            Command::Said(Box::new(word))
        }),
        asked("updated: another owner", |story| {
            let mut word = word(story, Said::Changed);
            word.user = Some(UserId::new("nils"));
            Command::Said(Box::new(word))
        }),
        asked("start", |story| says(story, start())),
        asked("start without a key", |story| {
            says(story, start_without_key())
        }),
        asked("start without a key, which needs none", |story| {
            let Said::Start { key, mut terms } = start_without_key() else {
                unreachable!("it is a start");
            };
            terms.without_key = true;
            says(story, Said::Start { key, terms })
        }),
        asked("start that nothing can be given to", |story| {
            says(story, unservable())
        }),
        asked("start that comes after the end", |story| {
            let word = word(story, start());
            story.now = 3 * HOUR;
            Command::Said(Box::new(word))
        }),
        asked("end before its time", |story| says(story, Said::End)),
        asked("end at its time", |story| {
            let word = word(story, Said::End);
            story.now = 3 * HOUR;
            Command::Said(Box::new(word))
        }),
        asked(
            "end that is older than what is known, and earlier",
            |story| {
                let mut word = word(story, Said::End);
                word.knowledge.schedule.end = at(2 * HOUR);
                word.knowledge.said_at = at(0);
                Command::Said(Box::new(word))
            },
        ),
        asked("deleted", |story| says(story, Said::Deleted)),
    ]
}

/// The word names a resource that is not served, with another number.
fn says_elsewhere(story: &mut Story, said: Said) -> Command {
    let mut word = word(story, said);
    word.resource_number = Some(77);
    Command::SaidOfUnserved(Box::new(word))
}

fn said_of_unserved() -> Vec<Asked> {
    vec![
        asked("created", |story| says_elsewhere(story, Said::Announced)),
        asked("updated", |story| says_elsewhere(story, Said::Changed)),
        asked("updated: the number is the same", |story| {
            Command::SaidOfUnserved(Box::new(word(story, Said::Changed)))
        }),
        asked("start", |story| says_elsewhere(story, start())),
        asked("start that nothing can be given to", |story| {
            says_elsewhere(story, unservable())
        }),
        asked("end", |story| says_elsewhere(story, Said::End)),
        asked("deleted", |story| says_elsewhere(story, Said::Deleted)),
    ]
}

fn accepted() -> AcceptedStart {
    AcceptedStart {
        terms: terms(),
        key: TenantKey::InDelivery,
        delivery: delivery(),
        host_stays: false,
    }
}

fn moves_in(story: &mut Story, started: Option<AcceptedStart>) -> Command {
    Command::MovedIn {
        word: Box::new(word(story, Said::Changed)),
        from: another_resource(),
        started,
        former: Some(UserId::new("mara")),
    }
}

fn rehomed(story: &mut Story, started: Option<AcceptedStart>, postponed: bool) -> Command {
    let word = word(story, Said::Changed);
    Command::Rehomed(Box::new(Rehoming {
        from: another_resource(),
        announced: Announced {
            reservation: word.reservation,
            user: word.user,
            webhook: word.webhook,
            resource_number: word.resource_number,
            site: word.site,
            knowledge: word.knowledge,
            delivery: word.delivery,
        },
        started,
        postponed,
        site_named: true,
    }))
}

fn judged(judgement: SiteJudgement) -> Command {
    Command::SiteJudged {
        reservation: id("a"),
        judgement,
    }
}

fn moved() -> Vec<Asked> {
    vec![
        asked("moved in, announced", |story| moves_in(story, None)),
        asked("moved in, started", |story| {
            moves_in(story, Some(accepted()))
        }),
        asked("moved in, started, and given to another", |story| {
            let mut moved = moves_in(story, Some(accepted()));
            if let Command::MovedIn { word, .. } = &mut moved {
                word.user = Some(UserId::new("nils"));
            }
            moved
        }),
        asked("moved in, started, to a later start", |story| {
            let mut moved = moves_in(story, Some(accepted()));
            if let Command::MovedIn { word, .. } = &mut moved {
                word.knowledge.schedule.start = at(2 * HOUR);
            }
            moved
        }),
        asked("site seen", |_| Command::SiteSeen {
            site: SiteId::new("site-9"),
            delivery: delivery(),
        }),
        asked("moved out", |_| Command::MovedOut {
            reservation: id("a"),
            to: another_resource(),
        }),
        asked("rehomed, announced", |story| rehomed(story, None, false)),
        asked("rehomed, started", |story| {
            rehomed(story, Some(accepted()), false)
        }),
        asked("rehomed, postponed", |story| {
            let mut rehomed = rehomed(story, Some(accepted()), true);
            if let Command::Rehomed(rehoming) = &mut rehomed {
                rehoming.announced.knowledge.schedule.start = at(2 * HOUR);
            }
            rehomed
        }),
        asked("site judged: unclear", |_| judged(SiteJudgement::Unclear)),
        asked("site judged: here", |_| judged(SiteJudgement::Here)),
        asked("site judged: not served", |_| {
            let text = "site lab9".to_owned();
            judged(SiteJudgement::NotServed { text })
        }),
    ]
}

fn orders(order: Order) -> Command {
    Command::Ordered(Box::new(OperatorWord {
        order,
        note: note(),
    }))
}

fn adopts(reservation: Option<ReservationId>) -> Command {
    orders(Order::Adopt(Box::new(Adoption {
        until: reservation.is_some().then(|| at(3 * HOUR)),
        reservation,
        host: host(),
        secret: "lab7-node04-userdata".to_owned(),
        terms: terms(),
        site: None,
        delivery: delivery(),
    })))
}

/// After the opposite.
fn after(story: &mut Story, before: Order, order: Order) -> Command {
    story.ordered(before);
    orders(order)
}

fn ordered() -> Vec<Asked> {
    vec![
        asked("extend", |_| {
            orders(Order::Extend {
                reservation: id("a"),
                until: at(8 * HOUR),
            })
        }),
        asked("release", |_| {
            orders(Order::Release {
                reservation: id("a"),
            })
        }),
        asked("end", |_| {
            orders(Order::End {
                reservation: id("a"),
            })
        }),
        asked("allow", |_| {
            orders(Order::Allow {
                reservation: id("a"),
            })
        }),
        asked("bring a key", |_| {
            orders(Order::BringKey {
                reservation: id("a"),
                user: Some(UserId::new("mara")),
                delivery: delivery(),
            })
        }),
        asked("bring a key for another owner", |_| {
            orders(Order::BringKey {
                reservation: id("a"),
                user: Some(UserId::new("nils")),
                delivery: delivery(),
            })
        }),
        asked("hold", |_| orders(Order::Hold)),
        asked("unhold", |_| orders(Order::Unhold)),
        asked("unhold what is held", |story| {
            after(story, Order::Hold, Order::Unhold)
        }),
        asked("pause", |_| orders(Order::Pause)),
        asked("resume", |_| orders(Order::Resume)),
        asked("resume what is paused", |story| {
            after(story, Order::Pause, Order::Resume)
        }),
        asked("adopt for it", |_| adopts(Some(id("a")))),
        asked("adopt for nobody knows whom", |_| adopts(None)),
        asked("hand back", |_| orders(Order::HandBack)),
        asked("the resource is deleted", |_| Command::ResourceDeleted {
            number: Some(31),
            delivery: delivery(),
        }),
        asked("a resource of that name is deleted", |_| {
            Command::ResourceDeleted {
                number: Some(77),
                delivery: delivery(),
            }
        }),
    ]
}

fn reads(observation: Observation) -> Command {
    Command::Observed(observation)
}

fn reads_claimed(progress: Progress, error: Option<&str>, changed: Option<&str>) -> Command {
    reads(seen(progress, error, changed))
}

fn suspended() -> Progress {
    Progress::Suspended {
        reason: "paused".to_owned(),
    }
}

const PROVISIONED: Progress = Progress::Ready { address: None };

fn observed() -> Vec<Asked> {
    vec![
        asked("no host", |_| reads(no_host())),
        asked("clean", |_| reads(clean())),
        asked("clean, its time over", |story| {
            story.now = 3 * HOUR;
            reads(clean())
        }),
        asked("clean, after it was not wiped", |story| {
            story.resource.not_wiped = Some(id("earlier"));
            reads(clean())
        }),
        asked("clean, in a shadow", |_| {
            reads(Observation::WouldBeClaimed { host: host() })
        }),
        asked("not clean", |_| reads(not_clean())),
        asked("paused by an operator", |_| {
            reads(Observation::Paused {
                text: "the work on it is stopped".to_owned(),
            })
        }),
        asked("cleaning is off", |_| reads(Observation::CleaningOff)),
        asked("no place", |_| reads(Observation::NoPlace { preparing: 2 })),
        asked("place unused", |story| {
            reads(Observation::PlaceUnused {
                reason: WaitReason::Host {
                    text: "it is deprovisioning".to_owned(),
                },
                upon: story.resource.version,
            })
        }),
        asked("place unused, of an older state", |_| {
            reads(Observation::PlaceUnused {
                reason: WaitReason::Host {
                    text: "it is deprovisioning".to_owned(),
                },
                upon: Version(0),
            })
        }),
        asked("unclaimed", |_| reads(Observation::Unclaimed)),
        asked("unclaimed, its time over", |story| {
            story.now = 3 * HOUR;
            reads(Observation::Unclaimed)
        }),
        asked("claim refused", |_| reads(refused())),
        asked("adoption refused", |_| {
            reads(Observation::AdoptionRefused {
                text: "a webhook says no".to_owned(),
            })
        }),
        asked("working", |_| reads(working())),
        asked("working, with an error", |_| reads(failing("no disk"))),
        asked("working, with the last error", |story| {
            story.policy.provisioning_attempts = 1;
            reads(failing("no disk"))
        }),
        asked("working, changed", |_| {
            reads_claimed(Progress::Working, None, Some("image"))
        }),
        asked("working, a while after it was seen last", |story| {
            story.now += 4 * MINUTE;
            reads(working())
        }),
        asked("working, long after it was seen last", |story| {
            story.now += 20 * MINUTE;
            reads(working())
        }),
        asked("working, though there is no time left", |story| {
            story.policy.provisioning_timeout = Duration::ZERO;
            reads(working())
        }),
        asked("suspended", |_| reads(paused())),
        asked("suspended, long after it was seen last", |story| {
            story.now += 20 * MINUTE;
            reads(paused())
        }),
        asked("suspended, with an error", |_| {
            reads_claimed(suspended(), Some("no disk"), None)
        }),
        asked("ready", |_| reads(provisioned())),
        asked("ready, with an error", |_| {
            reads_claimed(PROVISIONED, Some("power"), None)
        }),
        asked("ready, changed", |_| {
            reads_claimed(PROVISIONED, None, Some("image"))
        }),
        asked("gone", |_| reads(Observation::HostGone)),
        asked("switched on", |_| {
            reads(Observation::SwitchedOn { host: host() })
        }),
        asked("switched on, as ordered", |story| {
            story.ordered(Order::HandBack);
            reads(Observation::SwitchedOn { host: host() })
        }),
        asked("releasing", |_| reads(Observation::Releasing)),
        asked("released", |_| {
            reads(Observation::Released {
                left: HostLeft::Off,
                not_wiped: false,
            })
        }),
        asked("released, not wiped", |_| {
            reads(Observation::Released {
                left: HostLeft::Off,
                not_wiped: true,
            })
        }),
    ]
}

/// It is `now`, and somebody was there all the while.
fn passes(story: &mut Story, now: i64) -> Command {
    story.now = now;
    Command::TimePassed {
        up_since: at(0),
        may_release: true,
        clock_is_right: true,
    }
}

/// It is `now`, and somebody is there since.
fn was_away(story: &mut Story, now: i64) -> Command {
    story.now = now;
    Command::TimePassed {
        up_since: at(now),
        may_release: true,
        clock_is_right: true,
    }
}

fn time() -> Vec<Asked> {
    vec![
        asked("nothing is due", |story| {
            let now = story.now;
            passes(story, now)
        }),
        asked("the grace after its start is over", |story| {
            passes(story, HOUR + 2 * MINUTE)
        }),
        asked("the grace after the end of another is over", |story| {
            passes(story, HOUR + 10 * MINUTE)
        }),
        asked("its postponed start comes", |story| {
            let now = 115 * MINUTE;
            passes(story, now)
        }),
        asked("its end", |story| passes(story, 3 * HOUR)),
        asked("the deadline", |story| {
            passes(story, 3 * HOUR + 10 * MINUTE)
        }),
        asked("the end of the hold", |story| passes(story, 5 * HOUR)),
        asked(
            "the end of the hold, and nothing may be released",
            |story| {
                story.now = 5 * HOUR;
                Command::TimePassed {
                    up_since: at(0),
                    may_release: false,
                    clock_is_right: true,
                }
            },
        ),
        asked("its whole time, and nobody was there", |story| {
            was_away(story, 12 * HOUR)
        }),
        asked(
            "its whole time, and somebody is there long enough since",
            |story| {
                was_away(story, 12 * HOUR);
                let up_since = at(12 * HOUR);
                story.now += 20;
                Command::TimePassed {
                    up_since,
                    may_release: true,
                    clock_is_right: true,
                }
            },
        ),
    ]
}
