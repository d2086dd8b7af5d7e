//! The three plays, and what must be seen in each.

use bellhop_domain::reservation::Fact;
use bellhop_end_to_end::System;
use bellhop_end_to_end::site::{
    MARA, NAMESPACE, PEOPLE, Person, TOMAS, is_clean, is_provisioned, node, text,
};
use bellhop_simulator::cluster::{HostState, Resource, Verb, Write};
use bellhop_simulator::reservation_system::{Booking, Sent};
use serde_json::Value;
use tokio::time::sleep;

use crate::DemoError;
use crate::narrator::Narrator;
use crate::words::name_of;

/// A step was not seen by the receiver or in the cluster.
#[derive(Debug, thiserror::Error)]
#[error("this step was not seen: {step}")]
pub(crate) struct NotSeen {
    step: String,
}

impl NotSeen {
    /// This step.
    pub(crate) fn new(step: &str) -> Self {
        Self {
            step: step.to_owned(),
        }
    }
}

/// The plays, on a running system.
pub(crate) struct Play<'a> {
    narrator: &'a Narrator,
    system: &'a mut System,
}

impl<'a> Play<'a> {
    pub(crate) fn new(narrator: &'a Narrator, system: &'a mut System) -> Self {
        Self { narrator, system }
    }

    /// All three. Returns the booking of the first.
    pub(crate) async fn all(&mut self) -> Result<Booking, DemoError> {
        self.narrator
            .heading("1  A reservation, from its start to the release of its server");
        let first = self.start_to_release().await?;
        self.narrator.heading(
            "2  A second start while the first reservation still runs: it waits, nothing is touched, then it gets a clean host",
        );
        self.one_after_the_other().await?;
        self.narrator.heading("3  The provisioner is killed with -9 while a host is being prepared; the user hears once");
        self.killed_meanwhile().await?;
        Ok(first)
    }

    async fn start_to_release(&mut self) -> Result<Booking, DemoError> {
        let booking = self.start(MARA, 1).await?;
        self.ready(&booking, MARA, 1).await?;
        let told = self.system.notifications(&booking, "SUCCESS");
        let line = format!("ssh prognose@{}.lab.example", node(1));
        self.step(
            "Mara was told once, with the line to log in",
            told.len() == 1 && told[0].message.contains(&line),
        )
        .await?;
        let log = self.system.wait_for_log(&booking, |log| {
            log.event_type == "EVENT_START"
                && log.success
                && said(log.response.as_deref(), "provisioned")
        });
        let log = log.await.is_some();
        self.step("administrators have it in the webhook log", log)
            .await?;

        self.end(&booking).await?;
        let clean = self.system.wait_for_host(1, is_clean).await.is_some();
        let path = self.system.cluster.state_path(NAMESPACE, &node(1));
        let wiped = path.ends_with(&[HostState::Deprovisioning, HostState::Available]);
        self.step(
            "node01 is clean: no image, available, off and nobody's",
            clean && wiped,
        )
        .await?;
        let gone = bellhop_end_to_end::wait_for(bellhop_end_to_end::PATIENCE, async || {
            self.system
                .cluster
                .secrets(NAMESPACE)
                .is_empty()
                .then_some(())
        });
        let gone = gone.await.is_some();
        self.step("the secret with Mara's key is gone", gone)
            .await?;
        let over = self
            .system
            .wait_for_log(&booking, |log| log.event_type == "EVENT_END" && log.success);
        let over = over.await.is_some();
        self.step("the end is in the webhook log", over).await?;
        Ok(booking)
    }

    async fn one_after_the_other(&mut self) -> Result<(), DemoError> {
        let first = self.start(MARA, 2).await?;
        self.ready(&first, MARA, 2).await?;
        let writes_before = self
            .system
            .cluster
            .writes_to_host(NAMESPACE, &node(2))
            .len();

        let second = self.start(TOMAS, 2).await?;
        let told = self
            .system
            .wait_for_notification(&second, "INFO")
            .await
            .is_some();
        self.step("Tomas was told that his reservation waits", told)
            .await?;
        sleep(bellhop_end_to_end::A_WHILE).await;
        let host = self.system.host(2);
        let untouched = self
            .system
            .cluster
            .writes_to_host(NAMESPACE, &node(2))
            .len()
            == writes_before
            && is_provisioned(&host)
            && text(&host, "/spec/consumerRef/name").ends_with(&format!(":{}", first.id));
        self.step(
            "node02 is still Mara's: nothing was written to it",
            untouched,
        )
        .await?;

        self.end(&first).await?;
        self.ready(&second, TOMAS, 2).await?;
        self.step(
            "node02 was clean before it was claimed for Tomas",
            was_clean_before_each_claim(self.system, 2),
        )
        .await
    }

