//! A reservation system: sends what the real one sends, and receives callbacks with the real one's checks.
//!
//! ```text
//!   book, announce, start, end, …  ──▶ payload ──▶ signature ──▶ POST to each webhook: one attempt, never again
//!   the scheduler, with the real windows ──▲
//!
//!   POST /api/notifications/webhook ──▶ fault? ──▶ checks in the real order ──▶ kept: notifications, refused, …
//!   POST /api/webhooks/log          ──▶
//! ```
//!
//! What is modelled is what the wire shows: two senders with two forms, no retries, an early start, ends that come
//! once within a minute or never, strict callbacks whose answers don't tell a lasting fault from a passing one. What
//! isn't: users' rights, conflicts of bookings (two may overlap here, so that a test can ask for it), batches of the
//! scheduler. It depends on no other part of Bellhop: it signs and checks by itself.
//!
//! A process drives it over HTTP under `/simulator/`: see [`control`].

mod callback;
pub mod control;
mod fault;
mod model;
mod payload;
mod record;
mod scheduler;
mod send;
mod server;
mod settings;
mod signature;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use fault::{Endpoint, Fault, FaultKind};
pub use model::{Booking, BookingChange, EventType, NewBooking, Resource, User, Webhook};
pub use record::{Notification, Outcome, Received, Sent, WebhookLog};
pub use scheduler::SchedulerSettings;
pub use settings::Settings;

use state::State;

/// Where notifications are posted to.
const NOTIFICATION_PATH: &str = "/api/notifications/webhook";
/// Where webhook log entries are posted to.
const WEBHOOK_LOG_PATH: &str = "/api/webhooks/log";

/// A running reservation system. Clones are the same one; when the last is dropped it stops.
#[derive(Clone)]
pub struct ReservationSystem {
    core: Arc<Core>,
    /// What our own tasks hold lacks it, so that they don't keep us alive.
    _life: Option<Arc<DropGuard>>,
}

struct Core {
    address: SocketAddr,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    client: reqwest::Client,
    listening: tokio::sync::Mutex<Option<server::Listening>>,
    life: CancellationToken,
}

/// Why something can't be done.
#[derive(Debug, thiserror::Error)]
pub enum ReservationSystemError {
    /// The address is taken, or isn't ours.
    #[error("can't listen on {address}: choose another address, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Client(#[source] reqwest::Error),
    /// There is no such booking (any more).
    #[error("there is no booking {0}")]
    UnknownBooking(i64),
    /// There is no such resource.
    #[error("there is no resource {0}")]
    UnknownResource(String),
    /// There is no such webhook.
    #[error("there is no webhook {0}")]
    UnknownWebhook(u64),
}

