//! No secret, signature, key or e-mail address is in a log, a trace, a fact, a report's record or a dead letter (R11), neither
//! as it is nor within something in base64.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bellhop_authority::Authority;
use bellhop_end_to_end::process::{Process, log_text};
use bellhop_end_to_end::site::{
    self, MARA, NAMESPACE, PEOPLE, SECOND_WEBHOOK, TOMAS, WEBHOOK, node,
};
use bellhop_end_to_end::{
    PATIENCE, Service, ServiceKind, System, SystemSettings, program, wait_for,
};
use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::NatsServer;
use bellhop_simulator::cluster::Fault;
use bellhop_simulator::reservation_system::{Endpoint, EventType, Fault as SenderFault, FaultKind};
use futures::TryStreamExt as _;
use nkeys::KeyPair;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PERMISSIONS: &str = include_str!("../../deploy/nats/permissions.conf");
const USERS: [&str; 5] = [
    "ingress",
    "provisioner",
    "notifier",
    "operator",
    "administrator",
];
/// The streams of which only the headers are searched: they hold webhooks as they came.
const UNTOUCHED: [&str; 2] = ["DELIVERIES", "DEAD_LETTERS"];
/// Everything that the program and all of its libraries could ever write.
const LEVEL: &str = "trace,bellhop=trace,async_nats=trace";
/// What the services show to the API server.
const CLUSTER_TOKEN: &str =
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmVkLWJ5LW5vYm9keQ";

/// The keys of the broker's users and of the ingress's certificate, as files.
struct Keys {
    folder: TempDir,
    users: Vec<KeyPair>,
    authority: Authority,
    /// What must be nowhere.
    private: Vec<(String, &'static str)>,
}

impl Keys {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (mut users, mut private) = (Vec::new(), Vec::new());
        for user in USERS {
            let pair = KeyPair::new_user();
            let seed = pair.seed().unwrap();
            std::fs::write(folder.path().join(user), &seed).unwrap();
            private.push((seed, "the seed of a user of the broker"));
            users.push(pair);
        }
        let authority = Authority::new().unwrap();
        let issued = authority.issue("127.0.0.1").unwrap();
        issued.write(folder.path()).unwrap();
        let lines = issued.key.lines().filter(|line| !line.contains("-----"));
        private.extend(lines.map(|line| (line.to_owned(), "the key of the certificate")));
        Self {
            folder,
            users,
            authority,
            private,
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A broker with the shipped users, and one that may read everything, for us.
    async fn broker(&self) -> NatsServer {
        let mut configuration = "no_auth_user: us\n".to_owned();
        for (user, pair) in USERS.iter().zip(&self.users) {
            let variable = format!("BELLHOP_{}_NKEY", user.to_uppercase());
            configuration.push_str(&format!("{variable}: {}\n", pair.public_key()));
        }
        let us = "users: [ { user: us, password: us }";
        let nats = NatsServer::builder()
            .configuration(configuration)
            .configuration(PERMISSIONS.replacen("users: [", us, 1))
            .start()
            .unwrap();
        let store = EventStore::connect(&EventStoreSettings::at(nats.url()), "us").await;
        store.unwrap().set_up().await.unwrap();
        nats
    }
}

/// A place for the webhook log whose answers hold a secret, wherever an answer can hold anything, and what was signed.
/// It fails twice, then refuses.
struct TalkativeDestination {
    url: String,
    signatures: Arc<Mutex<BTreeSet<String>>>,
}

impl TalkativeDestination {
    async fn start(secret: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/log", listener.local_addr().unwrap());
        let signatures = Arc::<Mutex<BTreeSet<String>>>::default();
        let seen = Arc::clone(&signatures);
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = whole_request(&mut stream).await;
                let signature = request.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("x-webhook-signature")
                        .then(|| value.trim().to_owned())
                });
                seen.lock().unwrap().extend(signature);
                let status = if number < 2 { 500 } else { 403 };
                let body = format!("{{\"clientSecret\":\"{secret}\",\"of\":{request:?}}}");
                let answer = format!(
                    "HTTP/1.1 {status} {secret}\r\nConnection: close\r\nX-Secret: {secret}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                // It may have hung up.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, signatures }
    }

