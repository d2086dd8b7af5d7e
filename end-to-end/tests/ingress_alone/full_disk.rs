//! A disk that takes no more while the broker is away: what does not fit is refused, and nothing of it is left behind.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bellhop_end_to_end::{PATIENCE, program, records, wait_for};

use crate::{Ingress, client, post, start};

/// The program, with files of at most 32 KiB: a write beyond that is cut off where the limit is, and then fails, as on a full
/// disk.
fn with_a_small_disk(folder: &Path) -> PathBuf {
    let path = folder.join("bellhop-with-a-small-disk");
    let program = program::bellhop().unwrap();
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f 64\nexec '{}' \"$@\"\n",
        program.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_has_no_room_for_is_503_and_what_it_took_is_stored_later() {
    let scripts = tempfile::tempdir().unwrap();
    let program = with_a_small_disk(scripts.path());
    let variables = [("STORE_TIMEOUT", "1"), ("LOG_LEVEL", "info,bellhop=info")];
    let mut ingress = Ingress::start_as(program, &variables).await;
    let spool = ingress.folder.path().join("spool");
    ingress.nats.kill().unwrap();

    let (sender, address) = (client(), ingress.address());
    let before = post(&sender, &address, start("before")).await.unwrap();
    assert_eq!(before.status(), 202);
    let large = String::from_utf8(start("large")).unwrap();
    let title = format!("{{\"title\":\"{}\",", "x".repeat(40_000));
    let large = large.replacen('{', &title, 1).into_bytes();
    let refused = post(&sender, &address, large).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let metrics = ingress.service.page("/metrics").await.unwrap();
    let unwritten = "bellhop_not_spooled_total{reason=\"unwritten\"} 1";
    assert!(metrics.lines().any(|line| line == unwritten), "{metrics}");
    // The next one that fits is taken as if nothing had been.
    let after = post(&sender, &address, start("after")).await.unwrap();
    assert_eq!(after.status(), 202);

    ingress.nats.restart().unwrap();
    let client = async_nats::connect(ingress.nats.url()).await.unwrap();
    let both = wait_for(PATIENCE, async || {
        let stored = records::messages(&client, "DELIVERIES").await.ok()?;
        let has = |id: &str| {
            stored
                .iter()
                .any(|it| it.body.contains(&format!("\"{id}\"")))
        };
        (has("before") && has("after")).then_some(())
    });
    both.await.unwrap();
    let drained = wait_for(PATIENCE, async || {
        let metrics = ingress.service.page("/metrics").await.ok()?;
        let empty = metrics
            .lines()
            .any(|line| line == "bellhop_spool_deliveries 0");
        empty.then_some(())
    });
    drained.await.unwrap();
    for kept_aside in ["damaged", "refused"] {
        assert_eq!(files_in(&spool.join(kept_aside)), 0, "{kept_aside}");
    }
}
