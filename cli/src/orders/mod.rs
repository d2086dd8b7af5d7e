//! Operators' words: stored like any delivery, decided by the provisioners. Each command says what was decided.
//!
//! What a word is about is looked up in the ledger first (`named`), so that a wrong name is told at once, and a word about a
//! holder never meets another one. So is whether anything would follow from it (`needless`). `decided` tells what did, and
//! `standing` what stands of all that was ordered.

mod decided;
pub(crate) mod named;
mod needless;
pub(crate) mod standing;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bellhop_domain::id::{ReservationId, ResourceId, SiteId, UserId, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::Scope;
use bellhop_event_store::{EventStore, EventStoreSettings, LedgerEntry};
use bellhop_operators::{KeyText, OperatorMessage, OperatorOrder};
use bellhop_reservation_system::SshPublicKey;
use bellhop_service::one_line;
use jiff::Timestamp;

use self::decided::decided;
#[cfg(test)]
pub(crate) use self::decided::resume;
use self::named::{holder, reservation};
pub(crate) use self::named::{list, resource};
use self::needless::{Needless, needless};
use crate::Failure;

/// How long a word may take to be stored.
pub(crate) const STORING: Duration = Duration::from_secs(5);
/// How long to wait for what the provisioners decide upon it.
const DECISION: Duration = Duration::from_secs(10);

/// Who says it, and why; both are kept with what follows from it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Says {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// Why; kept for ever, so write no secret and no name of a user
    #[arg(long = "reason", value_name = "TEXT", value_parser = text)]
    why: String,

    /// Who says so; without it, the user that runs the command
    #[arg(long, value_parser = text)]
    by: Option<String>,
}

impl Says {
    pub(crate) fn event_store(&self) -> &EventStoreSettings {
        &self.event_store
    }
}

/// A word about a reservation.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OnReservation {
    /// The reservation: `reservation-system:5120`, or just `5120`
    reservation: String,

    #[command(flatten)]
    says: Says,
}

/// A word about a host.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OnHost {
    /// The host or the resource: `node17`, or `baremetalhost/metal3/node17`
    host: String,

    #[command(flatten)]
    says: Says,
}

/// See [`OrderCommand::Extend`].
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExtendSettings {
    #[command(flatten)]
    on: OnReservation,

    /// Until when, for example 2026-12-03T20:00:00Z
    #[arg(long)]
    until: Timestamp,
}

/// See [`OrderCommand::Retry`].
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RetrySettings {
    #[command(flatten)]
    on: OnReservation,

    /// File with the user's SSH public key, one line
    #[arg(long, value_name = "FILE")]
    ssh_key_file: PathBuf,
}

/// What is paused.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PauseSettings {
    #[command(flatten)]
    says: Says,

    /// Only this host: `node17`, or `baremetalhost/metal3/node17`
    #[arg(long, conflicts_with = "site")]
    host: Option<String>,

    /// Only the hosts of this site, by its id
    #[arg(long)]
    site: Option<String>,
}

/// What an operator can say.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum OrderCommand {
    /// Moves a reservation's deadline: its end is not missed before then. The sender's end still ends it
    Extend(ExtendSettings),
    /// Ends a host's holder, as its end would: the host is wiped
    Release(OnHost),
    /// Lets a start go ahead that waits for an operator
    Allow(OnReservation),
    /// Brings the SSH key for a reservation that waits for one
    Retry(RetrySettings),
    /// Keeps a host from being released, whatever comes
    Hold(OnHost),
    /// Lets a host be released again
    Unhold(OnHost),
    /// Stops all writes to hosts; what comes is accepted and decided all the same
    Pause(PauseSettings),
    /// Lets hosts be written again
    Resume(PauseSettings),
}

pub(crate) async fn say(command: OrderCommand) -> Result<(), Failure> {
    let says = match &command {
        OrderCommand::Extend(settings) => &settings.on.says,
        OrderCommand::Retry(settings) => &settings.on.says,
        OrderCommand::Allow(on) => &on.says,
        OrderCommand::Release(on) | OrderCommand::Hold(on) | OrderCommand::Unhold(on) => &on.says,
        OrderCommand::Pause(settings) | OrderCommand::Resume(settings) => &settings.says,
    }
    .clone();
    let store = EventStore::connect(&says.event_store, "bellhop-operator").await?;
    let ledger = fold(&store).await?;
    let order = order(command, &ledger)?;
    say_one(&store, &ledger, &says, order).await
}

/// Stores a word, and prints what is decided upon it after what `ledger` holds.
pub(crate) async fn say_one(
    store: &EventStore,
    ledger: &Ledger,
    says: &Says,
    order: OperatorOrder,
) -> Result<(), Failure> {
    match needless(&order, ledger) {
        Some(Needless::Already(text)) => {
            writeln!(std::io::stdout(), "nothing to do: {}", one_line(&text))?;
            return Ok(());
        }
        Some(Needless::Refused(text)) => return Err(one_line(&text).into()),
        None => {}
    }
    let message = OperatorMessage {
        order,
        by: says.by.clone().unwrap_or_else(user),
        why: says.why.clone(),
    };
    let delivery = message.to_delivery(Timestamp::now());
    let stored = store.store_delivery(&delivery, STORING).await?;
    let decided = decided(store, ledger, delivery.id.as_str());
    match tokio::time::timeout(DECISION, decided).await {
        Ok(decided) => decided,
        Err(_) => Err(format!(
            "stored as delivery {}, and nothing followed from it within {} s: no provisioner is running, and the next one that \
             does decides it; or it was settled otherwise meanwhile. `bellhop facts` shows what became of it",
            stored.sequence,
            DECISION.as_secs()
        )
        .into()),
    }
}

