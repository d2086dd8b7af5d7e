//! Operators' words: stored like any delivery, decided by the provisioners. Each command says what was decided.
//!
//! What a word is about is looked up in the ledger first, so that a wrong name is told at once, and a word about a holder
//! never meets another one.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bellhop_domain::id::{ReservationId, ResourceId, SiteId, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Occupancy, Scope};
use bellhop_event_store::{EventStore, EventStoreSettings, LedgerEntry};
use bellhop_operators::{KeyText, OperatorMessage, OperatorOrder};
use bellhop_reservation_system::SshPublicKey;
use bellhop_service::one_line;
use jiff::Timestamp;

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
    say_one(&store, ledger.version(), &says, order).await
}

/// Stores a word, and prints what is decided upon it after `seen`.
pub(crate) async fn say_one(
    store: &EventStore,
    seen: Version,
    says: &Says,
    order: OperatorOrder,
) -> Result<(), Failure> {
    let message = OperatorMessage {
        order,
        by: says.by.clone().unwrap_or_else(user),
        why: says.why.clone(),
    };
    let delivery = message.to_delivery(Timestamp::now());
    let stored = store.store_delivery(&delivery, STORING).await?;
    let decided = tokio::time::timeout(DECISION, decided(store, seen, delivery.id.as_str()));
    match decided.await {
        Ok(decided) => decided,
        Err(_) => {
            eprintln!(
                "stored as delivery {}; nothing followed from it within {} s: nothing is left to change, or no provisioner is \
                 running (then it is decided when one is)",
                stored.sequence,
                DECISION.as_secs()
            );
            Ok(())
        }
    }
}

fn order(command: OrderCommand, ledger: &Ledger) -> Result<OperatorOrder, Failure> {
    let host = |on: &OnHost| resource(&on.host, ledger);
    let scope = |settings: &PauseSettings| scope(settings, ledger);
    Ok(match command {
        OrderCommand::Extend(settings) => OperatorOrder::Extend {
            reservation: reservation(&settings.on.reservation, ledger)?,
            until: settings.until,
        },
        OrderCommand::Allow(on) => OperatorOrder::Allow {
            reservation: reservation(&on.reservation, ledger)?,
        },
        OrderCommand::Retry(settings) => OperatorOrder::Retry {
            reservation: reservation(&settings.on.reservation, ledger)?,
            ssh_public_key: key(&settings.ssh_key_file)?,
        },
        OrderCommand::Release(on) => {
            let resource = host(&on)?;
            let holding = ledger.resource(&resource).and_then(|state| state.holding());
            let holding = holding
                .ok_or_else(|| format!("nobody holds {}", one_line(&resource.to_string())))?;
            OperatorOrder::Release {
                reservation: holding.reservation.clone(),
                resource,
            }
        }
        OrderCommand::Hold(on) => OperatorOrder::Hold {
            resource: host(&on)?,
        },
        OrderCommand::Unhold(on) => OperatorOrder::Unhold {
            resource: host(&on)?,
        },
        OrderCommand::Pause(settings) => OperatorOrder::Pause {
            resource: scope(&settings)?,
        },
        OrderCommand::Resume(settings) => OperatorOrder::Resume {
            resource: scope(&settings)?,
        },
    })
}

fn scope(settings: &PauseSettings, ledger: &Ledger) -> Result<ResourceId, Failure> {
    let scope = match (&settings.host, &settings.site) {
        (Some(host), _) => Scope::Resource(resource(host, ledger)?),
        (None, Some(site)) => Scope::Site(SiteId::new(site.as_str())),
        (None, None) => Scope::Everything,
    };
    Ok(scope.resource())
}

/// The live reservation that an operator means.
fn reservation(text: &str, ledger: &Ledger) -> Result<ReservationId, Failure> {
    let mut found: Vec<&ReservationId> = ledger
        .resources()
        .flat_map(|(_, resource)| &resource.reservations)
        .filter(|(id, known)| known.is_live() && (id.to_string() == text || id.event() == text))
        .map(|(id, _)| id)
        .collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(format!(
            "no reservation {text} that is not over is known: `bellhop facts` shows all that are"
        )
        .into()),
        several => Err(format!("{text} may be any of {}: name one whole", list(several)).into()),
    }
}

/// The resource that an operator means, by its whole id, its name, or its host's.
fn resource(text: &str, ledger: &Ledger) -> Result<ResourceId, Failure> {
    let mut found: Vec<&ResourceId> = ledger
        .resources()
        .filter(|(id, _)| !Scope::covers_more_than(id))
        .filter(|(id, resource)| {
            let host = match &resource.occupancy {
                Occupancy::Free => None,
                Occupancy::Held(holding) => Some(&holding.host),
                Occupancy::Releasing(release) => Some(&release.host),
            };
            id.to_string() == text
                || id.name() == text
                || host.is_some_and(|host| host.name == text || host.to_string() == text)
        })
        .map(|(id, _)| id)
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        // One that no reservation ever reached has no facts yet; its whole id is believed.
        [] => text.parse().ok().filter(|id| !Scope::covers_more_than(id)).ok_or_else(|| {
            format!(
                "no resource or host {text} is known: name it whole, as baremetalhost/NAMESPACE/{text}"
            )
            .into()
        }),
        several => Err(format!("{text} may be any of {}: name one whole", list(several)).into()),
    }
}

fn list<T: ToString>(several: &[&T]) -> String {
    let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
    one_line(&names.join(", ")).into_owned()
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
    }
}

/// Prints what was decided upon a delivery, as soon as it is.
async fn decided(store: &EventStore, after: Version, delivery: &str) -> Result<(), Failure> {
    let mut follower = store.follow_ledger(after);
    loop {
        let entry = match follower.next().await?.into_resource() {
            Some(entry) if entry.cause == delivery => entry,
            _ => continue,
        };
        let mut out = std::io::stdout().lock();
        for fact in &entry.facts {
            let about = match fact.reservation() {
                Some(reservation) => format!("{} of {reservation}", entry.resource),
                None => entry.resource.to_string(),
            };
            writeln!(out, "recorded {} on {}", fact.name(), one_line(&about))?;
        }
        return Ok(());
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
