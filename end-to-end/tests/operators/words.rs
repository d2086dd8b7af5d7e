//! Words that are refused before they are stored.

use bellhop_end_to_end::{ServiceKind, System, SystemSettings};

use crate::{Said, say, say_at_the_cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_about_what_is_not_known_is_refused_before_it_is_stored() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let later = "2096-12-03T20:00:00Z";
    let unknown: [&[&str]; 6] = [
        &["release", "node99"],
        &["allow", "5120"],
        &["extend", "5120", "--until", later],
        &["retry", "5120", "--ssh-key-file", "/nonexistent"],
        &["hold", "node01"],
        &["pause", "--host", "node99"],
    ];
    for words in unknown {
        say(&system, words).await.refused("is known");
    }
    say_at_the_cluster(&system, &["hand-back", "--host", "node99"])
        .await
        .refused("is known");
    let misused: [(&[&str], &str); 5] = [
        (
            &["pause", "--host", "node01", "--site", "site-1"],
            "cannot be set together with --site",
        ),
        (&["extend", "5120", "--until", "tomorrow"], "--until"),
        (&["adopt", "--until", later], "--reservation"),
        (
            &[
                "adopt",
                "--host",
                "node01",
                "--reservation",
                "reservation-system:5120",
            ],
            "--until",
        ),
        (
            &[
                "adopt",
                "--reservation",
                "reservation-system:5120",
                "--until",
                later,
            ],
            "--host",
        ),
    ];
    for (words, why) in misused {
        say_at_the_cluster(&system, words).await.misused(why);
    }
    // Who says nothing of why is not heard.
    let output = system.command(&["pause"]).await.unwrap();
    Said::from(output).misused("--reason");
    let output = system.command(&["orders"]).await.unwrap();
    assert!(Said::from(output).well().contains("no order stands"));
    assert!(system.messages("DELIVERIES").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_nobody_decides_fails_says_so_and_is_decided_when_somebody_is_there() {
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    system.stop_all(ServiceKind::Provisioner).await.unwrap();
    let said = say(&system, &["pause"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.error.contains("no provisioner is running"), "{said:?}");
    system.start_services().await.unwrap();
    crate::until_shown(&mut system, "shown paused everything/-/all: by ada", true).await;
}