    fn signatures(&self) -> BTreeSet<String> {
        self.signatures.lock().unwrap().clone()
    }
}

/// All of a request: who closes while something is unread takes away the answer.
async fn whole_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return text;
        }
    }
}

/// What must be nowhere, each with what it is.
fn private(
    system: &System,
    keys: &Keys,
    talkative: &TalkativeDestination,
) -> BTreeMap<String, &'static str> {
    let mut private: BTreeMap<_, _> = keys.private.iter().cloned().collect();
    for webhook in [WEBHOOK, SECOND_WEBHOOK] {
        private.insert(site::webhook_secret(webhook), "a webhook's secret");
        for sent in system.reservations.sent() {
            let signature = system.reservations.sign(webhook, &sent.body).unwrap();
            private.insert(signature, "the signature of a webhook");
        }
    }
    for received in system.reservations.received() {
        if let Some(signature) = received.header("x-webhook-signature") {
            private.insert(signature.to_owned(), "the signature of a report");
        }
    }
    let signatures = talkative.signatures();
    assert!(!signatures.is_empty());
    private.extend(
        signatures
            .into_iter()
            .map(|it| (it, "the signature of a report")),
    );
    for person in PEOPLE {
        private.insert(person.key(), "an SSH key");
        private.insert(person.email(), "an e-mail address");
    }
    private.insert(CLUSTER_TOKEN.to_owned(), "the token for Kubernetes");
    private
}

/// How a text looks: as it is, and wherever it may stand in what is written in base64. Three bytes are four characters there,
/// so it has three forms in each alphabet; the characters that it shares with its neighbours are left out.
fn forms(text: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([text.to_owned()]);
    for (before, first) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [&vec![0; before], text.as_bytes()].concat();
        let own = first..bytes.len() * 8 / 6;
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.insert(alphabet.encode(&bytes)[own.clone()].to_owned());
        }
    }
    forms
}

#[test]
fn a_text_is_found_wherever_it_stands_in_base64() {
    let text = MARA.email() + "?>~";
    for before in 0..3 {
        for after in 0..3 {
            let whole = format!("{}{text}{}", "a".repeat(before), ">~".repeat(after));
            for written in [
                STANDARD_NO_PAD.encode(&whole),
                URL_SAFE_NO_PAD.encode(&whole),
            ] {
                assert!(forms(&text).iter().any(|form| written.contains(form)));
            }
        }
    }
}

