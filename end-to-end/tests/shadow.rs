//! A whole shadow, as it is tried beside the old service: it hears and decides, and touches nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use bellhop_end_to_end::site::{self, MARA, WEBHOOK};
use bellhop_end_to_end::{PATIENCE, ServiceKind, System, SystemSettings, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_tells_its_operator_what_it_would_do_and_nobody_else() {
    let mut system = System::start(SystemSettings {
        variables: vec![("MODE", "shadow".to_owned())],
        ..SystemSettings::default()
    })
    .await
    .unwrap();
    let until_logged = async |system: &System, kind: ServiceKind, what: &str| {
        let logged = wait_for(PATIENCE, async || {
            let mut logs = system.logs().into_iter();
            let of_kind = |path: &Path| path.ends_with(format!("{kind}-0.log"));
            let (_, log) = logs.find(|(path, _)| of_kind(path))?;
            log.contains(what).then_some(())
        });
        assert!(logged.await.is_some(), "never logged: {what}");
    };
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let reservation = format!("reservation-system:{}", booking.id);
    let claims = format!("would claim node01 for {reservation}");
    until_logged(&system, ServiceKind::Provisioner, &claims).await;
    system.reservations.end_event(booking.id).await.unwrap();
    let releases = format!("would release node01 of {reservation}");
    until_logged(&system, ServiceKind::Provisioner, &releases).await;
    for said in [
        "RESERVATION_COMPLETED: Your reservation",
        "EVENT_END 200: ended",
    ] {
        until_logged(&system, ServiceKind::Notifier, said).await;
    }

    for service in system.services() {
        let page = service.page("/readyz?verbose").await.unwrap();
        let line = format!("[ ]shown shadow {}: MODE=shadow", service.kind());
        assert!(page.contains(&line), "{page}");
    }
    assert!(system.reservations.received().is_empty());
    assert!(system.cluster.writes().is_empty());
    let private = [
        site::webhook_secret(WEBHOOK),
        MARA.key(),
        MARA.email(),
        MARA.id(),
    ];
    for (path, log) in system.logs() {
        for private in &private {
            assert!(!log.contains(private), "{private} is in {}", path.display());
        }
    }
}
