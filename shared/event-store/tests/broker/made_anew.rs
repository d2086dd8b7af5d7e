//! A ledger that was lost and made anew under a running service (R13: the absence of facts never causes an effect).

use std::path::Path;

use bellhop_event_store::{AppendError, ErrorClass, FollowError};

use super::*;

#[tokio::test]
async fn a_follower_ends_where_the_stream_was_deleted_and_made_anew() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    append(&store, "a").await;
    let mut follower = store.follow_ledger(Version(0));
    within(follower.next()).await.unwrap();

    jetstream(&server)
        .await
        .delete_stream("LEDGER")
        .await
        .unwrap();
    let other = store_at(&server).await;
    // The new ledger has an entry where the old one would go on.
    append(&other, "b").await;
    append(&other, "c").await;

    let error = within(follower.next()).await.unwrap_err();
    let FollowError::OtherLedger(other_ledger) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (&other_ledger.known, &other_ledger.found),
        (&store.ledger_id(), &Some(other.ledger_id()))
    );
    let text = error.to_string();
    assert!(text.contains("start the service again"), "{text}");
    // Asked once more, it says the same.
    let again = within(follower.next()).await.unwrap_err();
    assert!(matches!(again, FollowError::OtherLedger(_)), "{again:?}");
}

#[tokio::test]
async fn nothing_is_appended_to_a_ledger_that_a_broker_without_its_store_was_given() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    append(&store, "a").await;
    let mut follower = store.follow_ledger(Version(0));
    within(follower.next()).await.unwrap();

    server.kill().unwrap();
    empty(server.store_dir());
    server.restart().unwrap();
    let other = store_at(&server).await;

    // Nothing is expected, and nothing is there: without a look at the ledger this would succeed.
    let refused = within(async {
        loop {
            match store.append(&node("b"), Version(0), &entry("b")).await {
                Err(AppendError::Store(_)) => {}
                other => break other,
            }
        }
    });
    let refused = refused.await.unwrap_err();
    assert!(
        matches!(refused, AppendError::OtherLedger(_)),
        "{refused:?}"
    );
    // What is to be decided is no dead letter because of this.
    assert_eq!(refused.class(), ErrorClass::Transient);
    assert_eq!(other.ledger_end().await.unwrap(), Version(0));
    let error = within(follower.next()).await.unwrap_err();
    assert!(matches!(error, FollowError::OtherLedger(_)), "{error:?}");
}

#[tokio::test]
async fn a_follower_ends_where_the_broker_was_set_back_to_a_backup() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    append(&store, "a").await;
    let backup = tempfile::tempdir().unwrap();
    server.kill().unwrap();
    copy(server.store_dir(), backup.path());
    server.restart().unwrap();

    let store = store_at(&server).await;
    let lost = append(&store, "b").await;
    let mut ends = store.follow_ledger(Version(0));
    let mut differs = store.follow_ledger(Version(0));
    for follower in [&mut ends, &mut differs] {
        while within(follower.next()).await.unwrap().version() < lost {}
    }

    server.kill().unwrap();
    empty(server.store_dir());
    copy(backup.path(), server.store_dir());
    server.restart().unwrap();

    let error = within(ends.next()).await.unwrap_err();
    let set_back = |end| FollowError::SetBack { read: lost, end };
    assert_eq!(error.to_string(), set_back(Version(1)).to_string());
    // Someone else was quick to fill its place.
    assert_eq!(append(&store_at(&server).await, "c").await, lost);
    let error = within(differs.next()).await.unwrap_err();
    assert_eq!(error.to_string(), set_back(lost).to_string());
}

fn empty(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