/// Everything in the broker but webhooks as they came.
async fn in_the_broker(system: &System) -> Vec<(String, String)> {
    let client = async_nats::connect(system.nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let streams: Vec<String> = context.stream_names().try_collect().await.unwrap();
    for stream in ["LEDGER", "KV_REPORTS", "DELIVERIES", "DEAD_LETTERS"] {
        assert!(streams.iter().any(|it| it == stream), "{streams:?}");
    }
    let mut written = Vec::new();
    for stream in streams {
        let messages = system.messages(&stream).await.unwrap();
        // Snapshots are what the ledger is folded to, and a short one needs none.
        let may_be_empty = stream == "OBJ_SNAPSHOTS";
        assert!(!messages.is_empty() || may_be_empty, "{stream} is empty");
        let is_untouched = UNTOUCHED.contains(&stream.as_str());
        written.extend(messages.iter().map(|message| {
            let text = if is_untouched {
                format!("{} {:?}", message.subject, message.headers)
            } else {
                message.everything()
            };
            (format!("{stream} {}", message.sequence), text)
        }));
    }
    written
}

/// Everything in the cluster but the user data.
fn in_the_cluster(system: &System) -> Vec<(String, String)> {
    let mut written = Vec::new();
    for host in system.cluster.hosts() {
        written.push(("a host".to_owned(), host.to_string()));
    }
    for event in system.cluster.events(NAMESPACE) {
        written.push(("an event".to_owned(), event.to_string()));
    }
    for mut secret in system.cluster.secrets(NAMESPACE) {
        secret.as_object_mut().unwrap().remove("data");
        written.push(("a secret, but for its data".to_owned(), secret.to_string()));
    }
    written
}

/// What the program says of files that it can't use.
async fn of_broken_files(folder: &Path, keys: &Keys) -> Vec<(String, String)> {
    let mapping = folder.join("broken.yaml");
    let secret = site::webhook_secret(WEBHOOK);
    std::fs::write(&mapping, format!("12: [{secret}\n13: {secret}")).unwrap();
    let mapping = mapping.display().to_string();
    let (key, certificate) = (keys.file("tls.key"), keys.file("tls.crt"));
    let mut written = Vec::new();
    for (number, variables) in [
        vec![("WEBHOOK_SECRETS_PATH", &mapping)],
        vec![
            ("WEBHOOK_SECRET", &secret),
            ("WEBHOOK_SECRET_FILE", &mapping),
        ],
        vec![
            ("WEBHOOK_SECRET", &secret),
            ("TLS_CERT_FILE", &key),
            ("TLS_KEY_FILE", &certificate),
        ],
        vec![("WEBHOOK_SECRET", &secret), ("MAX_BODY_BYTES", &secret)],
    ]
    .into_iter()
    .enumerate()
    {
        let log = folder.join(format!("broken-{number}.txt"));
        let program = program::bellhop().unwrap();
        // The last one is a mistake that is easily made: what must not be shown is the other variable.
        let variables = variables.into_iter().map(|(name, value)| match name {
            "MAX_BODY_BYTES" => (name, "many"),
            _ => (name, value.as_str()),
        });
        let variables = variables.chain([("LOG_LEVEL", LEVEL), ("PORT", "0")]);
        let mut process = Process::start(&program, ["ingress"], variables, &log).unwrap();
        let ended = wait_for(PATIENCE, async || process.ended().unwrap()).await;
        assert!(!ended.unwrap().success(), "{}", log_text(&log));
        written.push((log.display().to_string(), log_text(&log)));
    }
    written
}

/// Posts over TLS to an ingress of its own, which is the first one's second replica.
async fn over_tls(system: &System, keys: &Keys, body: &[u8]) -> PathBuf {
    let log = system.folder().join("ingress-tls.log");
    let secrets = system.folder().join("webhook-secrets.json");
    let variables = [
        ("LISTEN_ADDRESS", "127.0.0.1".to_owned()),
        ("LOG_LEVEL", LEVEL.to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
        ("NATS_URL", system.nats.url()),
        ("NATS_NKEY_FILE", keys.file("ingress")),
        ("CREATE_STREAMS", "false".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", system.traces.endpoint()),
        ("WEBHOOK_SECRETS_PATH", secrets.display().to_string()),
        ("TLS_CERT_FILE", keys.file("tls.crt")),
        ("TLS_KEY_FILE", keys.file("tls.key")),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let believed = reqwest::Certificate::from_pem(keys.authority.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([believed])
        .build()
        .unwrap();
    let mut ingress = Service::new(
        ServiceKind::Ingress,
        program::bellhop().unwrap(),
        variables.into(),
        log.clone(),
        client.clone(),
    );
    ingress.start().await.unwrap();
    let url = ingress.url().replace("http://", "https://") + "/webhook";
    let signature = system.reservations.sign(WEBHOOK, body).unwrap();
    let answer = client
        .post(url)
        .header("x-webhook-signature", signature)
        .body(body.to_vec())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    ingress.stop().await.unwrap();
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_private_is_in_logs_traces_facts_reports_or_metrics_at_level_trace() {
    let keys = Keys::new();
    let talkative = TalkativeDestination::start(site::webhook_secret(WEBHOOK)).await;
    let of_kind = |kind: ServiceKind| (kind, "NATS_NKEY_FILE", keys.file(kind.name()));
    let settings = SystemSettings {
        second_webhook: true,
        cluster_token: Some(CLUSTER_TOKEN.to_owned()),
        variables: vec![
            ("LOG_LEVEL", LEVEL.to_owned()),
            ("CREATE_STREAMS", "false".to_owned()),
            ("WEBHOOK_LOG_ENDPOINT", talkative.url.clone()),
        ],
        variables_of: ServiceKind::ALL.map(of_kind).to_vec(),
        ..SystemSettings::default()
    };
    let mut system = System::start_on(keys.broker().await, settings)
        .await
        .unwrap();
    // A bit of everything: success, errors of Metal3 and of the receiver, what can't be read, a wrong signature.
    let fault =
        Fault::provisioning_fails(NAMESPACE, &node(2), "provisioning error", "no boot device");
    system.cluster.inject(fault);
    system.reservations.inject(
        SenderFault::new(FaultKind::InternalError)
            .on(Endpoint::Notifications)
            .times(2),
    );
    let (good, bad) = (
        system.book(MARA, 1).unwrap(),
        system.book(TOMAS, 2).unwrap(),
    );
    system.reservations.announce(good.id).await.unwrap();
    system.reservations.start_event(good.id).await.unwrap();
    system.reservations.start_event(bad.id).await.unwrap();
    system.reservations.degraded(good.id).await.unwrap();
    system
        .reservations
        .batch(&[good.id, bad.id], EventType::EventStart)
        .await
        .unwrap();
    let unreadable = format!(
        r#"{{"eventType":"EVENT_START","webhookId":12,"sshPublicKey":"{}","email":7}}"#,
        MARA.key()
    );
    let sent = system
        .reservations
        .send(WEBHOOK, unreadable.clone())
        .await
        .unwrap();
    assert_eq!(sent.status(), Some(422), "{:?}", sent.outcome);
    let url = system.ingress().url() + "/webhook";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let forged = system
        .reservations
        .sign(SECOND_WEBHOOK, unreadable.as_bytes())
        .unwrap();
    let answer = client
        .post(url)
        .header("x-webhook-signature", forged)
        .body(unreadable)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    system
        .wait_for_notification(&good, "SUCCESS")
        .await
        .unwrap();
    system.wait_for_notification(&bad, "ERROR").await.unwrap();
    system.reservations.end_event(good.id).await.unwrap();
    system.wait_for_fact(&good, "HostReleased").await.unwrap();

    let refused = wait_for(PATIENCE, async || {
        let letters = system.messages("DEAD_LETTERS").await.ok()?;
        let is_refused = |subject: &str| subject.starts_with("dead_letters.notifier.");
        letters
            .iter()
            .any(|it| is_refused(&it.subject))
            .then_some(())
    });
    refused.await.unwrap();
    let first = system.reservations.sent()[0].body.clone();
    let tls_log = over_tls(&system, &keys, &first).await;
    assert!(log_text(&tls_log).contains("webhook"));

    let mut written = in_the_broker(&system).await;
    written.extend(in_the_cluster(&system));
    written.extend(of_broken_files(system.folder(), &keys).await);
    let command = system.command(&["dead-letters", "list"]).await.unwrap();
    assert!(command.status.success(), "{command:?}");
    for output in [command.stdout, command.stderr] {
        let output = String::from_utf8_lossy(&output).into_owned();
        written.push(("the list of dead letters".to_owned(), output));
    }
    for service in system.services() {
        for page in ["/metrics", "/readyz?verbose"] {
            written.push((
                format!("{page} of the {}", service.kind()),
                service.page(page).await.unwrap(),
            ));
        }
        service.stop().await.unwrap();
    }
    written.push(("the broker's log".to_owned(), system.nats.log_text()));
    let logs = system.logs();
    assert_eq!(logs.len(), 4);
    for (path, log) in logs {
        assert!(log.contains("\"level\":\"TRACE\""), "{}", path.display());
        written.push((path.display().to_string(), log));
    }
    let spans = system.traces.spans();
    assert!(!spans.is_empty());
    written.extend(
        spans
            .into_iter()
            .map(|span| (format!("the span {}", span.name), format!("{span:?}"))),
    );

    let private = private(&system, &keys, &talkative);
    assert!(private.len() > 25, "{}", private.len());
    let mut found = Vec::new();
    for (secret, what) in &private {
        for form in forms(secret) {
            for (place, text) in &written {
                if let Some(at) = text.find(&form) {
                    let line = text[..at].lines().next_back().unwrap_or_default();
                    found.push(format!("{what} is in {place}: {line}…"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
