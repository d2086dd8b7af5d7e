//! A broker of three servers: its leader is lost, an acknowledgement is lost, a user is forgotten by each server.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bellhop_end_to_end::chaos::proxy::{Proxy, Way};
use bellhop_end_to_end::records;
use bellhop_end_to_end::site::{MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{A_WHILE, PATIENCE, System, SystemSettings, wait_for};
use bellhop_nats_server::{NatsCluster, NatsServer};
use bellhop_simulator::cluster::HostState;
use bellhop_simulator::reservation_system::Booking;

/// In which each server has tidied up by itself, if no stop made it do so.
const TIDYING_UP: Duration = Duration::from_secs(600);

fn cluster() -> NatsCluster {
    NatsServer::builder().start_cluster(3).unwrap()
}

/// Which server leads a stream.
async fn leader(system: &System, stream: &str) -> Option<usize> {
    let client = records::connect(&system.broker_url()).await.ok()?;
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream(stream).await.ok()?;
    let cluster = stream.cached_info().cluster.as_ref()?;
    cluster.leader.as_deref()?.strip_prefix('n')?.parse().ok()
}

fn server(system: &mut System, number: usize) -> &mut NatsServer {
    match number.checked_sub(1) {
        None => &mut system.nats,
        Some(other) => &mut system.other_servers[other],
    }
}

/// From its start to its end nothing was done or said twice.
async fn went_well(system: &System, booking: &Booking, number: i64) {
    let facts = system.fact_names(booking).await.unwrap();
    for fact in [
        "ReservationStarted",
        "HostProvisioned",
        "ReservationEnded",
        "HostReleased",
    ] {
        let count = facts.iter().filter(|it| **it == fact).count();
        assert_eq!(count, 1, "{fact}: {facts:?}");
    }
    assert_eq!(system.claims(number).len(), 1);
    let told: Vec<_> = system.told(booking).into_iter().map(|(_, of)| of).collect();
    assert_eq!(told, ["PROVISIONING_COMPLETED", "RESERVATION_COMPLETED"]);
    let stored = system.messages("DELIVERIES").await.unwrap();
    let id = format!("\"{}\"", booking.id);
    let about = stored.iter().filter(|it| it.body.contains(&id)).count();
    assert_eq!(about, 2, "a start and an end: {stored:?}");
}

/// How often each service said that it lost, and that it has, a connection to the broker.
fn said_of_connections(system: &System) -> Vec<(String, usize, usize)> {
    let logs = system.logs().into_iter();
    logs.map(|(path, log)| {
        let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        let service = path.file_stem().unwrap().to_string_lossy().into_owned();
        (
            service,
            count("\"lost the connection to NATS; connecting again\""),
            count("\"connected to NATS\""),
        )
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_is_lost_all_goes_on_without_it_once_and_each_change_is_one_line_in_the_log()
 {
    let system = System::start_on_cluster(cluster(), SystemSettings::default()).await;
    let mut system = system.unwrap();
    system
        .cluster
        .hold_at(NAMESPACE, &node(1), HostState::Provisioning);
    let booking = system.started(MARA, 1).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node(1), HostState::Provisioning)
        .await
        .unwrap();
    let before = said_of_connections(&system);

    let lost = leader(&system, "LEDGER").await.unwrap();
    server(&mut system, lost).kill().unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    let told = system.wait_for_told(&booking, "PROVISIONING_COMPLETED");
    assert!(told.await.is_some());
    // What comes while the others choose another one is accepted too.
    let next = wait_for(PATIENCE, async || {
        leader(&system, "DELIVERIES").await.filter(|it| *it != lost)
    });
    let next = next.await.unwrap();
    server(&mut system, lost).restart().unwrap();
    wait_for(PATIENCE, async || leader(&system, "LEDGER").await)
        .await
        .unwrap();
    server(&mut system, next).pause().unwrap();
    let sent = system.reservations.end_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    tokio::time::sleep(A_WHILE).await;
    server(&mut system, next).resume().unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let told = system.wait_for_told(&booking, "RESERVATION_COMPLETED");
    assert!(told.await.is_some());
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    went_well(&system, &booking, 1).await;
    // A service was connected to one of the two at most at a time: it says so once for each of them.
    let after = said_of_connections(&system);
    for ((service, lost, connected), (_, lost_now, connected_now)) in before.iter().zip(&after) {
        let (lost, connected) = (lost_now - lost, connected_now - connected);
        assert!(
            lost <= 2 && lost == connected,
            "{service}: {lost} and {connected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_is_lost_costs_nothing_and_has_no_second_effect() {
    let cluster = cluster();
    let mut ways = Vec::new();
    for server in cluster.servers() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        ways.push(Proxy::start(vec![address]).await.unwrap());
    }
    let urls: Vec<_> = ways
        .iter()
        .map(|way| format!("nats://{}", way.address()))
        .collect();
    let settings = SystemSettings {
        variables: vec![("NATS_URL", urls.join(","))],
        ..SystemSettings::default()
    };
    let system = System::start_on_cluster(cluster, settings).await.unwrap();
    let booking = system.book(TOMAS, 1).unwrap();
    let lose = |text: &str| ways.iter().for_each(|way| way.lose_the_answer_to(text));
    // Stored by the ingress; decided by the provisioner; told by the notifier, and so on.
    lose("HPUB deliveries.");
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    restored(&ways).await;
    let told = system.wait_for_told(&booking, "PROVISIONING_COMPLETED");
    assert!(told.await.is_some());
    lose("HPUB ledger.");
    system.reservations.end_event(booking.id).await.unwrap();
    restored(&ways).await;
    let told = system.wait_for_told(&booking, "RESERVATION_COMPLETED");
    assert!(told.await.is_some());
    // Asked for before there is anything to tell of, so that it is not over when it is asked for.
    let second = system.book(MARA, 2).unwrap();
    lose("{\"state\":\"delivered\"");
    system.reservations.start_event(second.id).await.unwrap();
    restored(&ways).await;
    let told = system.wait_for_told(&second, "PROVISIONING_COMPLETED");
    assert!(told.await.is_some());
    system.reservations.end_event(second.id).await.unwrap();
    for (number, booking) in [(1, &booking), (2, &second)] {
        let told = system.wait_for_told(booking, "RESERVATION_COMPLETED");
        assert!(told.await.is_some());
        system.wait_for_fact(booking, "HostReleased").await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        went_well(&system, booking, number).await;
    }
}

/// Waits until the answer was lost on one of the ways, and opens all.
async fn restored(ways: &[Proxy]) {
    let lost = futures::future::select_all(
        ways.iter()
            .map(|way| Box::pin(way.until_the_answer_is_lost())),
    );
    tokio::time::timeout(PATIENCE, lost).await.unwrap();
    for way in ways {
        way.lose_no_answer();
        way.set(Way::Open);
    }
}

/// The files below a folder that hold a text.
fn files_with(path: &Path, text: &str) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        let below = entries.flat_map(|entry| files_with(&entry.unwrap().path(), text));
        return below.collect();
    }
    // One that the broker has just put another one in the place of holds nothing.
    let bytes = std::fs::read(path).unwrap_or_default();
    let holds = bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes());
    holds.then(|| path.to_owned()).into_iter().collect()
}

/// Whether a file is of the log in which the servers agree on what is stored.
fn is_of_agreement(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "$SYS")
}

