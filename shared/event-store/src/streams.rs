//! The streams and buckets: how they are made, and what must be true of those that are there.
//!
//! Limits retention everywhere, kept in files. Nothing in LEDGER can be deleted or purged, and no stream drops old messages to
//! make room: a full one refuses new ones. LEDGER carries its own id in its metadata; it tells two ledgers apart that would
//! drive the same hosts.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use bellhop_domain::id::LedgerId;
use uuid::Uuid;

use crate::error::{EventStoreError, SetupError};
use crate::settings::Mode;
use crate::store::EventStore;

/// The stream of deliveries.
pub const DELIVERIES: &str = "DELIVERIES";
/// The stream of facts.
pub const LEDGER: &str = "LEDGER";
/// The stream of what could not be handled.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";
/// The bucket of reports.
pub const REPORTS: &str = "REPORTS";

/// The bucket of snapshots.
pub const SNAPSHOTS: &str = "SNAPSHOTS";

const LEDGER_ID: &str = "bellhop-ledger";
/// In the metadata of a shadow's streams. Those of a live installation may go without.
const MODE: &str = "bellhop-mode";

/// Checks all streams, makes missing ones where `create`, and returns which ledger it is.
pub(crate) async fn prepare(store: &EventStore, create: bool) -> Result<LedgerId, SetupError> {
    prepare_deliveries(store, create).await?;
    ensure(store, reports(store), create).await?;
    let ledger = ensure(store, ledger(store), create).await?;
    match ledger_id(&ledger) {
        Some(id) => Ok(id),
        None => Err(SetupError::Unsafe {
            stream: ledger.name,
            difference: format!(
                "it has no `{LEDGER_ID}` in its metadata, which tells two ledgers apart"
            ),
        }),
    }
}

/// Which ledger the stream is, as its metadata says.
pub(crate) fn ledger_id(config: &Config) -> Option<LedgerId> {
    config.metadata.get(LEDGER_ID).map(LedgerId::new)
}

/// Checks what the ingress writes, and makes it where `create`.
pub(crate) async fn prepare_deliveries(store: &EventStore, create: bool) -> Result<(), SetupError> {
    for wanted in [deliveries(store), dead_letters(store)] {
        ensure(store, wanted, create).await?;
    }
    Ok(())
}

fn base(store: &EventStore, name: &str, subjects: &str, description: &str) -> Config {
    Config {
        name: store.stream_name(name),
        subjects: vec![store.subject(subjects)],
        description: Some(description.to_owned()),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: usize::from(store.settings.stream_replicas),
        duplicate_window: Duration::from_secs(store.settings.duplicate_window),
        allow_direct: true,
        metadata: HashMap::from([(MODE.to_owned(), store.settings.mode.to_string())]),
        ..Config::default()
    }
}

fn deliveries(store: &EventStore) -> Config {
    Config {
        max_bytes: store.settings.deliveries_max_bytes,
        ..base(
            store,
            DELIVERIES,
            "deliveries.>",
            "Bellhop: verified webhooks as they arrived",
        )
    }
}

fn ledger(store: &EventStore) -> Config {
    let mut ledger = Config {
        deny_delete: true,
        deny_purge: true,
        ..base(
            store,
            LEDGER,
            "ledger.>",
            "Bellhop: the facts, one subject for each resource",
        )
    };
    ledger
        .metadata
        .insert(LEDGER_ID.to_owned(), Uuid::new_v4().to_string());
    ledger
}

/// Refuses the streams of a shadow to a live service, and the other way round: what a shadow decided was never done.
fn check_mode(found: &Config, mode: Mode) -> Result<(), SetupError> {
    let of_shadow = found.metadata.get(MODE).map(String::as_str) == Some(Mode::Shadow.as_str());
    match (of_shadow, mode) {
        (true, Mode::Live) | (false, Mode::Shadow) => Err(SetupError::OtherMode {
            stream: found.name.clone(),
            mode,
        }),
        (true, Mode::Shadow) | (false, Mode::Live) => Ok(()),
    }
}

fn dead_letters(store: &EventStore) -> Config {
    base(
        store,
        DEAD_LETTERS,
        "dead_letters.>",
        "Bellhop: what could not be handled, and why",
    )
}

