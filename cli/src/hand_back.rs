//! The way back to the service before Bellhop: free hosts are switched on again, as it needs them.

use std::io::Write;

use bellhop_domain::id::ResourceId;
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Desired, Occupancy, Resource, Scope, desired};
use bellhop_event_store::EventStore;
use bellhop_operators::OperatorOrder;
use bellhop_service::one_line;

use crate::Failure;
use crate::adopt::refuse_in_a_shadow;
use crate::orders::{self, Says};

/// Which hosts are handed back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HandBackSettings {
    #[command(flatten)]
    says: Says,

    /// Only this host; again for more of them. All that are free without it
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

pub(crate) async fn hand_back(settings: HandBackSettings) -> Result<(), Failure> {
    refuse_in_a_shadow(&settings.says)?;
    let store = EventStore::connect(settings.says.event_store(), "bellhop-operator").await?;
    let ledger = orders::fold(&store).await?;
    let (free, in_use) = if settings.hosts.is_empty() {
        all(&ledger)
    } else {
        (named(&settings.hosts, &ledger)?, Vec::new())
    };
    let mut out = std::io::stdout();
    for (resource, why) in in_use {
        writeln!(
            out,
            "{}",
            one_line(&format!("left alone: {resource}: {why}"))
        )?;
    }
    if free.is_empty() {
        writeln!(out, "no host is free")?;
    }
    for resource in free {
        let order = OperatorOrder::HandBack { resource };
        orders::say_one(&store, &ledger, &settings.says, order).await?;
    }
    Ok(())
}

/// All resources that are free, and why the others are not.
fn all(ledger: &Ledger) -> (Vec<ResourceId>, Vec<(ResourceId, String)>) {
    let (mut free, mut in_use) = (Vec::new(), Vec::new());
    let resources = ledger.resources();
    for (id, resource) in resources.filter(|(id, _)| !Scope::covers_more_than(id)) {
        match why_not_free(resource) {
            None => free.push(id.clone()),
            Some(why) => in_use.push((id.clone(), why)),
        }
    }
    free.sort();
    in_use.sort();
    (free, in_use)
}

fn named(names: &[String], ledger: &Ledger) -> Result<Vec<ResourceId>, Failure> {
    let mut free = Vec::new();
    for name in names {
        let id = orders::resource(name, ledger)?;
        let why = match ledger.resource(&id) {
            None => Some("no reservation ever had it, so Bellhop did not switch it off".to_owned()),
            Some(resource) => why_not_free(resource),
        };
        if let Some(why) = why {
            return Err(one_line(&format!("{id} is not handed back: {why}")).into());
        }
        if !free.contains(&id) {
            free.push(id);
        }
    }
    Ok(free)
}

/// Who has a resource or waits for it.
fn why_not_free(resource: &Resource) -> Option<String> {
    match &resource.occupancy {
        Occupancy::Held(holding) => Some(format!("{} has it", holding.reservation)),
        Occupancy::Releasing(release) => {
            Some(format!("it is being given back by {}", release.reservation))
        }
        Occupancy::Free => match desired(resource) {
            Desired::Nothing | Desired::SwitchOn => None,
            _ => Some("a reservation waits for it".to_owned()),
        },
    }
}
