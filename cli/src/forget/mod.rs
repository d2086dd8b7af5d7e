//! Forgets a user: what was stored of them is erased from the broker's files, but for their id in the ledger.
//!
//! A delivery is erased only once it is handled and its facts are folded, and no reservation of that user is left that may
//! need it: so nothing that was accepted is lost, and no host waits for a key that is gone.

mod traces;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bellhop_domain::id::ReservationId;
use bellhop_domain::ledger::Ledger;
use bellhop_domain::typed::word;
use bellhop_event_store::{
    BuriedLetter, Erasure, EventStore, EventStoreSettings, Operator, Selection, StoredDelivery,
};
use bellhop_ingress::spool::{self, Part};
use bellhop_operators::{OperatorMessage, OperatorOrder};
use bellhop_provisioner::DELIVERIES_CONSUMER;

use self::traces::Person;
use crate::Failure;
use crate::dead_letters::by::OperatorSettings;
use crate::dead_letters::{each, line, printable, say};
use crate::orders::{STORING, apply, fold};

/// How many deliveries are read at once.
const PAGE: usize = 50;
/// How often it is asked whether deliveries are acknowledged.
const ASKING: Duration = Duration::from_millis(250);

/// Who is forgotten, and why.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ForgetSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// The user's id, as the reservation system has it
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,

    /// Why; kept for ever, so write no name
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = clap::builder::NonEmptyStringValueParser::new(),
        help_heading = "What is done"
    )]
    reason: String,

    /// End the user's reservations that are not over first: their hosts are wiped
    #[arg(long, help_heading = "What is done")]
    end_first: bool,

    /// Do it; without this it is only said what would be erased
    #[arg(long, help_heading = "What is done")]
    yes: bool,

    /// How many seconds to wait at most until what is ended is over, and until what came is handled
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        help_heading = "What is done"
    )]
    wait: u64,

    #[command(flatten)]
    operator: OperatorSettings,

    /// Look into this spool of an ingress too, once for each; what waits there must be drained first
    #[arg(long, env = "SPOOL_DIR", value_name = "FOLDER")]
    spool_dir: Vec<PathBuf>,
}

