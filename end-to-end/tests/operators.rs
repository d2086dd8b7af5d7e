//! What operators say, as commands of the program against a running system.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Output;

use bellhop_end_to_end::site::{MARA, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{PATIENCE, System, SystemSettings};

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_holds_a_host_then_lets_it_go_and_another_s_reservation_is_ended_by_a_release()
{
    let system = System::start(SystemSettings::default()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_provisioned).await.unwrap();

    let node = node(1);
    let why = ["--by", "ada", "--reason", "a disk is to be looked at"];
    let say = async |words: &[&str]| system.command(&[words, &why].concat()).await.unwrap();
    let said = stdout(&say(&["hold", &node]).await);
    assert!(said.contains("recorded HostHeld"), "{said}");
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "INFO")
        .await
        .unwrap();
    assert!(is_provisioned(&system.host(1)), "{:#}", system.host(1));
    stdout(&say(&["unhold", &node]).await);
    system.wait_for_host(1, is_clean).await.unwrap();

    let next = system.book(TOMAS, 1).unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    system
        .wait_for_notification(&next, "SUCCESS")
        .await
        .unwrap();
    let said = stdout(&say(&["release", &node]).await);
    assert!(said.contains("recorded ReservationEnded"), "{said}");
    // Among others: while the host is given back, this one waits.
    let told = system.reservations.wait_for_notification(PATIENCE, |it| {
        it.event_id.as_deref() == Some(next.id.to_string().as_str())
            && it.message.contains("ended by an operator")
    });
    told.await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_about_what_is_not_known_is_refused_before_it_is_stored() {
    let system = System::start(SystemSettings::default()).await.unwrap();
    let words: [&[&str]; 4] = [
        &["release", "node99"],
        &["allow", "5120"],
        &["extend", "5120", "--until", "2026-12-03T20:00:00Z"],
        &["hold", "node01"],
    ];
    for words in words {
        let words = [words, &["--reason", "a test"]].concat();
        let output = system.command(&words).await.unwrap();
        assert!(!output.status.success(), "{words:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("is known"), "{words:?}: {error}");
    }
    // Who says nothing of why is not heard.
    let output = system.command(&["pause"]).await.unwrap();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("--reason")
    );
    assert!(system.messages("DELIVERIES").await.unwrap().is_empty());
}
