//! Taking over the hosts that the service before Bellhop prepared, and those that a lost ledger of ours left.
//!
//! It runs with the environment of a provisioner: its broker, its cluster, its image.

use std::fmt::Write as _;
use std::io::Write;

use bellhop_domain::id::{ReservationId, SiteId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::Occupancy;
use bellhop_event_store::{EventStore, Mode};
use bellhop_operators::{AdoptedHost, OperatorOrder};
use bellhop_provisioner::{AdoptableHost, ProvisionerSettings, adoptable_hosts, why_not_adoptable};
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

    /// Only this host, `node17` or `metal3/node17`; again for more of them. Without it, all that the service before Bellhop
    /// prepared; one with our `consumerRef` that this ledger doesn't know is only adopted when it is named
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,

    /// Only say what would be adopted
    #[arg(long)]
    dry_run: bool,

    /// The reservation that has the one --host: `reservation-system:5120`. Without it, the host is held until an end or
    /// deletion comes whose start and end enclose now
    #[arg(long, requires = "until", requires = "hosts")]
    reservation: Option<ReservationId>,

    /// When that reservation ends, for example 2026-12-03T17:30:00Z
    #[arg(long, requires = "reservation")]
    until: Option<Timestamp>,

    /// The site that the hosts are of, by its id, so that `pause --site` covers them. Without it, what SITE_IDS says of their
    /// namespace; where that is more than one site or unset, a pause of any site covers them until their end comes
    #[arg(long, value_name = "ID")]
    site: Option<String>,
}

/// A host that is to be adopted, and for whom.
struct Candidate {
    host: AdoptableHost,
    reservation: Option<ReservationId>,
    site: Option<SiteId>,
}

/// A shadow writes no host, so neither adoption nor its way back could ever be carried out there.
pub(crate) fn refuse_in_a_shadow(says: &Says) -> Result<(), Failure> {
    match says.event_store().mode {
        Mode::Live => Ok(()),
        Mode::Shadow => Err("a shadow writes no host: MODE must be live".into()),
    }
}

pub(crate) async fn adopt(settings: AdoptSettings) -> Result<(), Failure> {
    refuse_in_a_shadow(&settings.says)?;
    if settings.reservation.is_some() && settings.hosts.len() > 1 {
        return Err("--reservation has one host: name it with one --host".into());
    }
    if let Some(until) = settings.until.filter(|until| *until <= Timestamp::now()) {
        return Err(format!("--until {until} has passed already").into());
    }
    let provisioner: ProvisionerSettings = parse(["provisioner"])?;
    let store = EventStore::connect(settings.says.event_store(), "bellhop-operator").await?;
    let ledger = orders::fold(&store).await?;
    let mut candidates = Vec::new();
    let (hosts, apart) = chosen(&settings, &provisioner, &ledger).await?;
    for host in hosts {
        candidates.push(Candidate {
            reservation: settings.reservation.clone().or(host.reservation.clone()),
            site: site_of(&host, settings.site.as_deref(), &ledger)?,
            host,
        });
    }
    let (mut adopted, mut left) = (0, 0);
    for candidate in candidates {
        let obstacle = candidate.obstacle(&ledger);
        let line = candidate.line(settings.until, obstacle.as_deref());
        writeln!(std::io::stdout(), "{}", one_line(&line))?;
        match obstacle {
            Some(_) => left += 1,
            None => {
                adopted += 1;
                if !settings.dry_run {
                    let order = candidate.order(settings.until);
                    orders::say_one(&store, &ledger, &settings.says, order).await?;
                }
            }
        }
    }
    for host in &apart {
        writeln!(std::io::stdout(), "{}", one_line(&line_apart(host)))?;
    }
    sum_up(settings.dry_run, adopted, left, apart.len())
}

/// What is said of a host that is only adopted when it is named: it may be in use by another installation, whose name is the
/// same where nobody gave it another.
fn line_apart(host: &AdoptableHost) -> String {
    let reservation = host.reservation.as_ref();
    let reservation = reservation.map(ToString::to_string).unwrap_or_default();
    format!(
        "{} {} left alone: its consumerRef is {reservation}, which this ledger does not know; it may be another installation's of \
         the same INSTALLATION, or of another STREAM_PREFIX. If its ledger was lost, adopt it by name: --host {}",
        host.host, host.image.url, host.host
    )
}

