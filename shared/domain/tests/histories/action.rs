//! What can happen in a history. Decoded from a number, so that proptest makes and shrinks histories quickly.

/// One step of a history.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Time passes; whether the replicas' timers fire when they are due, or all at the end (the machine slept).
    Advance { seconds: i64, awake: bool },
    /// Both replicas are stopped for a time. Deliveries come meanwhile, and Metal3 goes on.
    Outage { seconds: i64 },
    /// A replica takes a delivery, or goes on with the one that it has: so many of decide, append, acknowledge. Whether the
    /// broker hears of the acknowledgement.
    Handle {
        replica: usize,
        steps: u32,
        confirmed: bool,
    },
    /// A replica reads the ledger up to its end.
    Follow { replica: usize },
    /// A replica takes its state of a resource, which may be old, and reads its host.
    Look { replica: usize, resource: usize },
    /// It goes on with that by so many steps, whatever happened since.
    GoOn { replica: usize, steps: u32 },
    /// All that at once, as it mostly goes.
    Work { replica: usize, resource: usize },
    /// A replica works on a resource, and stops right before it asks whether it may write the host, or so many steps further.
    Stall {
        replica: usize,
        resource: usize,
        further: u32,
    },
    /// As that; time passes, the other replica does all that there is to do, and then the first goes on.
    SleepThrough {
        replica: usize,
        resource: usize,
        seconds: i64,
    },
    /// A replica stops where it is, and does nothing until it goes on.
    Freeze { replica: usize },
    /// It goes on by so many steps with what it had in its hands, else with a look in the state that it had.
    Thaw {
        replica: usize,
        resource: usize,
        steps: u32,
    },
    /// A replica's timers fire; whether what it decides is appended at once.
    Tick { replica: usize, appends: bool },
    /// What it decided because a timer fired is appended only now.
    AppendLate { replica: usize },
    /// A replica compares whose turn it is, and what became clear of the sites; whether what follows for the places is appended
    /// at once.
    Compare { replica: usize, appends: bool },
    /// What it decided on the places is appended only now.
    AppendPlaces { replica: usize },
    /// A replica is killed and started.
    Restart { replica: usize },
    /// Metal3 takes a step, or shows an error.
    Metal3 { resource: usize, fails: bool },
    /// An operator pauses a host, or lets it go on.
    Pause { resource: usize },
    /// Someone else takes a free host, or gives it back.
    Foreign { resource: usize },
    /// Someone else sets an image on a free host without a `consumerRef`, or removes it.
    ForeignImage { resource: usize },
    /// A free host carries our claim for a reservation that no fact names, as after the loss of a ledger.
    LostClaim { resource: usize },
    /// Someone removes the image of a host by hand.
    RemoveImage { resource: usize },
    /// Someone sets another image on a host.
    ReplaceImage { resource: usize },
    /// Someone removes our `consumerRef`, once our claim was seen: in the moment before, that host can't be told from one that
    /// the claim never reached, and is given back without a wait for Metal3. Its next claim waits for that all the same.
    RemoveConsumer { resource: usize },
    /// Someone deletes a host, or makes it anew.
    DeleteHost { resource: usize },
    /// The API server refuses the next claim of a host for good.
    RefuseClaim { resource: usize },
    /// Another image is configured; a replica that starts from now on has it.
    Configure,
    /// Where the hosts of each site are is configured; a replica that starts from now on knows it.
    NameSites,
    /// An operator says what shall be, as `bellhop` lets it be said of what the ledger and the cluster hold at that moment.
    Operator { resource: usize, says: Says },
    /// The service before Bellhop prepares a free host, or takes back one that was not adopted.
    ServiceBefore { resource: usize },
    /// Someone tells Metal3 not to wipe a host any more, or to wipe it again.
    NeverWipe { resource: usize },
    /// The sender deletes a resource, and silently all its bookings; so many seconds later that is heard.
    DeleteResource { resource: usize, delay: i64 },
}

/// What an operator says of a resource, of its holder, or of who waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Extend {
        seconds: i64,
    },
    /// Of the holder, or of the one that had it when the operator looked.
    Release {
        earlier: bool,
    },
    Allow,
    /// With the key of the owner, or of the one that it was when the operator looked.
    Retry {
        earlier: bool,
    },
    Hold,
    Unhold,
    Pause(Covers),
    Resume(Covers),
    /// For this booking, where it is one that can be named; for nobody knows whom otherwise.
    Adopt {
        booking: Option<usize>,
        seconds: i64,
    },
    HandBack,
}

