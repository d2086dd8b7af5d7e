//! The broker's disk is full, really: what it does not take waits, nothing is half there, and when there is room all goes on.
//!
//! The disk is a small one in memory. Where none can be mounted (that needs root), this shows nothing and says so.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bellhop_end_to_end::site::{MARA, TOMAS, is_clean};
use bellhop_end_to_end::{PATIENCE, System, SystemSettings, wait_for};
use bellhop_nats_server::NatsServer;
use jiff::{Timestamp, ToSpan as _};
use tempfile::TempDir;

/// A disk of 16 MB; gone when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = TempDir::with_prefix("bellhop-disk-").unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "bellhop-test"])
            .arg(folder.path())
            .output();
        let is_mounted = mounted.as_ref().is_ok_and(|output| output.status.success());
        if !is_mounted {
            eprintln!("NOT SHOWN: no disk can be mounted here: {mounted:?}");
        }
        is_mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it to its last byte.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut ballast = std::fs::File::create(&path).unwrap();
        for piece in [64 * 1024, 512, 1] {
            while ballast.write_all(&vec![0; piece]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the broker may still be ending.
        let _unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

async fn in_the_spool(system: &mut System) -> Option<u64> {
    let metrics = system.ingress().page("/metrics").await.ok()?;
    let line = |line: &str| line.strip_prefix("bellhop_spool_deliveries ")?.parse().ok();
    metrics.lines().find_map(line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_disk_of_the_broker_refuses_waits_in_the_spool_and_is_done_when_there_is_room()
{
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let nats = NatsServer::builder()
        .store_dir(disk.path().join("store"))
        // More than there is: the disk is what sets the limit.
        .jetstream_configuration("max_file_store: 1GB")
        .start()
        .unwrap();
    let system = System::start_on(nats, SystemSettings::default()).await;
    let mut system = system.unwrap();
    let holder = system.ready(MARA, 1).await.unwrap();

    let ballast = disk.fill();
    let mut later = 1;
    let waits = wait_for(PATIENCE, async || {
        let start = Timestamp::now() + (3 * later).hours();
        later += 1;
        let booking = system.book_at(TOMAS, 2, start, start + 1.hour()).ok()?;
        let sent = system.reservations.announce(booking.id).await.ok()?;
        assert!(sent[0].was_delivered(), "{sent:?}");
        in_the_spool(&mut system).await.filter(|count| *count >= 5)
    });
    assert!(waits.await.is_some(), "the disk is not full");
    let sent = system.reservations.end_event(holder.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));

    std::fs::remove_file(ballast).unwrap();
    // A broker that met a full disk switches its store off until it is started again.
    system.nats.restart().unwrap();
    let drained = wait_for(PATIENCE, async || {
        in_the_spool(&mut system).await.filter(|count| *count == 0)
    });
    drained.await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let told = system.wait_for_told(&holder, "RESERVATION_COMPLETED");
    assert!(told.await.is_some());
    system.wait_for_fact(&holder, "HostReleased").await.unwrap();

    let bodies = |messages: Vec<String>| messages.into_iter().collect::<BTreeSet<_>>();
    let sent = system.reservations.sent();
    let sent = sent.iter().map(|it| String::from_utf8(it.body.to_vec()));
    let sent = bodies(sent.map(Result::unwrap).collect());
    let stored = system.messages("DELIVERIES").await.unwrap();
    assert_eq!(stored.len(), sent.len(), "some are there twice, or not");
    assert_eq!(bodies(stored.into_iter().map(|it| it.body).collect()), sent);
    let told: Vec<_> = system.told(&holder).into_iter().map(|(_, of)| of).collect();
    assert_eq!(told, ["PROVISIONING_COMPLETED", "RESERVATION_COMPLETED"]);
}