impl ReservationSystem {
    /// Starts one; it answers when this returns.
    ///
    /// # Errors
    /// Where the address can't be listened on.
    pub async fn start(settings: Settings) -> Result<Self, ReservationSystemError> {
        // reqwest has no cryptography of its own here; whoever came first in this process has chosen.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let client = send::client().map_err(ReservationSystemError::Client)?;
        let (listener, address) = server::bind(settings.listen).await?;
        let life = CancellationToken::new();
        let system = Self {
            core: Arc::new(Core {
                address,
                state: Mutex::new(settings.state(Timestamp::now())),
                changed: watch::Sender::new(()),
                client,
                listening: tokio::sync::Mutex::new(None),
                life: life.clone(),
            }),
            _life: Some(Arc::new(life.drop_guard())),
        };
        *system.core.listening.lock().await = Some(server::serve(&system, listener));
        if let Some(scheduler) = settings.scheduler {
            system.run_scheduler(scheduler);
        }
        Ok(system)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.core.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.core.address)
    }

    /// What `NOTIFICATION_ENDPOINT` is set to.
    pub fn notification_endpoint(&self) -> String {
        self.url() + NOTIFICATION_PATH
    }

    /// What `WEBHOOK_LOG_ENDPOINT` is set to.
    pub fn webhook_log_endpoint(&self) -> String {
        self.url() + WEBHOOK_LOG_PATH
    }

    /// Goes down: the port is closed, every connection is cut. What it knows stays; it still sends.
    pub async fn stop(&self) {
        if let Some(listening) = self.core.listening.lock().await.take() {
            listening.stop().await;
        }
    }

    /// Comes back on the same port. Nothing happens where it is up.
    ///
    /// # Errors
    /// Where someone else took the port.
    pub async fn start_listening(&self) -> Result<(), ReservationSystemError> {
        let mut listening = self.core.listening.lock().await;
        if listening.is_none() {
            let (listener, _) = server::bind(self.core.address).await?;
            *listening = Some(server::serve(self, listener));
        }
        Ok(())
    }

    /// Adds a webhook, or puts it in the place of the one with its number.
    pub fn put_webhook(&self, webhook: Webhook) {
        self.state().webhooks.insert(webhook.id, webhook);
    }

    /// Deletes a webhook: its callbacks are refused from now on.
    pub fn remove_webhook(&self, id: u64) {
        self.state().webhooks.remove(&id);
    }

    /// Adds a user, or puts them in the place of the one with their id.
    pub fn put_user(&self, user: User) {
        self.state().users.insert(user.id.clone(), user);
    }

    /// Forgets a user: only the id is sent from now on, and notifications are answered 500.
    pub fn remove_user(&self, id: &str) {
        self.state().users.remove(id);
    }

    /// Adds a resource, or puts it in the place of the one with its number.
    pub fn put_resource(&self, resource: Resource) {
        self.state().resources.insert(resource.id, resource);
    }

    /// Makes a booking and tells no one: [`announce`](Self::announce) does.
    ///
    /// # Errors
    /// Where the resource isn't known.
    pub fn book(&self, booking: NewBooking) -> Result<Booking, ReservationSystemError> {
        self.state().book(booking, Timestamp::now())
    }

    /// All bookings that aren't deleted.
    pub fn bookings(&self) -> Vec<Booking> {
        self.state().bookings.values().cloned().collect()
    }

    /// The webhooks that were sent, the oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.to_vec()
    }

    /// Every callback that came, the oldest first, whatever became of it.
    pub fn received(&self) -> Vec<Received> {
        self.state().received.to_vec()
    }

    /// The callbacks that came and were answered with something else than a 2xx, or not at all.
    pub fn refused(&self) -> Vec<Received> {
        self.state()
            .received
            .iter()
            .filter(|received| received.was_refused())
            .cloned()
            .collect()
    }

    /// The notifications that users see: accepted ones, also those whose answer was lost.
    pub fn notifications(&self) -> Vec<Notification> {
        self.state().notifications.to_vec()
    }

    /// The log entries that administrators see: accepted ones, also those whose answer was lost.
    pub fn webhook_logs(&self) -> Vec<WebhookLog> {
        self.state().webhook_logs.to_vec()
    }

    /// Waits for the first notification that fits; one that is there already counts. `None` when `limit` is over.
    pub async fn wait_for_notification(
        &self,
        limit: Duration,
        fits: impl Fn(&Notification) -> bool,
    ) -> Option<Notification> {
        self.wait_for(limit, |state| {
            state.notifications.iter().find(|it| fits(it)).cloned()
        })
        .await
    }

    /// Waits for the first log entry that fits; one that is there already counts. `None` when `limit` is over.
    pub async fn wait_for_webhook_log(
        &self,
        limit: Duration,
        fits: impl Fn(&WebhookLog) -> bool,
    ) -> Option<WebhookLog> {
        self.wait_for(limit, |state| {
            state.webhook_logs.iter().find(|it| fits(it)).cloned()
        })
        .await
    }

    /// Waits for the first callback that isn't accepted and fits. `None` when `limit` is over.
    pub async fn wait_for_refused(
        &self,
        limit: Duration,
        fits: impl Fn(&Received) -> bool,
    ) -> Option<Received> {
        let refused = |it: &&Received| it.was_refused() && fits(it);
        self.wait_for(limit, |state| state.received.iter().find(refused).cloned())
            .await
    }

    /// Tells of every change: something was sent, came, or was answered.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.core.changed.subscribe()
    }

    /// Makes something go wrong from now on.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.inject(fault);
    }

    /// Nothing goes wrong any more; what hangs keeps hanging.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    async fn wait_for<T>(&self, limit: Duration, look: impl Fn(&State) -> Option<T>) -> Option<T> {
        let mut changed = self.core.changed.subscribe();
        let found = async {
            loop {
                if let Some(found) = look(&self.state()) {
                    return Some(found);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, found).await.ok().flatten()
    }

    /// No panic while it is held leaves it half changed, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.core
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_waiting(&self) {
        self.core.changed.send_replace(());
    }

    /// A clone for a task of our own.
    fn for_a_task(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            _life: None,
        }
    }
}
