//! What the outside sees of a running system and says to it: what a user reads, what an operator looks at, and words of the
//! sender that its own interface has no button for.

use bellhop_simulator::cluster::Write;
use bellhop_simulator::reservation_system::{Booking, Notification};
use jiff::Timestamp;
use serde_json::Value;

use crate::service::ServiceKind;
use crate::site::{self, NAMESPACE, Person, node};
use crate::system::{HarnessError, System};
use crate::{PATIENCE, wait_for};

impl System {
    /// Waits until a booking's user reads a notification of this event type (`PROVISIONING_WAITING` and so on).
    pub async fn wait_for_told(&self, booking: &Booking, event_type: &str) -> Option<Notification> {
        let id = booking.id.to_string();
        let fits = |it: &Notification| {
            it.event_id.as_deref() == Some(id.as_str())
                && it.event_type.as_deref() == Some(event_type)
        };
        self.reservations
            .wait_for_notification(PATIENCE, fits)
            .await
    }

    /// All that was read about a booking so far: type and event type, the oldest first.
    pub fn told(&self, booking: &Booking) -> Vec<(String, String)> {
        let id = booking.id.to_string();
        let about = self.reservations.notifications().into_iter();
        about
            .filter(|it| it.event_id.as_deref() == Some(id.as_str()))
            .map(|it| (it.kind, it.event_type.unwrap_or_default()))
            .collect()
    }

    /// A booking that begins in a minute, whose start is sent.
    ///
    /// # Errors
    /// There is no such server, or no webhook.
    pub async fn started(&self, person: Person, server: i64) -> Result<Booking, HarnessError> {
        let booking = self.book(person, server)?;
        self.reservations.start_event(booking.id).await?;
        Ok(booking)
    }

    /// The same; its user has read that it is ready when this returns.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// It isn't ready within [`PATIENCE`].
    pub async fn ready(&self, person: Person, server: i64) -> Result<Booking, HarnessError> {
        let booking = self.started(person, server).await?;
        let told = self.wait_for_told(&booking, "PROVISIONING_COMPLETED").await;
        assert!(told.is_some(), "{} is not ready", node(server));
        Ok(booking)
    }

    /// Sends an update of a booking that its user's own buttons could not: `change` gets what the sender said of it when it was
    /// made, as an update of now.
    ///
    /// # Errors
    /// There is no such booking.
    ///
    /// # Panics
    /// What the sender says is not what the contract says.
    pub async fn update_as(
        &self,
        booking: &Booking,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), HarnessError> {
        let made = self.reservations.announce(booking.id).await?;
        let body = &made.first().expect("there is a webhook").body;
        let mut body: Value = serde_json::from_slice(body).expect("what the sender says is JSON");
        let now = Value::String(Timestamp::now().to_string());
        body["eventType"] = "EVENT_UPDATED".into();
        body["timestamp"] = now.clone();
        body["data"]["updatedAt"] = now;
        change(&mut body);
        self.reservations
            .send(site::WEBHOOK, body.to_string())
            .await?;
        Ok(())
    }

    /// The reservations that claimed a host, in the order of the cluster's record of writes.
    pub fn claims(&self, number: i64) -> Vec<String> {
        let writes = self.cluster.writes_to_host(NAMESPACE, &node(number));
        let claimed = |write: &Write| {
            let by = site::text(&write.body, "/spec/consumerRef/name");
            (write.was_accepted() && !by.is_empty()).then(|| by.to_owned())
        };
        writes.iter().filter_map(claimed).collect()
    }

    /// Whether a booking's reservation has the host, by its `consumerRef`.
    pub fn has(&self, booking: &Booking, number: i64) -> bool {
        site::text(&self.host(number), "/spec/consumerRef/name")
            .ends_with(&format!(":{}", booking.id))
    }

    /// What each provisioner's `/readyz?verbose` says that answers.
    pub async fn shown(&mut self) -> Vec<String> {
        let mut pages = Vec::new();
        for provisioner in self.all(ServiceKind::Provisioner) {
            pages.extend(provisioner.page("/readyz?verbose").await);
        }
        pages
    }

    /// Waits until a line of a provisioner's `/readyz?verbose` holds all these texts; none if it doesn't within [`PATIENCE`].
    pub async fn wait_for_shown(&mut self, texts: &[&str]) -> Option<String> {
        let fits = |line: &&str| texts.iter().all(|text| line.contains(text));
        wait_for(PATIENCE, async || {
            let pages = self.shown().await;
            let line = pages.iter().flat_map(|page| page.lines()).find(fits);
            line.map(str::to_owned)
        })
        .await
    }

    /// Waits until no line of any holds all these texts; whether that is so within [`PATIENCE`].
    pub async fn wait_for_not_shown(&mut self, texts: &[&str]) -> bool {
        let fits = |line: &str| texts.iter().all(|text| line.contains(text));
        let gone = wait_for(PATIENCE, async || {
            let pages = self.shown().await;
            let is_on = pages.iter().flat_map(|page| page.lines()).any(fits);
            (!pages.is_empty() && !is_on).then_some(())
        });
        gone.await.is_some()
    }

    /// Runs a command of an operator called `ada` to its end, and gives what it printed.
    ///
    /// # Errors
    /// The program can't be started.
    ///
    /// # Panics
    /// It refuses.
    pub async fn say(&self, words: &[&str]) -> Result<String, HarnessError> {
        let why = ["--by", "ada", "--reason", "a test"];
        let output = self.command(&[words, &why].concat()).await?;
        assert!(output.status.success(), "{words:?}: {output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
