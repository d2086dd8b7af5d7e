//! What must not be done is refused.

use std::future::IntoFuture as _;

use async_nats::{Client, Event, HeaderMap};
use bellhop_event_store::ConsumerLimits;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// Someone who has got hold of a user's key.
pub(super) struct Intruder {
    user: User,
    prefix: Option<&'static str>,
    client: Client,
    errors: UnboundedReceiver<String>,
}

impl Intruder {
    pub(super) async fn as_user(broker: &Broker, user: User) -> Self {
        let (sender, errors) = unbounded_channel();
        let client = broker
            .connect_options(user)
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    // Nobody listens any more when the test is over.
                    let _ = sender.send(error.to_string());
                }
                std::future::ready(())
            })
            .connect(broker.server.url())
            .await
            .unwrap();
        Self {
            user,
            prefix: broker.prefix,
            client,
            errors,
        }
    }

    /// What has these names without a prefix, under those of its installation.
    async fn is_refused_to_publish(&mut self, subject: &str) {
        let subject = prefix::named(self.prefix, subject);
        self.is_refused_to_publish_exactly(&subject).await;
    }

    pub(super) async fn is_refused_to_publish_exactly(&mut self, subject: &str) {
        self.client
            .publish(subject.to_owned(), "{}".into())
            .await
            .unwrap();
        self.refusal("publish", subject).await;
    }

    async fn is_refused_to_hear(&mut self, subject: &str) {
        let subject = &prefix::named(self.prefix, subject);
        let _messages = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.refusal("subscription", subject).await;
    }

    async fn refusal(&mut self, what: &str, subject: &str) {
        let error = tokio::time::timeout(PATIENCE, self.errors.recv()).await;
        let error = error.unwrap_or_else(|_| panic!("{:?} may {what} {subject}", self.user));
        let error = error.unwrap().to_lowercase();
        assert!(
            error.contains(what) && error.contains(&format!("\"{}\"", subject.to_lowercase())),
            "{:?}, {what} {subject}: {error}",
            self.user
        );
    }
}

/// Someone with a user's key who hears what that user is answered.
async fn client_of(broker: &Broker, user: User) -> Client {
    broker
        .connect_options(user)
        .custom_inbox_prefix(format!("_INBOX.{}", user.client_name()))
        .connect(broker.server.url())
        .await
        .unwrap()
}

/// What no service may do: look at, change or remove whole streams, or take what others wait for.
const NO_SERVICE: [&str; 19] = [
    "dead_letters.erasures",
    "$JS.API.STREAM.CREATE.LEDGER",
    "$JS.API.STREAM.UPDATE.DELIVERIES",
    "$JS.API.STREAM.DELETE.LEDGER",
    "$JS.API.STREAM.DELETE.DEAD_LETTERS",
    "$JS.API.STREAM.PURGE.LEDGER",
    "$JS.API.STREAM.PURGE.DELIVERIES",
    "$JS.API.STREAM.PURGE.KV_REPORTS",
    "$JS.API.STREAM.MSG.DELETE.LEDGER",
    "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS",
    "$JS.API.STREAM.SNAPSHOT.LEDGER",
    "$JS.API.STREAM.RESTORE.LEDGER",
    "$JS.API.CONSUMER.DELETE.LEDGER.notifier-notification",
    // Where the name stands in the request it may be that of another's consumer.
    "$JS.API.CONSUMER.CREATE.LEDGER",
    "$JS.API.CONSUMER.CREATE.DELIVERIES",
    "$JS.API.CONSUMER.CREATE.DEAD_LETTERS",
    "$JS.API.CONSUMER.DURABLE.CREATE.LEDGER.notifier-notification",
    "$JS.API.CONSUMER.DURABLE.CREATE.DELIVERIES.provisioner",
    "$JS.API.CONSUMER.DURABLE.CREATE.DEAD_LETTERS.notifier-replays-notification",
];

/// What operators say.
const OPERATORS_WORD: [&str; 3] = [
    "deliveries.operator.=unknown.baremetalhost.node01",
    "dead_letters.verdicts.1",
    "dead_letters.replays.notification",
];

#[tokio::test]
async fn an_ingress_can_read_nothing_and_write_nothing_but_webhooks() {
    an_ingress_is_kept_to_its_job(&Broker::with_streams().await).await;
}

