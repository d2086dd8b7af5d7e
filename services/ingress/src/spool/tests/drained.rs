//! What comes of a way through everything that waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::NatsServer;
use tempfile::TempDir;

use super::super::{DrainTrouble, Pass};
use super::{LONG, append, everything, ids, ids_of, only_file, open};

const COUNT: u64 = 200;

async fn store(server: &NatsServer, deliveries_max_bytes: i64) -> EventStore {
    let settings = EventStoreSettings {
        deliveries_max_bytes,
        ..EventStoreSettings::at(server.url())
    };
    let store = EventStore::connect(&settings, "test").await.unwrap();
    store.prepare_deliveries().await.unwrap();
    store
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_not_asked_for_each_of_many() {
    let home = TempDir::new().unwrap();
    let folder = Arc::new(open(home.path()));
    for number in 0..COUNT {
        append(&folder, number..number + 1);
    }
    let server = NatsServer::start().unwrap();
    let store = store(&server, -1).await;
    server.pause().unwrap();
    let pass = Pass::make(&folder, &store, Duration::from_millis(200), |_| {}).await;
    let tried = u64::try_from(pass.left).unwrap();
    assert!((1..COUNT).contains(&tried), "{pass:?}");
    assert!(matches!(pass.trouble, Some(DrainTrouble::Broker(_))));
    assert_eq!(ids(&everything(&folder).entries), ids_of(0..COUNT));

    server.resume().unwrap();
    let pass = Pass::make(&folder, &store, LONG, |_| {}).await;
    assert_eq!((pass.stored, pass.left), (200, 0), "{pass:?}");
    assert!(folder.is_empty());
    // Those that were on their way when it was given up are among them, once.
    assert_eq!(store.deliveries_end().await.unwrap(), COUNT);
}

#[tokio::test]
async fn of_a_file_that_is_stored_in_part_only_the_rest_waits_on() {
    let home = TempDir::new().unwrap();
    let folder = Arc::new(open(home.path()));
    append(&folder, 0..COUNT);
    let since = folder.depth().since;
    let server = NatsServer::start().unwrap();
    let store = store(&server, 9000).await;
    let pass = Pass::make(&folder, &store, LONG, |_| {}).await;
    let stored = u64::try_from(pass.stored).unwrap();
    assert!((1..COUNT).contains(&stored), "{pass:?}");
    assert_eq!(store.deliveries_end().await.unwrap(), stored);
    assert_eq!(folder.depth().entries, COUNT - stored);
    assert_eq!(folder.depth().since, since);
    assert_eq!(folder.waiting_after(None, 9, 9).len(), 1);

    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("DELIVERIES").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_bytes = -1;
    context.update_stream(config).await.unwrap();
    let pass = Pass::make(&folder, &store, LONG, |_| {}).await;
    assert_eq!(pass.stored + usize::try_from(stored).unwrap(), 200);
    assert!(folder.is_empty());
    assert_eq!(store.deliveries_end().await.unwrap(), COUNT);
}

/// Puts something in the file's place that can't be read, as with a bad disk or too many open files; a test may be run by root,
/// whom no permission stops.
fn hide(file: &Path) -> PathBuf {
    let hidden = file.with_extension("hidden");
    fs::rename(file, &hidden).unwrap();
    fs::create_dir(file).unwrap();
    hidden
}

fn show(file: &Path, hidden: &Path) {
    fs::remove_dir(file).unwrap();
    fs::rename(hidden, file).unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_now_waits_until_it_can_and_holds_no_other_up() {
    let home = TempDir::new().unwrap();
    let folder = Arc::new(open(home.path()));
    append(&folder, 0..3);
    let file = only_file(home.path());
    let hidden = hide(&file);
    append(&folder, 3..4);
    let server = NatsServer::start().unwrap();
    let store = store(&server, -1).await;
    for stored in [1, 0] {
        let pass = Pass::make(&folder, &store, LONG, |_| {}).await;
        assert_eq!((pass.stored, pass.unreadable), (stored, 0), "{pass:?}");
        // The next one comes after a pause.
        assert!(!pass.is_complete());
        let unread = pass.unread.unwrap();
        assert_eq!((unread.files, &unread.first), (1, &file));
        assert_eq!(folder.depth().entries, 3);
        assert_eq!(folder.aside().damaged, 0);
    }
    show(&file, &hidden);
    let pass = Pass::make(&folder, &store, LONG, |_| {}).await;
    assert_eq!(pass.stored, 3);
    assert!(pass.is_complete() && folder.is_empty());
}

#[tokio::test]
async fn a_torn_line_of_a_file_that_could_not_be_read_at_the_start_is_no_damage_later() {
    let home = TempDir::new().unwrap();
    append(&open(home.path()), 0..2);
    let file = only_file(home.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 5);
    fs::write(&file, bytes).unwrap();
    let hidden = hide(&file);

    let folder = Arc::new(open(home.path()));
    assert!(!folder.is_empty());
    show(&file, &hidden);
    let server = NatsServer::start().unwrap();
    let store = store(&server, -1).await;
    let pass = Pass::make(&folder, &store, LONG, |_| {}).await;
    assert_eq!((pass.stored, pass.unreadable), (1, 0), "{pass:?}");
    assert!(folder.is_empty());
    assert_eq!(folder.aside().damaged, 0);
}
