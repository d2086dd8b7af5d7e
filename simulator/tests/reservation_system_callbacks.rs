//! The reservation system's receiving side, over real sockets: its checks, their order, its answers, its faults.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bellhop_simulator::reservation_system::{
    Endpoint, Fault, FaultKind, ReservationSystem, Resource, Settings, User, Webhook,
};
use serde_json::{Value, json};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const USER: &str = "9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f";
const LIMIT: Duration = Duration::from_secs(10);

struct Caller {
    system: ReservationSystem,
    client: reqwest::Client,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
    retry_after: Option<String>,
}

impl Answer {
    fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["success"], false);
        body["message"].as_str().unwrap().to_owned()
    }
}

impl Caller {
    async fn start() -> Self {
        let system = ReservationSystem::start(Settings {
            webhooks: vec![
                Webhook::new(12, SECRET, "http://127.0.0.1:9/webhook"),
                Webhook::new(13, "other", "http://127.0.0.1:9/webhook").disabled(),
            ],
            users: vec![User::new(USER, "mara.conti")],
            resources: vec![Resource::server(31, "lab7-node04")],
            ..Settings::default()
        })
        .await
        .unwrap();
        Self {
            system,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn request(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        signature: Option<&str>,
    ) -> reqwest::RequestBuilder {
        let url = match endpoint {
            Endpoint::Notifications => self.system.notification_endpoint(),
            Endpoint::WebhookLog => self.system.webhook_log_endpoint(),
        };
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_vec());
        match signature {
            Some(signature) => request.header("X-Webhook-Signature", signature),
            None => request,
        }
    }

    async fn post(&self, endpoint: Endpoint, body: &[u8], signature: Option<&str>) -> Answer {
        answer_to(self.request(endpoint, body, signature))
            .await
            .unwrap()
    }

    /// Signed with the secret of webhook 12.
    async fn signed(&self, endpoint: Endpoint, body: &Value) -> Answer {
        let body = body.to_string();
        let signature = self.system.sign(12, body.as_bytes()).unwrap();
        self.post(endpoint, body.as_bytes(), Some(&signature)).await
    }

    async fn notify(&self) -> Answer {
        self.signed(Endpoint::Notifications, &notification()).await
    }
}

async fn answer_to(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let retry_after = response
        .headers()
        .get("retry-after")
        .map(|value| value.to_str().unwrap().to_owned());
    Ok(Answer {
        status: response.status().as_u16(),
        body: response.text().await?,
        retry_after,
    })
}

fn notification() -> Value {
    json!({"webhookId": 12, "userId": USER, "message": "Server lab7-node04 is ready.", "type": "SUCCESS"})
}

fn log() -> Value {
    json!({"webhookId": 12, "eventType": "EVENT_START", "payload": "{}", "success": true, "resourceId": 31})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn vector(file: &str) -> Vec<u8> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/reservation-system/tests/vectors/"
    );
    std::fs::read(format!("{folder}{file}")).unwrap()
}

#[tokio::test]
async fn the_example_callbacks_are_accepted_with_their_signatures() {
    let caller = Caller::start().await;
    let body = vector("10-callback-notification.json");
    let signature = "TfE3z2f3Rl7MNpqqz3tEIYirvPxusaFSEumW/o4M4X8=";
    let answer = caller
        .post(Endpoint::Notifications, &body, Some(signature))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let row: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&row["id"], &row["type"], &row["read"]),
        (&json!(1), &json!("SUCCESS"), &json!(false))
    );

    let body = vector("11-callback-webhook-log.json");
    let signature = "YIjr9aqErVhXpdFw4R6EknymAnIlnjtrMPqCQtM981s=";
    let answer = caller
        .post(Endpoint::WebhookLog, &body, Some(signature))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(
        answer.body.contains(SECRET),
        "the real one answers with the secret"
    );

    let notifications = caller.system.notifications();
    assert_eq!(notifications[0].message, "Server lab7-node04 is ready.");
    assert_eq!(notifications[0].event_id.as_deref(), Some("5120"));
    let logs = caller.system.webhook_logs();
    assert_eq!(
        (logs[0].status_code, logs[0].resource_id),
        (Some(200), Some(31))
    );
    assert!(caller.system.refused().is_empty());
}