/// A bucket is a stream of this form (NATS architecture decision record 8).
fn reports(store: &EventStore) -> Config {
    let bucket = store.stream_name(REPORTS);
    Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        // Nobody needs it, and with it one message erases all others.
        allow_rollup: false,
        deny_delete: true,
        ..base(store, REPORTS, "", "Bellhop: what became of each report")
    }
}

/// The subject of a report's key.
pub(crate) fn report_subject(store: &EventStore, key: &str) -> String {
    format!("$KV.{}.{key}", store.stream_name(REPORTS))
}

/// The name of the stream behind the bucket of reports.
pub(crate) fn report_stream(store: &EventStore) -> String {
    format!("KV_{}", store.stream_name(REPORTS))
}

async fn ensure(store: &EventStore, wanted: Config, create: bool) -> Result<Config, SetupError> {
    if let Some(found) = existing(store, &wanted.name).await? {
        check_mode(&found, store.settings.mode)?;
        check(&found, &wanted)?;
        return Ok(without_rollup(store, found, &wanted, create).await);
    }
    let name = wanted.name.clone();
    if !create {
        return Err(SetupError::Missing { stream: name });
    }
    match store.context.create_stream(wanted.clone()).await {
        Ok(stream) => {
            tracing::info!(stream = name, "made the stream");
            Ok(stream.cached_info().config.clone())
        }
        // Another service may have made it in between.
        Err(error) => match existing(store, &name).await? {
            Some(found) => check_mode(&found, store.settings.mode)
                .and_then(|()| check(&found, &wanted))
                .map(|()| found),
            None => Err(EventStoreError::broker(format!("make stream {name}"), error).into()),
        },
    }
}

/// Takes back from a stream of an earlier version that one message may erase all others. Where that may not be done here, or
/// can't, it is warned of: nothing is lost by the stream as it is.
async fn without_rollup(
    store: &EventStore,
    found: Config,
    wanted: &Config,
    change: bool,
) -> Config {
    if !found.allow_rollup || wanted.allow_rollup {
        return found;
    }
    let name = found.name.clone();
    let mended = Config {
        allow_rollup: false,
        ..found.clone()
    };
    if change {
        match store.context.update_stream(&mended).await {
            Ok(_) => {
                tracing::info!(stream = name, "one message can't erase all others any more");
                return mended;
            }
            Err(error) => tracing::debug!(stream = name, %error, "could not change the stream"),
        }
    }
    tracing::warn!(
        stream = name,
        "a message with the header Nats-Rollup can erase all others: run `bellhop setup`"
    );
    found
}

async fn existing(store: &EventStore, name: &str) -> Result<Option<Config>, EventStoreError> {
    match store.context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer)
                if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(EventStoreError::broker(
                format!("look at stream {name}"),
                error,
            )),
        },
    }
}

/// Refuses a stream that would lose what is stored; warns of one that only differs.
fn check(found: &Config, wanted: &Config) -> Result<(), SetupError> {
    let harms = |difference: &str| SetupError::Unsafe {
        stream: found.name.clone(),
        difference: difference.to_owned(),
    };
    if found.retention != RetentionPolicy::Limits {
        return Err(harms("its retention is not `limits`"));
    }
    if found.storage != StorageType::File {
        return Err(harms("it is kept in memory, not in files"));
    }
    if !found.max_age.is_zero() {
        return Err(harms(
            "it has a `max_age`: what is not handled yet would be removed",
        ));
    }
    if found.discard != DiscardPolicy::New {
        return Err(harms(
            "it discards old messages when it is full, instead of refusing new ones",
        ));
    }
    if wanted.max_messages_per_subject <= 0 && found.max_messages_per_subject > 0 {
        return Err(harms("it keeps only the newest messages of each subject"));
    }
    if !wanted
        .subjects
        .iter()
        .all(|subject| found.subjects.contains(subject))
    {
        return Err(harms(&format!(
            "it does not take the subject {}",
            wanted.subjects.join(", ")
        )));
    }
    if found.num_replicas != wanted.num_replicas {
        tracing::warn!(
            stream = found.name,
            found = found.num_replicas,
            wanted = wanted.num_replicas,
            "other number of replicas"
        );
    }
    if wanted.deny_purge && !(found.deny_purge && found.deny_delete) {
        tracing::warn!(stream = found.name, "its messages can be deleted or purged");
    }
    Ok(())
}
