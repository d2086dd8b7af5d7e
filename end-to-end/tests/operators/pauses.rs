//! `pause` and `resume`.

use bellhop_end_to_end::site::{INES, MARA, TOMAS, is_clean, is_provisioned};
use bellhop_end_to_end::{A_WHILE, System, SystemSettings};

use crate::{Said, say, until_logged_by_ada, until_shown, until_told};

async fn stands(system: &System) -> String {
    let output = system.command(&["orders"]).await.unwrap();
    Said::from(output).well()
}

async fn paused_in_metrics(system: &mut System) -> String {
    let metrics = system.provisioner().page("/metrics").await.unwrap();
    let line = |line: &&str| line.starts_with("bellhop_shown{kind=\"paused\"}");
    metrics.lines().find(line).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_operator_pauses_it_no_host_is_touched_and_everything_is_decided_and_shown() {
    let mut system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let running = system.book(TOMAS, 2).unwrap();
    system.reservations.start_event(running.id).await.unwrap();
    until_told(&system, &running, "is ready. Log in").await;

    let said = say(&system, &["pause"]).await.well();
    assert!(
        said.contains("recorded DrivingPaused on everything"),
        "{said}"
    );
    assert!(
        said.contains("until `bellhop resume --reason '…'`"),
        "{said}"
    );
    let said = say(&system, &["pause"]).await.well();
    assert!(
        said.contains("nothing to do") && said.contains("paused already, by ada"),
        "{said}"
    );
    until_shown(
        &mut system,
        "[ ]shown paused everything/-/all: by ada: a disk is to be looked at",
        true,
    )
    .await;
    assert_eq!(
        paused_in_metrics(&mut system).await,
        "bellhop_shown{kind=\"paused\"} 1"
    );
    assert_eq!(
        stands(&system).await,
        "paused everything by ada: a disk is to be looked at\n"
    );
    until_logged_by_ada(&system, "DrivingPaused").await;

    // A start and an end are accepted, decided and told; no host is touched.
    let writes = system.cluster.writes().len();
    let waiting = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(waiting.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    system
        .wait_for_fact(&waiting, "ReservationStarted")
        .await
        .unwrap();
    system.reservations.end_event(running.id).await.unwrap();
    until_told(&system, &running, "has ended").await;
    for node in ["node01", "node02"] {
        let line = format!("waiting baremetalhost/metal3/{node}: paused by ada (with everything)");
        until_shown(&mut system, &line, true).await;
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.cluster.writes().len(), writes);
    assert!(is_clean(&system.host(1)) && is_provisioned(&system.host(2)));

    // What is paused with everything is not resumed alone.
    say(&system, &["resume", "--host", "node01"]).await.refused(
        "but everything is, by ada: a disk is to be looked at. `bellhop resume --reason '…'` ends that",
    );
    say(&system, &["resume"]).await.well();
    until_told(&system, &waiting, "is ready. Log in").await;
    system.wait_for_host(2, is_clean).await.unwrap();
    until_shown(&mut system, "shown paused", false).await;
    system
        .wait_for_fact(&running, "HostReleased")
        .await
        .unwrap();
    by_site_and_by_host(&mut system).await;
}

async fn by_site_and_by_host(system: &mut System) {
    // A site of which nothing was heard may be a slip of the pen.
    let said = say(system, &["pause", "--site", "site-9"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.error.contains("is its id right?") && said.error.contains("`site-1`"),
        "{said:?}"
    );
    let said = say(system, &["pause", "--site", "site-1"]).await.well();
    assert!(
        said.contains("(site site-1) until `bellhop resume --site=site-1 --reason '…'`"),
        "{said}"
    );
    say(system, &["pause", "--host", "node03"])
        .await
        .refused("is known");
    let third = "baremetalhost/metal3/node03";
    say(system, &["pause", "--host", third]).await.well();
    let writes = system.cluster.writes().len();
    let on_the_second = system.book(INES, 2).unwrap();
    let on_the_third = system.book(TOMAS, 3).unwrap();
    for booking in [&on_the_second, &on_the_third] {
        let started = system.reservations.start_event(booking.id);
        started.await.unwrap();
    }
    for node in ["node02", "node03"] {
        let line = format!("waiting baremetalhost/metal3/{node}: paused by ada (with site site-1)");
        until_shown(system, &line, true).await;
    }
    assert_eq!(system.cluster.writes().len(), writes);
    assert_eq!(stands(system).await.lines().count(), 3);

    say(system, &["resume", "--site", "site-9"]).await;
    let said = say(system, &["resume", "--site", "site-1"]).await.well();
    assert!(said.contains("recorded DrivingResumed"), "{said}");
    until_told(system, &on_the_second, "is ready. Log in").await;
    until_shown(system, "node03: paused by ada: a disk", true).await;
    assert!(is_clean(&system.host(3)));
    say(system, &["resume", "--host", "node03"]).await.well();
    until_told(system, &on_the_third, "is ready. Log in").await;
    let said = say(system, &["resume"]).await.well();
    assert!(said.contains("everything is not paused"), "{said}");
}