#[tokio::test]
async fn what_is_printed_of_a_request_holds_no_secret() {
    let caller = Caller::start().await;
    assert_eq!(
        caller.signed(Endpoint::WebhookLog, &log()).await.status,
        201
    );
    let received = caller.system.received();
    assert!(received[0].answer.contains(SECRET));
    assert!(!format!("{received:?}").contains(SECRET));
    assert!(!serde_json::to_string(&received).unwrap().contains(SECRET));
}

#[tokio::test]
async fn the_checks_come_in_the_real_order() {
    let caller = Caller::start().await;
    let at = Endpoint::Notifications;
    // Each body has the faults of all that follow.
    let no_header = caller.post(at, b"not json", None).await;
    assert_eq!(
        (no_header.status, no_header.message().as_str()),
        (401, "Missing signature header")
    );
    let not_json = caller.post(at, b"not json", Some("wrong")).await;
    assert_eq!(
        (not_json.status, not_json.message().as_str()),
        (400, "Invalid JSON payload")
    );
    let unknown_field = caller.post(at, b"{\"userid\":\"x\"}", Some("wrong")).await;
    assert_eq!(
        (unknown_field.status, unknown_field.message().as_str()),
        (400, "Invalid JSON payload")
    );
    let missing = caller.post(at, b"{\"webhookId\":12}", Some("wrong")).await;
    assert_eq!(missing.status, 400);
    let body = with(notification(), "userId", json!("nobody"));
    let wrong = caller
        .post(at, body.to_string().as_bytes(), Some("wrong"))
        .await;
    assert_eq!(
        (wrong.status, wrong.message().as_str()),
        (401, "Invalid signature")
    );
    let unknown_user = caller.signed(at, &body).await;
    assert_eq!(unknown_user.status, 500);
    assert_eq!(
        unknown_user.message(),
        "An error occurred while processing the webhook notification"
    );
    assert_eq!(caller.notify().await.status, 200);

    let refused: Vec<_> = caller
        .system
        .refused()
        .iter()
        .map(|received| received.status.unwrap())
        .collect();
    assert_eq!(refused, [401, 400, 400, 400, 401, 500]);
    assert_eq!(caller.system.notifications().len(), 1);
}

#[tokio::test]
async fn only_an_enabled_webhook_with_a_secret_may_call() {
    let caller = Caller::start().await;
    for (webhook_id, signed_by) in [
        (json!(13), 13),
        (json!(99), 12),
        (json!("twelve"), 12),
        (json!(12), 13),
    ] {
        let body = with(notification(), "webhookId", webhook_id.clone()).to_string();
        let signature = caller.system.sign(signed_by, body.as_bytes()).unwrap();
        let answer = caller
            .post(Endpoint::Notifications, body.as_bytes(), Some(&signature))
            .await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (401, "Invalid signature"),
            "{webhook_id}"
        );
    }
    let answer = caller
        .signed(
            Endpoint::Notifications,
            &with(notification(), "webhookId", json!("12")),
        )
        .await;
    assert_eq!(answer.status, 200, "as text it is the same webhook");
}

#[tokio::test]
async fn a_message_may_have_five_hundred_utf_16_units() {
    let caller = Caller::start().await;
    for (message, status) in [
        ("é".repeat(500), 200),
        ("🦀".repeat(250), 200),
        ("a".repeat(501), 500),
        ("🦀".repeat(251), 500),
    ] {
        let answer = caller
            .signed(
                Endpoint::Notifications,
                &with(notification(), "message", json!(message)),
            )
            .await;
        assert_eq!(answer.status, status, "{}", message.chars().count());
    }
    let blank = caller
        .signed(
            Endpoint::Notifications,
            &with(notification(), "message", json!(" ")),
        )
        .await;
    assert_eq!(blank.status, 400);
}

#[tokio::test]
async fn a_type_that_is_not_known_is_information() {
    let caller = Caller::start().await;
    for kind in [json!("error"), json!("Shout"), json!(""), Value::Null] {
        assert_eq!(
            caller
                .signed(Endpoint::Notifications, &with(notification(), "type", kind))
                .await
                .status,
            200
        );
    }
    let kinds: Vec<_> = caller
        .system
        .notifications()
        .into_iter()
        .map(|it| it.kind)
        .collect();
    assert_eq!(kinds, ["ERROR", "INFO", "INFO", "INFO"]);
}

