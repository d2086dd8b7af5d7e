//! Taking over the hosts that the service before Bellhop prepared, and the way back.
//!
//! Both run with the environment of a provisioner: its broker, its cluster, its image.

use std::io::Write;

use bellhop_domain::id::{ReservationId, ResourceId, SiteId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Desired, Occupancy, Scope, desired};
use bellhop_event_store::{EventStore, Mode};
use bellhop_operators::{AdoptedHost, OperatorOrder};
use bellhop_provisioner::{AdoptableHost, ProvisionerSettings, adoptable_hosts};
use bellhop_service::one_line;
use bellhop_service::settings::parse;
use jiff::Timestamp;

use crate::Failure;
use crate::orders::{self, Says};

/// Which hosts are adopted, and for whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdoptSettings {
    #[command(flatten)]
    says: Says,

    /// Only this host; again for more of them. All that can be adopted without it
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,

    /// Only say what would be adopted
    #[arg(long)]
    dry_run: bool,

    /// The reservation that has the host: `reservation-system:5120`. Without it, the host is held until an end or deletion
    /// comes whose start and end enclose now
    #[arg(long, requires = "until")]
    reservation: Option<ReservationId>,

    /// When that reservation ends, for example 2026-12-03T17:30:00Z
    #[arg(long, requires = "reservation")]
    until: Option<Timestamp>,

    /// The site that the hosts are of, by its id, so that `pause --site` covers them. Without it, what SITE_IDS says of their
    /// namespace; where that is more than one site or unset, a pause of any site covers them until their end comes
    #[arg(long, value_name = "ID")]
    site: Option<String>,
}

/// Which hosts are handed back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HandBackSettings {
    #[command(flatten)]
    says: Says,

    /// Only this host; again for more of them. All that are free without it
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

/// A shadow writes no host, so neither word could ever be carried out there.
fn refuse_in_a_shadow(says: &Says) -> Result<(), Failure> {
    match says.event_store().mode {
        Mode::Live => Ok(()),
        Mode::Shadow => Err("a shadow writes no host: MODE must be live".into()),
    }
}

pub(crate) async fn adopt(settings: AdoptSettings) -> Result<(), Failure> {
    refuse_in_a_shadow(&settings.says)?;
    let provisioner: ProvisionerSettings = parse(["provisioner"])?;
    let store = EventStore::connect(settings.says.event_store(), "bellhop-operator").await?;
    let ledger = orders::fold(&store).await?;
    let mut hosts = adoptable_hosts(&provisioner).await?;
    hosts.retain(|host| !is_held(host, &ledger));
    if let Some(missing) = settings
        .hosts
        .iter()
        .find(|name| !hosts.iter().any(|host| host.host.name == **name))
    {
        return Err(format!(
            "host {missing} can't be adopted: it has another image than PROVISION_IMAGE, other user data than \
             {missing}-userdata, a consumerRef, or is held already"
        )
        .into());
    }
    if !settings.hosts.is_empty() {
        hosts.retain(|host| settings.hosts.contains(&host.host.name));
    }
    if settings.reservation.is_some() && hosts.len() != 1 {
        return Err("--reservation is for one --host".into());
    }
    if settings
        .until
        .is_some_and(|until| until <= Timestamp::now())
    {
        return Err("--until has passed already".into());
    }
    if hosts.is_empty() {
        writeln!(std::io::stdout(), "no host can be adopted")?;
    }
    for host in hosts {
        let reservation = settings.reservation.clone().or(host.reservation.clone());
        let whose = reservation.as_ref().map_or_else(
            || "held until an end comes for it".to_owned(),
            |reservation| format!("for {reservation}"),
        );
        writeln!(
            std::io::stdout(),
            "{}",
            one_line(&format!("{} {} {whose}", host.host, host.image.url))
        )?;
        let obstacle = reservation
            .as_ref()
            .and_then(|reservation| ledger.obstacle_to_adoption(&host.resource, reservation));
        if let Some(obstacle) = obstacle {
            return Err(format!("host {} can't be adopted for it: {obstacle}", host.host).into());
        }
        if settings.dry_run {
            continue;
        }
        let site = site_of(&host, settings.site.as_deref(), &ledger)?;
        let order = OperatorOrder::Adopt(Box::new(AdoptedHost {
            resource: host.resource,
            host: host.host,
            image: host.image,
            secret: host.secret,
            reservation,
            until: settings.until,
            site,
        }));
        orders::say_one(&store, ledger.version(), &settings.says, order).await?;
    }
    Ok(())
}

/// The site that a host is of; none where nobody knows. A wrong name would let through what a pause of the right one is meant
/// for, so none is believed that can't be checked.
fn site_of(
    host: &AdoptableHost,
    said: Option<&str>,
    ledger: &Ledger,
) -> Result<Option<SiteId>, Failure> {
    let Some(said) = said.map(SiteId::new) else {
        return Ok(match host.sites.as_deref() {
            Some([one]) => Some(one.clone()),
            _ => None,
        });
    };
    let known = match &host.sites {
        Some(sites) => sites.clone(),
        None => ledger.sites().cloned().collect(),
    };
    if known.contains(&said) {
        return Ok(Some(said));
    }
    let known: Vec<&str> = known.iter().map(SiteId::as_str).collect();
    let known = match (&host.sites, known.is_empty()) {
        (Some(_), _) => format!("SITE_IDS names {} for its namespace", known.join(", ")),
        (None, false) => format!("webhooks of {} came so far", known.join(", ")),
        (None, true) => "no webhook of any site came so far, so leave --site out".to_owned(),
    };
    Err(one_line(&format!(
        "host {} is not known to be of site {said}: {known}",
        host.host
    ))
    .into())
}

/// A host that the ledger knows somebody to have.
fn is_held(host: &AdoptableHost, ledger: &Ledger) -> bool {
    ledger.resources().any(|(_, resource)| {
        let held = match &resource.occupancy {
            Occupancy::Free => return false,
            Occupancy::Held(holding) => &holding.host,
            Occupancy::Releasing(release) => &release.host,
        };
        held.uid == host.host.uid
    })
}

pub(crate) async fn hand_back(settings: HandBackSettings) -> Result<(), Failure> {
    refuse_in_a_shadow(&settings.says)?;
    let store = EventStore::connect(settings.says.event_store(), "bellhop-operator").await?;
    let ledger = orders::fold(&store).await?;
    let mut free: Vec<ResourceId> = ledger
        .resources()
        .filter(|(id, _)| !Scope::covers_more_than(id))
        .filter(|(_, resource)| desired(resource) == Desired::Nothing)
        .map(|(id, _)| id.clone())
        .collect();
    free.sort();
    if let Some(missing) = settings
        .hosts
        .iter()
        .find(|name| !free.iter().any(|id| id.name() == **name))
    {
        return Err(format!("{missing} is not free, or no reservation ever had it").into());
    }
    if !settings.hosts.is_empty() {
        free.retain(|id| settings.hosts.iter().any(|name| name == id.name()));
    }
    for resource in free {
        let order = OperatorOrder::HandBack { resource };
        orders::say_one(&store, ledger.version(), &settings.says, order).await?;
    }
    Ok(())
}
