//! Plays Metal3 on a real API server: leads every host of a namespace through the same life that the simulated cluster
//! gives its hosts, by writes to the status and the finalizers alone, as Metal3's operator does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop_simulator::cluster::{HostState, OperatorWrite, WorkFails, next_write};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::requests::{Event, Requests};

/// How long an error stands before it goes on; the real one takes longer for the least thing.
const ERROR_STANDS: Duration = Duration::from_millis(500);

/// Metal3 for one namespace, until it is dropped.
pub(crate) struct Operator {
    wishes: Arc<Mutex<Wishes>>,
    _end: DropGuard,
}

/// What a test wants of Metal3.
#[derive(Default)]
struct Wishes {
    held: HashMap<String, HostState>,
    failing: HashMap<String, (String, u32)>,
}

impl Operator {
    pub(crate) async fn begin(requests: Requests, namespace: &str) -> Self {
        let wishes = Arc::<Mutex<Wishes>>::default();
        let end = CancellationToken::new();
        let life = live(
            requests,
            format!("/apis/metal3.io/v1alpha1/namespaces/{namespace}/baremetalhosts"),
            wishes.clone(),
        );
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = life => {}
            }
        });
        Self {
            wishes,
            _end: end.drop_guard(),
        }
    }

    pub(crate) fn hold_at(&self, name: &str, state: HostState) {
        let mut wishes = self.wishes.lock().unwrap();
        wishes.held.insert(name.to_owned(), state);
    }

    pub(crate) fn let_go(&self, name: &str) {
        self.wishes.lock().unwrap().held.remove(name);
    }

    pub(crate) fn installations_fail(&self, name: &str, message: &str, times: u32) {
        let mut wishes = self.wishes.lock().unwrap();
        wishes
            .failing
            .insert(name.to_owned(), (message.to_owned(), times));
    }
}

/// Level-triggered: an event, or a look from time to time, is a reason to read a host and write what comes next.
async fn live(requests: Requests, hosts: String, wishes: Arc<Mutex<Wishes>>) {
    loop {
        let all = requests.get(&hosts).await;
        for host in all
            .iter()
            .flat_map(|all| all["items"].as_array().into_iter().flatten())
        {
            step(&requests, &hosts, &wishes, host).await;
        }
        let version = all
            .ok()
            .map(|all| all["metadata"]["resourceVersion"].clone());
        let version = version.as_ref().and_then(Value::as_str).unwrap_or_default();
        // A held host that was let go brings no event: a short watch, then a look at all of them.
        let watch = format!("{hosts}?watch=true&timeoutSeconds=1&resourceVersion={version}");
        let Ok(events) = requests.watch(&watch).await else {
            continue;
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            if let Event::Added(host) | Event::Modified(host) = event {
                step(&requests, &hosts, &wishes, &host).await;
            }
        }
    }
}

/// One write. A host that changed meanwhile refuses it, and brings an event of its own.
async fn step(requests: &Requests, hosts: &str, wishes: &Mutex<Wishes>, host: &Value) {
    let name = host["metadata"]["name"].as_str().unwrap_or_default();
    let fails = {
        let wishes = wishes.lock().unwrap();
        if wishes
            .held
            .get(name)
            .copied()
            .is_some_and(|held| HostState::of(host) == Some(held))
        {
            return;
        }
        wishes
            .failing
            .get(name)
            .filter(|(_, times)| *times > 0)
            .cloned()
    };
    let fails = fails.map(|(message, _)| WorkFails { message });
    let version = &host["metadata"]["resourceVersion"];
    let written = match next_write(host, fails.as_ref()) {
        None => return,
        Some(OperatorWrite::Finalizers(finalizers)) => {
            let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
            requests.patch(&format!("{hosts}/{name}"), &patch).await
        }
        Some(OperatorWrite::Status(status)) => {
            // Whole, so that what is not in it goes away.
            let mut whole = host.clone();
            whole["status"] = status;
            requests
                .replace(&format!("{hosts}/{name}/status"), &whole)
                .await
        }
    };
    match written {
        Ok(now) => {
            let new_error = |host: &Value| host["status"]["errorType"] == "provisioning error";
            if new_error(&now) && !new_error(host) {
                if let Some((_, times)) = wishes.lock().unwrap().failing.get_mut(name) {
                    *times -= 1;
                }
                // It works on what failed for a while, where whoever looks sees the error.
                tokio::time::sleep(ERROR_STANDS).await;
            }
        }
        Err(refused) => assert!(
            matches!(refused.code, 404 | 409),
            "the API server refuses what Metal3 writes: {refused:?}"
        ),
    }
}
