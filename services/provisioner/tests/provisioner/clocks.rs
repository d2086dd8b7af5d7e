//! A broker whose clock is not ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bellhop_domain::reservation::{EndCause, Fact};
use bellhop_simulator::cluster::{Fault, FaultKind, HostSpec, Verb};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::installation::{is_about, nested};
use crate::world::{NS, World, flat, in_seconds, is_clean, start};

/// What precedes the broker's time in its answers.
const TIME: &[u8] = b"\"ts\":\"";
/// `2026-11-25T01:30:55`, after which come a fraction and the offset.
const TO_THE_SECOND: usize = 19;

/// A way to a broker on which the time that it tells is off, and all else is as it is.
struct OffClock {
    url: String,
    seconds: Arc<AtomicI64>,
}

impl OffClock {
    async fn before(url: &str, seconds: i64) -> Self {
        let broker = url.strip_prefix("nats://").unwrap_or(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let seconds = Arc::new(AtomicI64::new(seconds));
        let off = seconds.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&broker).await.unwrap();
                tokio::spawn(carry(client, server, off.clone()));
            }
        });
        Self { url, seconds }
    }

    fn set(&self, seconds: i64) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }
}

async fn carry(client: TcpStream, server: TcpStream, off: Arc<AtomicI64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await };
    let down = async {
        let mut from_server = BufReader::new(from_server);
        let mut line = Vec::new();
        while from_server.read_until(b'\n', &mut line).await? > 0 {
            shift(&mut line, off.load(Ordering::Relaxed));
            to_client.write_all(&line).await?;
            line.clear();
        }
        std::io::Result::Ok(0)
    };
    // Whichever side ends first ends both.
    tokio::select! { _ = up => {}, _ = down => {} }
}

/// Moves the broker's time in a line of its protocol, which stays as long as it is.
fn shift(line: &mut [u8], seconds: i64) {
    let Some(found) = line.windows(TIME.len()).position(|part| part == TIME) else {
        return;
    };
    let from = found + TIME.len();
    let Some(told) = line.get_mut(from..from + TO_THE_SECOND) else {
        return;
    };
    let text = std::str::from_utf8(told).unwrap();
    let at: Timestamp = format!("{text}Z").parse().unwrap();
    let moved = (at + SignedDuration::from_secs(seconds)).to_string();
    told.copy_from_slice(&moved.as_bytes()[..TO_THE_SECOND]);
}

#[tokio::test]
async fn a_release_without_an_end_is_withheld_while_the_broker_s_clock_is_not_ours() {
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.deadline_grace = Duration::ZERO;
    settings.deadline_hold = Duration::ZERO;
    let clock = OffClock::before(&settings.event_store.nats_url, 45).await;
    settings.event_store.nats_url = clock.url.clone();
    let provisioner = world.provisioner_with(settings);
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    // Its end is moved into the past, and nobody ends it.
    let mut shortened = nested(
        "EVENT_UPDATED",
        1,
        "node01",
        in_seconds(-600),
        in_seconds(-60),
    );
    shortened["data"]["resource"]["id"] = 31.into();
    world.says(shortened).await;
    world.until("DeadlinePassed").await;
    provisioner.until_shown("deadline_releases_stopped").await;
    provisioner.until_shown("until they agree").await;
    world.quiet().await;
    world.quiet().await;
    assert!(!world.fact_names().await.contains(&"ReservationEnded"));
    assert!(world.cluster.host(NS, "node01").unwrap()["spec"]["image"].is_object());

    clock.set(0);
    let ended = world.until("ReservationEnded").await;
    assert!(
        matches!(&ended, Fact::ReservationEnded(ended) if ended.cause == EndCause::Deadline),
        "{ended:?}"
    );
    world.until_host("node01", is_clean).await;
    provisioner
        .until_not_shown("deadline_releases_stopped")
        .await;
}

#[tokio::test]
async fn nothing_is_ended_or_refused_because_its_time_is_over_by_a_clock_that_is_not_the_broker_s()
{
    let paused = HostSpec::new(NS, "node01").annotation("baremetalhost.metal3.io/paused", "");
    let world = World::with_hosts([paused, HostSpec::new(NS, "node02")]).await;
    let no_claim = Fault::new(FaultKind::InternalError).on(Verb::Patch);
    world.cluster.inject(no_claim.host(NS, "node02"));
    let mut settings = world.settings();
    let clock = OffClock::before(&settings.event_store.nats_url, -600).await;
    settings.event_store.nats_url = clock.url.clone();
    let provisioner = world.provisioner_with(settings);
    // One waits for its host, another has one that can't be claimed. The ends of both are moved into the past.
    let (begun, over) = (in_seconds(-3600), in_seconds(-60));
    let known = [
        (1, "node01", "ReservationWaits"),
        (2, "node02", "HostAssigned"),
    ];
    for (event, host, reached) in known {
        let (event, end) = (event.to_string(), in_seconds(3600));
        let started = flat("EVENT_START", &event, host, begun, end);
        world.says(started).await;
        world.until_of(&event, reached).await;
    }
    for (event, host, _) in known {
        let mut shortened = nested("EVENT_UPDATED", event, host, begun, over);
        shortened["data"]["resource"]["id"] = 31.into();
        world.says(shortened).await;
        world
            .until_of(&event.to_string(), "ReservationChanged")
            .await;
    }
    // One start comes too late by our clock alone, one by both.
    for (event, end) in [("3", over), ("4", in_seconds(-1800))] {
        let started = flat("EVENT_START", event, "node01", begun, end);
        world.says(started).await;
    }
    world.until_of("4", "ReservationRefused").await;
    provisioner.until_shown("deadline_releases_stopped").await;
    let kept = "its end passed by our clock, which is not the broker's";
    provisioner.until_shown(kept).await;
    for _ in 0..5 {
        world.quiet().await;
    }
    let ends = ["ReservationFailed", "ReservationRefused"];
    let facts = world.facts().await;
    let ended: Vec<_> = facts
        .iter()
        .filter(|fact| ends.contains(&fact.name()) && !is_about(fact, "4"))
        .collect();
    assert!(ended.is_empty(), "{ended:?}");

    clock.set(0);
    world.until_of("1", "ReservationFailed").await;
    world.until_of("2", "ReservationFailed").await;
    world.until_of("3", "ReservationRefused").await;
    provisioner
        .until_not_shown("deadline_releases_stopped")
        .await;
}
