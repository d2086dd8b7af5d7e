//! All parts fail under load, and nothing is lost. `cargo xtask chaos` is the same for as long as one likes.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::chaos::{self, CLUSTER, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_every_part_is_killed_stopped_partitioned_and_failed_nothing_is_lost() {
    let outcome = chaos::run(Options {
        seed: 5,
        seconds: 12,
        servers: 8,
        brokers: CLUSTER,
        talkative: false,
        logs: None,
    });
    let outcome = outcome.await.unwrap();
    println!("{outcome}");
    assert!(outcome.is_well(), "{outcome}");
    // It was not quiet either.
    assert!(outcome.struck.len() > 30, "{outcome}");
    assert!(outcome.reports > 20, "{outcome}");
}