/// What a pause is ordered for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Covers {
    Resource,
    Site(usize),
    Everything,
}

impl From<u32> for Action {
    fn from(number: u32) -> Self {
        let kind = number % 96;
        let rest = number / 96;
        let replica = (rest % 2) as usize;
        let resource = usize::from(rest / 2 % 4 == 3);
        let amount = i64::from(rest / 8);
        // Mostly to the end; now and then it stops after one step or two.
        let steps = match amount % 7 {
            0 => 1,
            1 => 2,
            2 => 3,
            _ => u32::MAX,
        };
        match kind {
            0..5 => Self::Advance {
                seconds: amount % 60,
                awake: true,
            },
            5..11 => Self::Advance {
                seconds: 60 + amount % 900,
                awake: true,
            },
            11 => Self::Advance {
                seconds: 1200 + amount % 9000,
                awake: amount % 3 > 0,
            },
            12 => Self::Outage {
                seconds: 60 + amount % 12_000,
            },
            13..22 => Self::Handle {
                replica,
                steps,
                confirmed: amount % 6 > 0,
            },
            22..24 => Self::Follow { replica },
            24..30 => Self::Look { replica, resource },
            30..38 => Self::GoOn { replica, steps },
            38..49 => Self::Work { replica, resource },
            49 => Self::Freeze { replica },
            50..52 => Self::Stall {
                replica,
                resource,
                further: (amount % 3) as u32,
            },
            52..54 => Self::Thaw {
                replica,
                resource,
                steps,
            },
            54 => Self::Tick {
                replica,
                appends: amount % 2 == 0,
            },
            55 => Self::AppendLate { replica },
            56 => Self::Restart { replica },
            57..69 => Self::Metal3 {
                resource,
                fails: amount % 3 == 0,
            },
            69 => Self::Pause { resource },
            70 => Self::Foreign { resource },
            71 => Self::ForeignImage { resource },
            72 if amount % 3 == 0 => Self::LostClaim { resource },
            73 if amount % 3 == 0 => Self::RemoveImage { resource },
            74 if amount % 4 == 0 => Self::ReplaceImage { resource },
            75 if amount % 4 == 0 => Self::RemoveConsumer { resource },
            76 if amount % 4 == 0 => Self::DeleteHost { resource },
            77 if amount % 4 == 0 => Self::RefuseClaim { resource },
            78 if amount % 2 == 0 => Self::Configure,
            78 | 79 => Self::SleepThrough {
                replica,
                resource,
                seconds: amount % 5000,
            },
            80..88 => Self::Operator {
                resource,
                says: said(kind, amount),
            },
            88 => Self::ServiceBefore { resource },
            89 | 91 => Self::Compare {
                replica,
                appends: amount % 2 == 0,
            },
            92 => Self::AppendPlaces { replica },
            95 if amount % 3 == 0 => Self::NameSites,
            90 => Self::Operator {
                resource,
                says: Says::Adopt {
                    booking: (amount % 2 == 0).then_some((amount / 2 % 6) as usize),
                    seconds: 60 + amount % 9000,
                },
            },
            93 if amount % 2 == 0 => Self::NeverWipe { resource },
            94 if amount % 4 == 0 => Self::DeleteResource {
                resource,
                delay: amount % 600,
            },
            _ => Self::Metal3 {
                resource,
                fails: false,
            },
        }
    }
}

fn said(kind: u32, amount: i64) -> Says {
    let covers = match amount % 6 {
        0 | 3 => Covers::Resource,
        1 => Covers::Site(0),
        4 => Covers::Site(1),
        _ => Covers::Everything,
    };
    match kind {
        80 => Says::Extend {
            seconds: 60 + amount % 9000,
        },
        81 => Says::Release { earlier: false },
        87 => Says::Release { earlier: true },
        82 => Says::Allow,
        83 => Says::Retry {
            earlier: amount % 2 == 0,
        },
        84 if amount % 2 == 0 => Says::Hold,
        84 => Says::Unhold,
        85 if amount % 2 == 0 => Says::Pause(covers),
        85 => Says::HandBack,
        _ => Says::Resume(covers),
    }
}