    async fn killed_meanwhile(&mut self) -> Result<(), DemoError> {
        let host = node(3);
        self.system
            .cluster
            .hold_at(NAMESPACE, &host, HostState::Provisioning);
        let booking = self.start(TOMAS, 3).await?;
        let preparing = self
            .system
            .cluster
            .wait_for_state(NAMESPACE, &host, HostState::Provisioning)
            .await;
        self.step("node03 is being prepared", preparing.is_some())
            .await?;
        let killed = self.system.provisioner().process_id().unwrap_or(0);
        self.system.provisioner().kill()?;
        self.narrator
            .say("demo", &format!("kills the provisioner: kill -9 {killed}"));
        self.narrator.say("demo", "meanwhile Metal3 works on");
        self.system.cluster.let_go(NAMESPACE, &host);
        let alone = self.system.wait_for_host(3, is_provisioned).await.is_some();
        self.step("node03 became ready while nobody watched", alone)
            .await?;
        sleep(bellhop_end_to_end::A_WHILE).await;
        let silent = self.system.notifications(&booking, "SUCCESS").is_empty();
        self.step("nobody told Tomas yet", silent).await?;
        self.system.provisioner().start().await?;
        let started = self.system.provisioner().process_id().unwrap_or(0);
        self.narrator.say(
            "demo",
            &format!("starts a new provisioner: process {started}"),
        );

        self.ready(&booking, TOMAS, 3).await?;
        sleep(bellhop_end_to_end::A_WHILE).await;
        let once = self.system.notifications(&booking, "SUCCESS").len() == 1;
        self.step("Tomas heard of it once", once).await?;
        let claims = claims(self.system, 3).len();
        self.step("node03 was claimed once", claims == 1).await?;
        let facts = self.system.facts(&booking).await?;
        let ready = facts
            .iter()
            .filter(|fact| matches!(fact, Fact::HostProvisioned { .. }))
            .count();
        self.step("the ledger holds one HostProvisioned", ready == 1)
            .await
    }

    /// Books a server and sends the start.
    async fn start(&mut self, person: Person, server: i64) -> Result<Booking, DemoError> {
        let booking = self.system.book(person, server)?;
        self.narrator.names.learn(&booking, person);
        let sent = self.system.reservations.start_event(booking.id).await;
        self.accepted(
            "EVENT_START",
            &sent.map_err(bellhop_end_to_end::HarnessError::from)?,
        )
        .await?;
        Ok(booking)
    }

    async fn end(&mut self, booking: &Booking) -> Result<(), DemoError> {
        let sent = self.system.reservations.end_event(booking.id).await;
        self.accepted(
            "EVENT_END",
            &sent.map_err(bellhop_end_to_end::HarnessError::from)?,
        )
        .await
    }

    async fn accepted(&self, event: &str, sent: &[Sent]) -> Result<(), DemoError> {
        let accepted = !sent.is_empty() && sent.iter().all(|sent| sent.status() == Some(202));
        if accepted {
            return Ok(());
        }
        self.step(&format!("the ingress accepted {event}"), false)
            .await
    }

    /// The host is ready for this person, and the person was told.
    async fn ready(
        &mut self,
        booking: &Booking,
        person: Person,
        server: i64,
    ) -> Result<(), DemoError> {
        let whose = format!(":{}", booking.id);
        let ready = |host: &Value| {
            is_provisioned(host) && text(host, "/spec/consumerRef/name").ends_with(&whose)
        };
        let ready = self.system.wait_for_host(server, ready).await.is_some();
        let told = self.system.wait_for_notification(booking, "SUCCESS").await;
        let (name, host) = (name_of(person), node(server));
        self.step(&format!("{host} runs the image for {name}"), ready)
            .await?;
        let user_data = self.system.user_data_of(server).pop().unwrap_or_default();
        let own = user_data.contains(&person.key());
        let others = PEOPLE
            .iter()
            .any(|other| *other != person && user_data.contains(&other.key()));
        self.step(
            &format!("its user data holds {name}'s key, and no other"),
            own && !others,
        )
        .await?;
        let addressed = told.is_some_and(|told| told.user_id == person.id());
        self.step(&format!("{name} was told that it is ready"), addressed)
            .await
    }

    async fn step(&self, step: &str, seen: bool) -> Result<(), DemoError> {
        if seen {
            self.narrator.seen(step).await;
            return Ok(());
        }
        self.narrator.catch_up().await;
        Err(NotSeen::new(step).into())
    }
}

fn said(response: Option<&str>, text: &str) -> bool {
    response.is_some_and(|response| response.contains(text))
}

/// The writes that claimed a host.
fn claims(system: &System, server: i64) -> Vec<Write> {
    let mut writes = system.cluster.writes_to_host(NAMESPACE, &node(server));
    writes.retain(|write| {
        write.resource == Resource::BareMetalHosts
            && write.verb == Verb::Patch
            && write.was_accepted()
            && write.body.pointer("/spec/consumerRef/name").is_some()
    });
    writes
}

/// By the cluster's records: when each claim was written, the host was available, without an image, and off.
fn was_clean_before_each_claim(system: &System, server: i64) -> bool {
    let states = system.cluster.states(NAMESPACE, &node(server));
    let claims = claims(system, server);
    claims.len() == 2
        && claims.iter().all(|claim| {
            states
                .iter()
                .rfind(|state| state.at <= claim.at)
                .is_some_and(|state| {
                    state.state == Some(HostState::Available)
                        && state.image_url.is_empty()
                        && !state.powered_on
                })
        })
}