fn order(command: OrderCommand, ledger: &Ledger) -> Result<OperatorOrder, Failure> {
    let host = |on: &OnHost| {
        let resource = resource(&on.host, ledger)?;
        if ledger.resource(&resource).is_none() {
            let text = format!("nothing was heard of {resource} so far: is its name right?");
            eprintln!("bellhop: {}", one_line(&text));
        }
        Ok::<_, Failure>(resource)
    };
    let scope = |settings: &PauseSettings| scope(settings, ledger);
    Ok(match command {
        OrderCommand::Extend(settings) => OperatorOrder::Extend {
            reservation: reservation(&settings.on.reservation, ledger)?,
            until: settings.until,
        },
        OrderCommand::Allow(on) => OperatorOrder::Allow {
            reservation: reservation(&on.reservation, ledger)?,
        },
        OrderCommand::Retry(settings) => {
            let reservation = reservation(&settings.on.reservation, ledger)?;
            OperatorOrder::Retry {
                user: owner(&reservation, ledger),
                reservation,
                ssh_public_key: key(&settings.ssh_key_file)?,
            }
        }
        OrderCommand::Release(on) => {
            let resource = host(&on)?;
            OperatorOrder::Release {
                reservation: holder(&resource, ledger)?,
                resource,
            }
        }
        OrderCommand::Hold(on) => OperatorOrder::Hold {
            resource: host(&on)?,
        },
        OrderCommand::Unhold(on) => OperatorOrder::Unhold {
            resource: host(&on)?,
        },
        OrderCommand::Pause(settings) => {
            if let Some(site) = &settings.site {
                warn_of_unheard(&SiteId::new(site.as_str()), ledger);
            }
            OperatorOrder::Pause {
                resource: scope(&settings)?,
            }
        }
        OrderCommand::Resume(settings) => OperatorOrder::Resume {
            resource: scope(&settings)?,
        },
    })
}

/// Whose a reservation is, where told.
fn owner(reservation: &ReservationId, ledger: &Ledger) -> Option<UserId> {
    let place = ledger.place_of(reservation)?;
    let known = ledger.resource(place)?.reservations.get(reservation)?;
    known.user.clone()
}

fn scope(settings: &PauseSettings, ledger: &Ledger) -> Result<ResourceId, Failure> {
    let scope = match (&settings.host, &settings.site) {
        (Some(host), _) => Scope::Resource(resource(host, ledger)?),
        (None, Some(site)) => Scope::Site(SiteId::new(site.as_str())),
        (None, None) => Scope::Everything,
    };
    Ok(scope.resource())
}

/// A pause of a site that nothing was heard of covers hardly anything: a name that was mistyped would look like a pause. It may
/// be meant all the same.
fn warn_of_unheard(site: &SiteId, ledger: &Ledger) {
    if ledger.sites().any(|heard| heard == site) {
        return;
    }
    let heard: Vec<String> = ledger.sites().map(|heard| format!("`{heard}`")).collect();
    let heard = if heard.is_empty() {
        "of none so far".to_owned()
    } else {
        format!("of {}", heard.join(", "))
    };
    let text = format!("no webhook of the site `{site}` came so far ({heard}): is its id right?");
    eprintln!("bellhop: {}", one_line(&text));
}

/// Checked here too, so that a wrong file is told at once. No error holds the key.
fn key(file: &PathBuf) -> Result<KeyText, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read --ssh-key-file {}: {error}", file.display()))?;
    let key = SshPublicKey::parse(&text)
        .map_err(|error| format!("--ssh-key-file {}: {error}", file.display()))?;
    Ok(KeyText::new(key.as_str()))
}

/// Everything that the ledger says now.
pub(crate) async fn fold(store: &EventStore) -> Result<Ledger, Failure> {
    let end = store.ledger_end().await?;
    let mut ledger = Ledger::default();
    let mut follower = store.follow_ledger(Version(0));
    while ledger.version() < end {
        apply(&mut ledger, &follower.next().await?);
    }
    Ok(ledger)
}

/// Folds one more entry.
pub(crate) fn apply(ledger: &mut Ledger, entry: &LedgerEntry) {
    match entry {
        LedgerEntry::Resource(entry) => ledger.apply(
            &entry.resource,
            entry.version,
            entry.at,
            entry.traceparent.as_deref(),
            &entry.facts,
        ),
        LedgerEntry::Capacity(entry) => {
            ledger.apply_to_capacity(entry.version, &entry.facts);
        }
        LedgerEntry::DeadlineReleases(entry) => {
            ledger.apply_to_deadline_releases(entry.version, entry.at, &entry.facts);
        }
    }
}

/// Who runs this.
fn user() -> String {
    let named = std::env::var("USER").ok();
    let named = named.and_then(|user| text(&user).ok());
    named.unwrap_or_else(|| "an operator".to_owned())
}

/// One line that says something.
fn text(text: &str) -> Result<String, String> {
    const LONGEST: usize = 500;
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.chars().any(char::is_control) || text.chars().count() > LONGEST {
        return Err(format!("one line of at most {LONGEST} characters"));
    }
    Ok(text.to_owned())
}