async fn an_ingress_is_kept_to_its_job(broker: &Broker) {
    let mut ingress = Intruder::as_user(broker, User::Ingress).await;
    for subject in [
        "ledger.baremetalhost.metal3.node01",
        "dead_letters.notifier.report.notification",
        "$KV.REPORTS.a",
        "$O.SNAPSHOTS.M.a",
        "$JS.API.STREAM.MSG.GET.LEDGER",
        "$JS.API.STREAM.MSG.GET.DELIVERIES",
        "$JS.API.STREAM.MSG.GET.DEAD_LETTERS",
        "$JS.API.DIRECT.GET.DELIVERIES",
        "$JS.API.DIRECT.GET.LEDGER",
        "$JS.API.CONSUMER.CREATE.DELIVERIES.mine",
        "$JS.API.CONSUMER.CREATE.LEDGER.mine",
        "$JS.API.CONSUMER.MSG.NEXT.DELIVERIES.provisioner",
        "$JS.ACK.DELIVERIES.provisioner.1.1.1.1.0",
        "$JS.API.STREAM.MSG.DELETE.DELIVERIES",
    ]
    .into_iter()
    .chain(OPERATORS_WORD)
    .chain(NO_SERVICE)
    {
        ingress.is_refused_to_publish(subject).await;
    }
    for subject in [
        ">",
        "deliveries.>",
        "ledger.>",
        "dead_letters.>",
        "$JS.API.>",
        "_INBOX.>",
        "_INBOX.bellhop-provisioner.>",
    ] {
        ingress.is_refused_to_hear(subject).await;
    }
}

