//! Every replica is stopped as Kubernetes does it (SIGTERM) and started again, one after the other, under load.

use bellhop_end_to_end::site::{NAMESPACE, PEOPLE, is_clean};
use bellhop_end_to_end::{ServiceKind, System, SystemSettings};
use bellhop_simulator::reservation_system::{self as sender, Booking};
use futures::future::join_all;

use super::{claims, count};

const SERVERS: i64 = 6;

/// A reservation of each server, from its start to its end.
async fn reservations(system: &System) -> Vec<Booking> {
    let one = |server: i64| async move {
        let person = PEOPLE[usize::try_from(server).unwrap() % PEOPLE.len()];
        let booking = system.book(person, server).unwrap();
        let sent = system.reservations.start_event(booking.id).await.unwrap();
        assert!(sent.iter().any(sender::Sent::was_delivered), "{sent:?}");
        let told = system.wait_for_notification(&booking, "SUCCESS").await;
        told.unwrap();
        let sent = system.reservations.end_event(booking.id).await.unwrap();
        assert!(sent.iter().any(sender::Sent::was_delivered), "{sent:?}");
        let released = system.wait_for_fact(&booking, "HostReleased").await;
        released.unwrap();
        booking
    };
    join_all((1..=SERVERS).map(one)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_of_every_service_under_load_loses_nothing_and_repeats_nothing() {
    let system = System::start(SystemSettings {
        replicas: 2,
        servers: SERVERS,
        hosts: SERVERS,
        second_webhook: true,
        ..SystemSettings::default()
    });
    let mut system = system.await.unwrap();
    // The services are taken out, so that they can be restarted while the rest is asked.
    let mut services = system.take_services();
    let updated = async {
        for replica in [0, 1] {
            for kind in ServiceKind::ALL {
                let mut of_kind = services.iter_mut().filter(|it| it.kind() == kind);
                let service = of_kind.nth(replica).unwrap();
                service.stop().await.unwrap();
                service.start().await.unwrap();
                service.until_ready().await.unwrap();
            }
        }
    };
    let load = async {
        let mut served = reservations(&system).await;
        served.extend(reservations(&system).await);
        served
    };
    let ((), served) = futures::join!(updated, load);
    for (place, booking) in served.iter().enumerate() {
        let server = 1 + i64::try_from(place).unwrap() % SERVERS;
        assert_eq!(system.notifications(booking, "SUCCESS").len(), 1);
        assert_eq!(count(&system, booking, "HostProvisioned").await, 1);
        assert_eq!(count(&system, booking, "HostReleased").await, 1);
        assert_eq!(claims(&system, server), 2, "one for each reservation");
        assert!(is_clean(&system.host(server)));
    }
    assert!(system.cluster.secrets(NAMESPACE).is_empty());
}