#[tokio::test]
async fn the_webhook_log_takes_only_what_the_real_one_takes() {
    let caller = Caller::start().await;
    for (field, value, status) in [
        ("eventType", json!("PROVISIONING_COMPLETED"), 400),
        ("payload", json!({"an": "object"}), 400),
        ("payload", json!(""), 400),
        ("success", Value::Null, 400),
        ("success", json!("true"), 201),
        ("resourceId", json!("lab7-node04"), 400),
        ("resourceId", json!("31"), 201),
        ("resourceId", json!(32), 404),
        ("resourceId", Value::Null, 201),
        ("payload", json!("x".repeat(4001)), 500),
        ("response", json!("x".repeat(4001)), 500),
        ("payload", json!("x".repeat(4000)), 201),
        ("metadata", json!([1]), 201),
        ("userId", json!(USER), 400),
    ] {
        let answer = caller
            .signed(Endpoint::WebhookLog, &with(log(), field, value.clone()))
            .await;
        assert_eq!(answer.status, status, "{field} {value}: {}", answer.body);
    }
    let unknown = caller
        .signed(Endpoint::WebhookLog, &with(log(), "resourceId", json!(32)))
        .await;
    assert_eq!(unknown.message(), "Resource not found");
}

#[tokio::test]
async fn a_bearer_token_or_another_content_type_spoils_a_good_callback() {
    let caller = Caller::start().await;
    let body = with(notification(), "message", json!("così")).to_string();
    let signature = caller.system.sign(12, body.as_bytes()).unwrap();
    let request = caller.request(Endpoint::Notifications, body.as_bytes(), Some(&signature));
    assert_eq!(
        answer_to(request.bearer_auth("token"))
            .await
            .unwrap()
            .status,
        401
    );
    let request = caller.client.post(caller.system.notification_endpoint());
    let request = request
        .header("X-Webhook-Signature", &signature)
        .body(body.clone());
    assert_eq!(
        answer_to(request).await.unwrap().status,
        401,
        "not ASCII, and no charset known"
    );
    assert_eq!(
        caller
            .post(Endpoint::Notifications, body.as_bytes(), Some(&signature))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn everything_that_came_is_kept_with_its_trace() {
    let caller = Caller::start().await;
    let body = notification().to_string();
    let signature = caller.system.sign(12, body.as_bytes()).unwrap();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = caller.request(Endpoint::Notifications, body.as_bytes(), Some(&signature));
    answer_to(request.header("traceparent", traceparent))
        .await
        .unwrap();

    let received = &caller.system.received()[0];
    assert_eq!(received.traceparent.as_deref(), Some(traceparent));
    assert_eq!(
        received.header("x-webhook-signature"),
        Some(signature.as_str())
    );
    assert_eq!(
        (received.path.as_str(), received.status),
        ("/api/notifications/webhook", Some(200))
    );
    assert_eq!(received.body, body);
    assert_eq!(
        caller.system.notifications()[0].traceparent.as_deref(),
        Some(traceparent)
    );
}

#[tokio::test]
async fn errors_on_demand_do_no_work_and_pass() {
    let caller = Caller::start().await;
    caller.system.inject(
        Fault::new(FaultKind::InternalError)
            .on(Endpoint::Notifications)
            .times(2),
    );
    caller.system.inject(
        Fault::new(FaultKind::TooManyRequests {
            retry_after_seconds: 7,
        })
        .times(1),
    );
    assert_eq!(caller.notify().await.status, 500);
    assert_eq!(caller.notify().await.status, 500);
    let answer = caller.notify().await;
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (429, Some("7"))
    );
    assert!(caller.system.notifications().is_empty());
    assert_eq!(caller.notify().await.status, 200);
    assert_eq!(caller.system.refused().len(), 3);
}

#[tokio::test]
async fn a_lost_answer_means_that_the_work_was_done() {
    let caller = Caller::start().await;
    caller
        .system
        .inject(Fault::new(FaultKind::LoseAnswer).times(1));
    let body = notification().to_string();
    let signature = caller.system.sign(12, body.as_bytes()).unwrap();
    assert!(
        answer_to(caller.request(Endpoint::Notifications, body.as_bytes(), Some(&signature)))
            .await
            .is_err()
    );
    assert_eq!(caller.system.notifications().len(), 1);
    assert_eq!(caller.system.received()[0].status, None);
    assert_eq!(caller.notify().await.status, 200);
    assert_eq!(
        caller.system.notifications().len(),
        2,
        "the same twice is two rows"
    );
}

#[tokio::test]
async fn a_cut_connection_means_that_no_work_was_done() {
    let caller = Caller::start().await;
    caller
        .system
        .inject(Fault::new(FaultKind::CutConnection).times(1));
    let body = notification().to_string();
    let signature = caller.system.sign(12, body.as_bytes()).unwrap();
    assert!(
        answer_to(caller.request(Endpoint::Notifications, body.as_bytes(), Some(&signature)))
            .await
            .is_err()
    );
    assert!(caller.system.notifications().is_empty());
}

#[tokio::test]
async fn it_goes_down_and_comes_back_on_the_same_port_with_all_it_knew() {
    let caller = Caller::start().await;
    assert_eq!(caller.notify().await.status, 200);
    caller.system.stop().await;
    let body = notification().to_string();
    let signature = caller.system.sign(12, body.as_bytes()).unwrap();
    let request = || caller.request(Endpoint::Notifications, body.as_bytes(), Some(&signature));
    assert!(answer_to(request()).await.unwrap_err().is_connect());
    caller.system.start_listening().await.unwrap();
    assert_eq!(answer_to(request()).await.unwrap().status, 200);
    assert_eq!(caller.system.notifications().len(), 2);
}

#[tokio::test]
async fn a_hanging_request_ends_when_it_goes_down() {
    let caller = Caller::start().await;
    caller.system.inject(Fault::new(FaultKind::Hang));
    let system = caller.system.clone();
    let hanging = tokio::spawn(async move { caller.notify_or_error().await });
    let received = system.wait_for_refused(LIMIT, |_| true).await.unwrap();
    assert_eq!(
        (received.status, received.fault),
        (None, Some(FaultKind::Hang))
    );
    system.stop().await;
    assert!(
        tokio::time::timeout(LIMIT, hanging)
            .await
            .unwrap()
            .unwrap()
            .is_err()
    );
}

impl Caller {
    async fn notify_or_error(&self) -> Result<Answer, reqwest::Error> {
        let body = notification().to_string();
        let signature = self.system.sign(12, body.as_bytes()).unwrap();
        answer_to(self.request(Endpoint::Notifications, body.as_bytes(), Some(&signature))).await
    }
}

#[tokio::test]
async fn a_slow_answer_comes_all_the_same() {
    let caller = Caller::start().await;
    caller
        .system
        .inject(Fault::new(FaultKind::Slow { milliseconds: 30 }).times(1));
    assert_eq!(caller.notify().await.status, 200);
    assert_eq!(
        caller.system.received()[0].fault,
        Some(FaultKind::Slow { milliseconds: 30 })
    );
}

#[tokio::test]
async fn one_can_wait_for_what_is_still_to_come() {
    let caller = Caller::start().await;
    let waiting = caller
        .system
        .wait_for_notification(LIMIT, |it| it.kind == "SUCCESS");
    let (found, answer) = tokio::join!(waiting, caller.notify());
    assert_eq!(answer.status, 200);
    assert_eq!(found.unwrap().message, "Server lab7-node04 is ready.");
    assert!(
        caller
            .system
            .wait_for_webhook_log(Duration::from_millis(10), |_| true)
            .await
            .is_none()
    );
}

#[tokio::test]
async fn faults_can_be_set_over_http() {
    let caller = Caller::start().await;
    let url = format!("{}/simulator/faults", caller.system.url());
    let fault =
        json!({"fault": "too_many_requests", "retry_after_seconds": 3, "on": "notifications"});
    assert_eq!(
        caller
            .client
            .post(&url)
            .json(&fault)
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(caller.notify().await.status, 429);
    assert_eq!(
        caller.client.delete(&url).send().await.unwrap().status(),
        204
    );
    assert_eq!(caller.notify().await.status, 200);
    let seen = caller
        .client
        .get(format!("{}/simulator/notifications", caller.system.url()));
    let seen: Value = seen.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen[0]["kind"], "SUCCESS");
}