/// What is private of a user, and where: the servers whose streams hold some of it, and those that hold some anywhere.
fn holders_of(system: &mut System, private: &[String]) -> (Vec<usize>, Vec<usize>) {
    let (mut in_streams, mut anywhere) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let store = server(system, number).store_dir().to_owned();
        let files = private.iter().flat_map(|text| files_with(&store, text));
        let files: Vec<_> = files.collect();
        if files.iter().any(|file| !is_of_agreement(file)) {
            in_streams.push(number);
        }
        if !files.is_empty() {
            anywhere.push(number);
        }
    }
    (in_streams, anywhere)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_is_in_the_streams_of_no_server_and_in_no_file_once_each_has_tidied_up() {
    let system = System::start_on_cluster(cluster(), SystemSettings::default()).await;
    let mut system = system.unwrap();
    let forgotten = system.ready(MARA, 1).await.unwrap();
    let other = system.ready(TOMAS, 2).await.unwrap();
    let (hers, his) = ([MARA.email(), MARA.key()], [TOMAS.email(), TOMAS.key()]);
    wait_for(PATIENCE, async || {
        let hers = holders_of(&mut system, &hers).0;
        (hers.len() == 3 && holders_of(&mut system, &his).0.len() == 3).then_some(())
    })
    .await
    .unwrap();

    system.reservations.end_event(forgotten.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let told = system.wait_for_told(&forgotten, "RESERVATION_COMPLETED");
    assert!(told.await.is_some());
    let user = MARA.id();
    let forget = ["forget", &user, "--yes", "--by", "ada", "--reason", "asked"];
    let done = wait_for(PATIENCE, async || {
        let done = system.command(&forget).await.ok()?;
        done.status.success().then_some(done)
    });
    let done = done.await.unwrap();
    assert_eq!(holders_of(&mut system, &hers).0, [0; 0], "{done:?}");
    for stream in ["DELIVERIES", "DEAD_LETTERS", "LEDGER"] {
        let messages = system.messages(stream).await.unwrap();
        assert!(!messages.is_empty() || stream == "DEAD_LETTERS");
        for message in messages.iter().map(|message| message.everything()) {
            assert!(!hers.iter().any(|text| message.contains(text)), "{message}");
        }
    }

    // What they agreed on before they stored it goes when each tidies up: minutes later by itself, mostly when it is stopped in
    // order.
    wait_for(TIDYING_UP, async || {
        let still_there = holders_of(&mut system, &hers).1;
        for number in &still_there {
            server(&mut system, *number).stop().unwrap();
            server(&mut system, *number).restart().unwrap();
            wait_for(PATIENCE, async || leader(&system, "DELIVERIES").await).await?;
        }
        still_there.is_empty().then_some(())
    })
    .await
    .unwrap();
    assert_eq!(holders_of(&mut system, &his).0.len(), 3);
    assert!(is_provisioned(&system.host(2)) && system.has(&other, 2));
}