fn sum_up(dry_run: bool, adopted: usize, left: usize, apart: usize) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match (dry_run, adopted) {
        (_, 0) if left == 0 && apart == 0 => writeln!(out, "no host can be adopted")?,
        (_, 0) if left == 0 => writeln!(out, "no host can be adopted unless it is named")?,
        (_, 0) => {}
        (true, _) => writeln!(
            out,
            "nothing was changed; without --dry-run, hosts that are adopted: {adopted}"
        )?,
        (false, _) => writeln!(out, "hosts that are adopted: {adopted}")?,
    }
    match left {
        0 => Ok(()),
        left => Err(format!("hosts that can't be adopted so: {left}; each line says why").into()),
    }
}

/// The hosts that were named, or all that the service before Bellhop prepared; then those that must be named, because a
/// reservation that this ledger doesn't know has them.
async fn chosen(
    settings: &AdoptSettings,
    provisioner: &ProvisionerSettings,
    ledger: &Ledger,
) -> Result<(Vec<AdoptableHost>, Vec<AdoptableHost>), Failure> {
    let all = adoptable_hosts(provisioner).await?;
    if settings.hosts.is_empty() {
        let free = all.into_iter().filter(|host| has(host, ledger).is_none());
        return Ok(free.partition(|host| host.reservation.is_none()));
    }
    let mut chosen: Vec<AdoptableHost> = Vec::new();
    for name in &settings.hosts {
        let named: Vec<&AdoptableHost> = all
            .iter()
            .filter(|host| host.host.name == *name || host.host.to_string() == *name)
            .collect();
        match named.as_slice() {
            [] => {
                let why = why_not_adoptable(provisioner, name).await?;
                let why = why.unwrap_or_else(|| "it is another one by now".to_owned());
                return Err(one_line(&format!("host {name} can't be adopted: {why}")).into());
            }
            [one] => {
                if let Some(holder) = has(one, ledger) {
                    let text = format!("host {name} can't be adopted: {holder} has it already");
                    return Err(one_line(&text).into());
                }
                if chosen.iter().all(|host| host.host != one.host) {
                    chosen.push((*one).clone());
                }
            }
            several => {
                let several: Vec<_> = several.iter().map(|host| &host.host).collect();
                return Err(format!(
                    "host {name} may be any of {}: name one whole",
                    orders::list(&several)
                )
                .into());
            }
        }
    }
    Ok((chosen, Vec::new()))
}

impl Candidate {
    /// Why it can't be adopted for its reservation.
    fn obstacle(&self, ledger: &Ledger) -> Option<String> {
        let reservation = self.reservation.as_ref()?;
        if let Some(other) = &self.host.reservation
            && other != reservation
        {
            return Some(format!(
                "its consumerRef is {other}: adopt it for that one, or take the consumerRef away first"
            ));
        }
        ledger.obstacle_to_adoption(&self.host.resource, reservation)
    }

    fn line(&self, until: Option<Timestamp>, obstacle: Option<&str>) -> String {
        let mut line = format!("{} {}", self.host.host, self.host.image.url);
        // Writing to a String can't fail.
        let _infallible = match (&self.reservation, until) {
            (Some(reservation), Some(until)) => write!(line, " for {reservation} until {until}"),
            (Some(reservation), None) => {
                write!(
                    line,
                    " for {reservation}, without a deadline until its end comes"
                )
            }
            (None, _) => write!(line, " held until an end comes for it"),
        };
        if let Some(site) = &self.site {
            let _infallible = write!(line, " of site {site}");
        }
        if let Some(obstacle) = obstacle {
            let _infallible = write!(line, ": can't be: {obstacle}");
        }
        line
    }

    fn order(self, until: Option<Timestamp>) -> OperatorOrder {
        let host = self.host;
        OperatorOrder::Adopt(Box::new(AdoptedHost {
            resource: host.resource,
            host: host.host,
            image: host.image,
            secret: host.secret,
            reservation: self.reservation,
            until,
            site: self.site,
        }))
    }
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

/// Who has a host, as far as the ledger knows.
fn has<'a>(host: &AdoptableHost, ledger: &'a Ledger) -> Option<&'a ReservationId> {
    ledger.resources().find_map(|(_, resource)| {
        let (held, reservation) = match &resource.occupancy {
            Occupancy::Free => return None,
            Occupancy::Held(holding) => (&holding.host, &holding.reservation),
            Occupancy::Releasing(release) => (&release.host, &release.reservation),
        };
        (held.uid == host.host.uid).then_some(reservation)
    })
}