/// Looking at a stream is looking at its subjects.
#[tokio::test]
async fn an_ingress_learns_which_resources_webhooks_were_about_and_nothing_of_their_content() {
    let broker = Broker::with_streams().await;
    let administrator = client_of(&broker, User::Administrator).await;
    let subject = "deliveries.operators.=unknown.baremetalhost.node01";
    let context = async_nats::jetstream::new(administrator);
    let stored = context.publish(subject, "mara@uni.example".into()).await;
    within(stored.unwrap().into_future()).await.unwrap();

    let ingress = client_of(&broker, User::Ingress).await;
    let everything = r#"{"subjects_filter": ">", "deleted_details": true}"#;
    let answer = ingress.request("$JS.API.STREAM.INFO.DELIVERIES", everything.into());
    let answer = within(answer).await.unwrap();
    let answer = String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(
        answer.contains(&format!(r#""subjects":{{"{subject}":1}}"#)),
        "{answer}"
    );
    assert!(!answer.contains("mara"), "{answer}");
}

#[tokio::test]
async fn a_notifier_can_write_no_facts_and_read_no_webhooks() {
    a_notifier_is_kept_to_its_job(&Broker::with_streams().await).await;
}

async fn a_notifier_is_kept_to_its_job(broker: &Broker) {
    let mut notifier = Intruder::as_user(broker, User::Notifier).await;
    for subject in [
        "ledger.baremetalhost.metal3.node01",
        "deliveries.reservation-system.=unknown.baremetalhost.node01",
        "dead_letters.provisioner.delivery.reservation-system",
        "$O.SNAPSHOTS.M.a",
        "$JS.API.STREAM.MSG.GET.DELIVERIES",
        "$JS.API.STREAM.MSG.GET.DEAD_LETTERS",
        "$JS.API.STREAM.MSG.GET.OBJ_SNAPSHOTS",
        "$JS.API.DIRECT.GET.DELIVERIES",
        "$JS.API.CONSUMER.CREATE.DELIVERIES.provisioner",
        "$JS.API.CONSUMER.CREATE.DEAD_LETTERS.mine",
        "$JS.API.CONSUMER.CREATE.DEAD_LETTERS.notifier-replays-notification",
        "$JS.API.CONSUMER.CREATE.DEAD_LETTERS.notifier-replays-notification.dead_letters.>",
        "$JS.API.CONSUMER.MSG.NEXT.DELIVERIES.provisioner",
        "$JS.ACK.DELIVERIES.provisioner.1.1.1.1.0",
        "$JS.API.STREAM.MSG.DELETE.DELIVERIES",
        "$JS.API.STREAM.MSG.DELETE.KV_REPORTS",
    ]
    .into_iter()
    .chain(OPERATORS_WORD)
    .chain(NO_SERVICE)
    {
        notifier.is_refused_to_publish(subject).await;
    }
    for subject in [
        ">",
        "deliveries.>",
        "dead_letters.>",
        "_INBOX.bellhop-ingress.>",
    ] {
        notifier.is_refused_to_hear(subject).await;
    }
}

#[tokio::test]
async fn a_provisioner_can_remove_nothing_from_the_ledger_and_touch_no_reports() {
    a_provisioner_is_kept_to_its_job(&Broker::with_streams().await).await;
}

async fn a_provisioner_is_kept_to_its_job(broker: &Broker) {
    let mut provisioner = Intruder::as_user(broker, User::Provisioner).await;
    for subject in [
        "deliveries.reservation-system.=unknown.baremetalhost.node01",
        "dead_letters.ingress.delivery.reservation-system",
        "$KV.REPORTS.a",
        "$JS.API.STREAM.MSG.GET.KV_REPORTS",
        "$JS.API.STREAM.MSG.GET.DEAD_LETTERS",
        "$JS.API.CONSUMER.CREATE.DEAD_LETTERS.mine",
        "$JS.API.CONSUMER.CREATE.KV_REPORTS",
        "$JS.API.CONSUMER.CREATE.KV_REPORTS.mine",
        "$JS.API.CONSUMER.CREATE.LEDGER.notifier-notification",
        "$JS.API.CONSUMER.CREATE.LEDGER.notifier-notification.ledger.*.*.*",
        "$JS.API.CONSUMER.CREATE.LEDGER.notifier-webhook-log",
        "$JS.API.CONSUMER.MSG.NEXT.LEDGER.notifier-notification",
        "$JS.API.CONSUMER.MSG.NEXT.LEDGER.notifier-webhook-log",
        "$JS.ACK.LEDGER.notifier-notification.1.1.1.1.0",
        "$JS.API.STREAM.DELETE.OBJ_SNAPSHOTS",
    ]
    .into_iter()
    .chain(OPERATORS_WORD)
    .chain(NO_SERVICE)
    {
        provisioner.is_refused_to_publish(subject).await;
    }
    for subject in [">", "dead_letters.>", "_INBOX.bellhop-notifier.>"] {
        provisioner.is_refused_to_hear(subject).await;
    }
}

#[tokio::test]
async fn an_operator_can_neither_write_the_ledger_nor_remove_a_stream() {
    an_operator_is_kept_to_their_job(&Broker::with_streams().await).await;
}

async fn an_operator_is_kept_to_their_job(broker: &Broker) {
    let mut operator = Intruder::as_user(broker, User::Operator).await;
    let only_dead_letters = "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS";
    for subject in [
        "ledger.baremetalhost.metal3.node01",
        "dead_letters.ingress.delivery.reservation-system",
        "$KV.REPORTS.a",
        "$O.SNAPSHOTS.M.a",
        "$JS.API.STREAM.MSG.DELETE.DELIVERIES",
        "$JS.API.CONSUMER.CREATE.DELIVERIES.mine",
        "$JS.API.CONSUMER.CREATE.DEAD_LETTERS.mine",
        "$JS.API.CONSUMER.CREATE.LEDGER.notifier-notification",
        "$JS.API.CONSUMER.CREATE.LEDGER.notifier-notification.ledger.*.*.*",
        "$JS.API.CONSUMER.CREATE.LEDGER.notifier-webhook-log",
        "$JS.API.CONSUMER.MSG.NEXT.DELIVERIES.provisioner",
        "$JS.API.CONSUMER.MSG.NEXT.LEDGER.notifier-notification",
        "$JS.ACK.DELIVERIES.provisioner.1.1.1.1.0",
    ]
    .into_iter()
    .chain(NO_SERVICE.into_iter().filter(|it| *it != only_dead_letters))
    {
        operator.is_refused_to_publish(subject).await;
    }
}

/// A consumer may be told to repeat what it reads under any subject, as nobody in particular. Those who may make one of the
/// ledger can't have it write to the ledger so.
#[tokio::test]
async fn nobody_gets_facts_into_the_ledger_by_way_of_a_consumer() {
    use bellhop_domain::id::Version;

    let broker = Broker::with_streams().await;
    let store = broker.store(User::Administrator).await;
    for user in [User::Provisioner, User::Notifier, User::Operator] {
        let intruder = client_of(&broker, user).await;
        let request = r#"{"stream_name": "LEDGER", "config": {"name": "mine", "deliver_subject": "ledger.baremetalhost.metal3.node01", "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant"}}"#;
        let answer = intruder.request("$JS.API.CONSUMER.CREATE.LEDGER.mine", request.into());
        let answer = within(answer).await.unwrap();
        let answer = String::from_utf8(answer.payload.to_vec()).unwrap();
        assert!(answer.contains("cycle"), "{answer}");
    }
    assert_eq!(store.ledger_end().await.unwrap(), Version(0));
}

/// Who may make a consumer may not make one under another name than the one that the broker checks.
#[tokio::test]
async fn nobody_changes_a_consumer_that_another_service_reads_from() {
    let broker = Broker::with_streams().await;
    let notifier = broker.store(User::Notifier).await;
    let mut entries = notifier.ledger_consumer("notifier-notification", ConsumerLimits::default());
    entries.open().await.unwrap();
    for user in [User::Provisioner, User::Operator] {
        let client = client_of(&broker, user).await;
        let request = r#"{"stream_name": "LEDGER", "config": {"name": "notifier-notification", "deliver_policy": "all", "ack_policy": "explicit", "filter_subject": "ledger.capacity"}}"#;
        for refused in [
            "$JS.API.CONSUMER.CREATE.LEDGER",
            "$JS.API.CONSUMER.DURABLE.CREATE.LEDGER.notifier-notification",
            "$JS.API.CONSUMER.CREATE.LEDGER.notifier-notification",
        ] {
            client.publish(refused, request.into()).await.unwrap();
        }
        // Under this subject it is one of its own, whatever the request says.
        let answer = client.request("$JS.API.CONSUMER.CREATE.LEDGER.mine", request.into());
        within(answer).await.unwrap();
    }
    let administrator = client_of(&broker, User::Administrator).await;
    let info = "$JS.API.CONSUMER.INFO.LEDGER.notifier-notification";
    let info = within(administrator.request(info, "".into()))
        .await
        .unwrap();
    let info = String::from_utf8(info.payload.to_vec()).unwrap();
    assert!(
        info.contains(r#""filter_subject":"ledger.*.*.*""#),
        "{info}"
    );
}

/// With this header a message of one key would erase all others.
#[tokio::test]
async fn a_notifier_erases_no_report_but_the_one_that_it_writes() {
    let broker = Broker::with_streams().await;
    let client = client_of(&broker, User::Notifier).await;
    let context = async_nats::jetstream::new(client);
    let publish = async |headers: HeaderMap| {
        let stored = context
            .publish_with_headers("$KV.REPORTS.a", headers, "{}".into())
            .await;
        within(stored.unwrap().into_future()).await
    };
    publish(HeaderMap::new()).await.unwrap();
    for what in ["all", "sub"] {
        let refused = publish(HeaderMap::from_iter([(
            "Nats-Rollup".parse().unwrap(),
            what.parse().unwrap(),
        )]))
        .await;
        let error = refused.unwrap_err();
        assert!(format!("{error:?}").contains("rollup"), "{error:?}");
    }
}

/// All that each is refused.
pub(super) async fn each_user_is_kept_to_its_job(broker: &Broker) {
    an_ingress_is_kept_to_its_job(broker).await;
    a_notifier_is_kept_to_its_job(broker).await;
    a_provisioner_is_kept_to_its_job(broker).await;
    an_operator_is_kept_to_their_job(broker).await;
}

#[tokio::test]
async fn whoever_has_no_key_is_turned_away() {
    let broker = Broker::with_streams().await;
    assert!(async_nats::connect(broker.server.url()).await.is_err());
    let stranger = nkeys::KeyPair::new_user().seed().unwrap();
    let connected = ConnectOptions::with_nkey(stranger)
        .connect(broker.server.url())
        .await;
    assert!(connected.is_err());
}