impl ForgetSettings {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

/// What there is of a user.
struct Found {
    person: Person,
    ledger: Ledger,
    deliveries: Vec<StoredDelivery>,
    letters: Vec<BuriedLetter>,
    /// Every delivery up to this sequence is handled.
    handled: u64,
}

pub(crate) async fn run(settings: ForgetSettings) -> Result<(), Failure> {
    let store = EventStore::connect(&settings.event_store, "bellhop-forget").await?;
    let by = settings.operator.now()?;
    let mut found = Found::look(&store, &settings.user).await?;
    let left_in_spools = look_into(&settings.spool_dir, &found.person)?;
    if settings.yes && settings.end_first && !found.person.live.is_empty() {
        end_all(&store, &mut found, &by, &settings).await?;
        found = Found::look(&store, &settings.user).await?;
    }
    if settings.yes {
        found.refuse_live()?;
        found = handled(&store, &settings, found).await?;
    }
    found.show();
    if !settings.yes {
        let Found {
            deliveries,
            letters,
            person,
            ..
        } = &found;
        if settings.end_first {
            let live = person.live.iter();
            live.for_each(|id| say(&format!("would end {}", printable(&id.to_string()))));
        } else {
            found.refuse_live()?;
        }
        eprintln!(
            "dry run: {} deliveries and {} dead letters would be erased; --yes does it",
            deliveries.len(),
            letters.len()
        );
    } else {
        erase(&store, &found, &settings, &by).await?;
    }
    say_what_stays(&found.person, &settings, &left_in_spools);
    Ok(())
}

impl Found {
    /// In this order: what is handled now has its facts in the ledger, which are folded before it is asked whose they are.
    async fn look(store: &EventStore, user: &str) -> Result<Self, Failure> {
        let end = store.deliveries_end().await?;
        let handled = store.deliveries_handled(DELIVERIES_CONSUMER).await?;
        let ledger = fold(store).await?;
        let person = Person::new(user, &ledger);
        let (mut deliveries, mut from) = (Vec::new(), 1);
        loop {
            let page = store.stored_deliveries(from, end, PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            from = last.sequence + 1;
            deliveries.extend(page.into_iter().filter(|it| person.is_in_delivery(it)));
        }
        let sequences: BTreeSet<u64> = deliveries.iter().map(|it| it.sequence).collect();
        let mut letters = Vec::new();
        each(store, &Selection::default(), async |letter| {
            if person.is_in_letter(&letter, &sequences) {
                letters.push(letter);
            }
            Ok(())
        })
        .await?;
        Ok(Self {
            person,
            ledger,
            deliveries,
            letters,
            handled,
        })
    }

    fn refuse_live(&self) -> Result<(), Failure> {
        if self.person.live.is_empty() {
            return Ok(());
        }
        Err(format!(
            "nothing is erased while {} is not over: its host may need the key; wait for the end, or end it with --end-first",
            list(&self.person.live)
        )
        .into())
    }

    fn waits(&self) -> Option<u64> {
        let newest = self.deliveries.last()?.sequence;
        (newest > self.handled).then_some(newest)
    }

    fn show(&self) {
        for delivery in &self.deliveries {
            say(&format!(
                "delivery {} {:.0} {} {}",
                delivery.sequence,
                delivery.stored_at,
                printable(delivery.id.as_deref().unwrap_or("-")),
                printable(&delivery.subject),
            ));
        }
        for letter in &self.letters {
            say(&format!("dead letter {}", line(letter)));
        }
    }
}

/// Waits until all that was found is handled: what is not is never erased (R1).
async fn handled(
    store: &EventStore,
    settings: &ForgetSettings,
    found: Found,
) -> Result<Found, Failure> {
    let Some(newest) = found.waits() else {
        return Ok(found);
    };
    let waiting = async {
        while store.deliveries_handled(DELIVERIES_CONSUMER).await? < newest {
            tokio::time::sleep(ASKING).await;
        }
        Ok::<_, Failure>(())
    };
    match tokio::time::timeout(settings.patience(), waiting).await {
        Ok(waited) => waited?,
        Err(_) => {
            return Err(format!(
                "nothing is erased: delivery {newest} of this user is not handled yet; is a provisioner running?"
            )
            .into());
        }
    }
    let found = Found::look(store, &settings.user).await?;
    found.refuse_live()?;
    match found.waits() {
        None => Ok(found),
        Some(newest) => Err(format!(
            "nothing is erased: delivery {newest} of this user has just come; try again"
        )
        .into()),
    }
}

/// Ends the user's reservations by an operator's word, and waits until they are over.
async fn end_all(
    store: &EventStore,
    found: &mut Found,
    by: &Operator,
    settings: &ForgetSettings,
) -> Result<(), Failure> {
    let mut left = found.person.live.clone();
    for reservation in &left {
        let message = OperatorMessage {
            order: OperatorOrder::End {
                reservation: reservation.clone(),
            },
            by: by.name.clone(),
            why: settings.reason.clone(),
        };
        let delivery = message.to_delivery(by.at);
        store.store_delivery(&delivery, STORING).await?;
    }
    let mut follower = store.follow_ledger(found.ledger.version());
    let over = async {
        loop {
            left.retain(|id| is_live(&found.ledger, id));
            if left.is_empty() {
                return Ok::<_, Failure>(());
            }
            apply(&mut found.ledger, &follower.next().await?);
        }
    };
    let over = tokio::time::timeout(settings.patience(), over).await;
    match over {
        Ok(over) => over?,
        Err(_) => {
            return Err(format!(
                "nothing is erased: {} was to end and is not over yet; is a provisioner running? Then try again",
                list(&left)
            )
            .into());
        }
    }
    for id in &found.person.live {
        say(&format!("ended {}", printable(&id.to_string())));
    }
    Ok(())
}

fn is_live(ledger: &Ledger, reservation: &ReservationId) -> bool {
    let known = ledger
        .resources()
        .filter_map(|(_, resource)| resource.reservations.get(reservation));
    known.into_iter().any(|known| known.is_live())
}

async fn erase(
    store: &EventStore,
    found: &Found,
    settings: &ForgetSettings,
    by: &Operator,
) -> Result<(), Failure> {
    let Found {
        deliveries,
        letters,
        ..
    } = found;
    if deliveries.is_empty() && letters.is_empty() {
        eprintln!("there is nothing to erase");
        return Ok(());
    }
    let erasure = Erasure {
        user: settings.user.clone(),
        by: by.name.clone(),
        at: by.at,
        because: settings.reason.clone(),
        deliveries: deliveries.len() as u64,
        dead_letters: letters.len() as u64,
    };
    store.record_erasure(&erasure).await.map_err(|error| {
        format!(
            "nothing is erased: {error}; where the broker has users, this is for `administrator`"
        )
    })?;
    for delivery in deliveries {
        store.erase_delivery(delivery.sequence).await?;
    }
    let mut left = 0;
    for letter in letters {
        if let Err(error) = store.drop_dead_letter(letter, by, &settings.reason).await {
            eprintln!(
                "dead letter {} left: {}",
                letter.sequence,
                printable(&error.to_string())
            );
            left += 1;
        }
    }
    eprintln!(
        "{} deliveries and {} dead letters erased",
        deliveries.len(),
        letters.len() - left
    );
    if left == 0 {
        Ok(())
    } else {
        Err(
            format!("{left} dead letters left: forget this user again when they are settled")
                .into(),
        )
    }
}

/// Refuses where something of the user waits in a spool; else names the files there that may hold something of them.
fn look_into(spools: &[PathBuf], person: &Person) -> Result<Vec<PathBuf>, Failure> {
    let mut left = Vec::new();
    for folder in spools {
        for file in spool::list(folder)? {
            if let Some(error) = &file.unread {
                let path = file.path.display();
                return Err(format!(
                    "{path} can't be read, and may hold something of this user: {error}"
                )
                .into());
            }
            let mut entries = file.entries.iter();
            let theirs = entries.any(|entry| person.is_in_body(entry.body()));
            match file.part {
                Part::Damaged => left.extend((theirs || file.unreadable > 0).then_some(file.path)),
                Part::Waiting | Part::Refused if theirs => {
                    return Err(format!(
                        "something of this user is in {}: have it drained first (a running ingress does so; else \
                         `bellhop spool drain --spool-dir {}`)",
                        file.path.display(),
                        word(&folder.display())
                    )
                    .into());
                }
                Part::Waiting | Part::Refused => {}
            }
        }
    }
    Ok(left)
}

/// What is not erased, so that nobody believes it is.
fn say_what_stays(person: &Person, settings: &ForgetSettings, left_in_spools: &[PathBuf]) {
    eprintln!("what still holds something of this user:");
    eprintln!(
        "- the ledger, for ever: the user id, in the facts of {} reservation(s); no name, address or key",
        person.reservations.len()
    );
    eprintln!(
        "- every backup of the broker's store from before now (`nats account backup`, copies of its volume): what was erased \
         here is still in them"
    );
    eprintln!("- the reservation system itself, whose user it is");
    if settings.spool_dir.is_empty() {
        eprintln!(
            "- perhaps a spool of an ingress, none of which was looked into: --spool-dir, where the ingress runs"
        );
    }
    for file in left_in_spools {
        eprintln!(
            "- perhaps {}, which is damaged: look at it, and remove it",
            file.display()
        );
    }
}

fn list(reservations: &BTreeSet<ReservationId>) -> String {
    let names: Vec<String> = reservations.iter().map(ToString::to_string).collect();
    printable(&names.join(", "))
}
