//! The broker's clock, on this machine: the same as ours.

use bellhop_nats_server::NatsServer;

use super::store_at;

#[tokio::test]
async fn the_broker_s_clock_is_read_between_two_readings_of_ours() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let clock = store.broker_clock().await.unwrap();
    assert!(
        clock.before <= clock.theirs && clock.theirs <= clock.after,
        "{clock:?}"
    );
    assert_eq!(clock.off_by(), std::time::Duration::ZERO);
}
