//! All parts fail under load, and nothing is lost. `cargo xtask chaos` is the same for as long as one likes.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::chaos::{self, CLUSTER, Options};
use rand::Rng as _;

const SECONDS: u64 = 12;

/// Another seed each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_every_part_is_killed_stopped_partitioned_and_failed_nothing_is_lost() {
    let seed = rand::rng().random_range(0..1_000_000);
    println!("seed {seed}; again with: cargo xtask chaos --seconds {SECONDS} --seed {seed}");
    let outcome = chaos::run(Options {
        seed,
        seconds: SECONDS,
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
