//! A shadow's streams stand beside those of a live installation; neither works on the other's.

use bellhop_event_store::{ErrorClass, Mode, SetupError};

use crate::*;

async fn connected(server: &NatsServer, mode: Mode, prefix: Option<&str>) -> EventStore {
    let settings = EventStoreSettings {
        mode,
        stream_prefix: prefix.map(str::to_owned),
        ..EventStoreSettings::at(server.url())
    };
    EventStore::connect(&settings, "test").await.unwrap()
}

#[tokio::test]
async fn a_shadow_has_streams_and_buckets_of_its_own_next_to_the_live_ones() {
    let server = NatsServer::start().unwrap();
    let live = store_at(&server).await;
    let shadow = connected(&server, Mode::Shadow, None).await;
    shadow.set_up().await.unwrap();
    live.set_up().await.unwrap();
    assert_ne!(shadow.ledger_id(), live.ledger_id());

    append(&shadow, "a").await;
    shadow.store_delivery(&delivery("1"), SOON).await.unwrap();
    shadow.save_snapshot("test", b"{}").await.unwrap();
    assert_eq!(live.ledger_end().await.unwrap(), Version(0));
    assert_eq!(live.deliveries_end().await.unwrap(), 0);
    assert_eq!(live.load_snapshot("test").await.unwrap(), None);
    let seen = within(shadow.follow_ledger(Version(0)).next()).await;
    let entry = seen.unwrap().into_resource().unwrap();
    assert_eq!(entry.resource, node("a"));
}

#[tokio::test]
async fn a_live_service_refuses_a_shadows_streams_and_a_shadow_those_of_a_live_one() {
    let server = NatsServer::start().unwrap();
    let shadow = connected(&server, Mode::Shadow, None).await;
    shadow.set_up().await.unwrap();
    // What would be the shadow's names, and those of a shadow with that prefix.
    let live = connected(&server, Mode::Live, Some("shadow")).await;
    let of_live = connected(&server, Mode::Live, Some("lab_shadow")).await;
    of_live.set_up().await.unwrap();
    let in_lab = connected(&server, Mode::Shadow, Some("lab")).await;
    for (service, words) in [
        (&live, "stream shadow_DELIVERIES is a shadow's"),
        (&in_lab, "stream lab_shadow_DELIVERIES is not a shadow's"),
    ] {
        let refusals = [
            service.prepare().await.unwrap_err(),
            service.prepare_deliveries().await.unwrap_err(),
            service.set_up().await.unwrap_err(),
        ];
        for refused in refusals {
            assert!(
                matches!(refused, SetupError::OtherMode { .. }),
                "{refused:?}"
            );
            assert!(refused.to_string().starts_with(words), "{refused}");
            assert_eq!(refused.class(), ErrorClass::Permanent);
        }
    }
}

#[tokio::test]
async fn a_shadow_refuses_a_ledger_that_was_not_made_for_one_though_all_else_is_its_own() {
    let server = NatsServer::start().unwrap();
    // As versions of before the shadow made it: without a mode.
    let live = connected(&server, Mode::Live, Some("shadow")).await;
    live.set_up().await.unwrap();
    let context = jetstream(&server).await;
    for name in [
        "shadow_DELIVERIES",
        "shadow_DEAD_LETTERS",
        "KV_shadow_REPORTS",
    ] {
        context.delete_stream(name).await.unwrap();
    }
    let mut ledger = context.get_stream("shadow_LEDGER").await.unwrap();
    let mut config = ledger.info().await.unwrap().config.clone();
    config.metadata.remove("bellhop-mode");
    context.update_stream(config).await.unwrap();

    let shadow = connected(&server, Mode::Shadow, None).await;
    let refused = shadow.prepare().await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("stream shadow_LEDGER is not a shadow's"),
        "{refused}"
    );
    // A live one of the same names goes on with it.
    let again = connected(&server, Mode::Live, Some("shadow")).await;
    let refused = again.prepare().await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("stream shadow_DELIVERIES is a shadow's"),
        "{refused}"
    );
    for name in [
        "shadow_DELIVERIES",
        "shadow_DEAD_LETTERS",
        "KV_shadow_REPORTS",
    ] {
        context.delete_stream(name).await.unwrap();
    }
    again.prepare().await.unwrap();
}
