//! Which sites are served, and where their hosts are; what is done about those of which nobody has said so.
//!
//! A site-wide webhook brings the starts of every site, and two sites may both have a `node01`. So once a second site is seen
//! and `SITE_IDS` does not say which are ours, a start that comes is *unsettled*: its reservation waits, for no host, on
//! whatever provisioner its delivery was handled. That it is unsettled stands in the folded ledger; that it is settled is a
//! fact too. So provisioners with different settings, as there are during a rolling update, do each other no harm: one without
//! `SITE_IDS` tells why it waits, the first one with it settles it, and the driver of all sees only what is settled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellhop_domain::id::{ReservationId, ResourceId, SiteId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Command, Rehoming, SiteJudgement};
use bellhop_domain::served::SiteIds;
use bellhop_domain::time;
use bellhop_service::notices::Alarms;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::decisions::{DecisionError, Decisions};
use crate::folded::FoldedLedger;
use crate::settings::ProvisionerSettings;

const OTHER_SITE: &str = "other_site";
const SITES_UNSETTLED: &str = "sites_unsettled";
/// The cause of what is decided here, in the ledger.
const CAUSE: &str = "sites";
/// How long the alarm about another site lasts after its last delivery.
const QUIET: Duration = Duration::from_secs(24 * 3600);
/// So many sites have an alarm of their own, or stand in a text.
const NAMED: usize = 20;
/// How often to look, whether or not anything changed: what could not be decided is tried again, and alarms end.
const SWEEP: Duration = Duration::from_secs(10);
/// A burst of changes is one reason to look.
const BURST: Duration = Duration::from_millis(200);

/// What `SITE_IDS` and `K8S_NAMESPACE` say.
#[derive(Clone, Debug)]
pub(crate) struct ServedSites {
    ids: Option<SiteIds>,
    usual: String,
}

/// What a site is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// `SITE_IDS` names it, with this namespace.
    Named(&'a str),
    /// `SITE_IDS` is not set: this namespace, while no other site is seen.
    Unsaid(&'a str),
    /// `SITE_IDS` does not name it.
    Other,
}

impl ServedSites {
    pub(crate) fn new(settings: &ProvisionerSettings) -> Self {
        Self {
            ids: settings.site_ids.clone(),
            usual: settings.k8s_namespace.clone(),
        }
    }

    /// Whether `SITE_IDS` is set.
    pub(crate) fn are_named(&self) -> bool {
        self.ids.is_some()
    }

    /// What a site is to us; a resource without one is another site's where sites are named.
    pub(crate) fn standing(&self, site: Option<&SiteId>) -> Standing<'_> {
        let Some(ids) = &self.ids else {
            return Standing::Unsaid(&self.usual);
        };
        site.and_then(|site| ids.namespace_of(site, &self.usual))
            .map_or(Standing::Other, Standing::Named)
    }

    /// The sites whose hosts `SITE_IDS` says are in this namespace; none where it is not set.
    pub(crate) fn sites_in(&self, namespace: &str) -> Option<Vec<SiteId>> {
        let ids = self.ids.as_ref()?;
        Some(ids.sites_in(namespace, &self.usual).cloned().collect())
    }

    /// The namespaces of all hosts that are served.
    pub(crate) fn namespaces(&self) -> Vec<&str> {
        match &self.ids {
            Some(ids) => ids.namespaces(&self.usual).into_iter().collect(),
            None => vec![&self.usual],
        }
    }
}

/// That a site is not served, in words for a user.
pub(crate) fn not_served(site: Option<&SiteId>) -> String {
    match site {
        Some(site) => format!("its site `{site}` is not served here"),
        None => "it names no site, and only some are served here".to_owned(),
    }
}

/// The alarms about sites that are not served and send all the same. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OtherSites {
    alarms: Alarms,
    /// When each was heard of last.
    heard: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl OtherSites {
    pub(crate) fn new(alarms: Alarms) -> Self {
        Self {
            alarms,
            heard: Arc::default(),
        }
    }

    /// A delivery of such a site came.
    pub(crate) fn came(&self, site: Option<&SiteId>, received_at: Timestamp) {
        if is_long_ago(received_at, Timestamp::now()) {
            return;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match site {
            None => "no site".to_owned(),
            Some(site) if heard.len() < NAMED || heard.contains_key(site.as_str()) => {
                site.to_string()
            }
            Some(_) => "more sites".to_owned(),
        };
        let last = heard.entry(key.clone()).or_insert(received_at);
        *last = received_at.max(*last);
        let text = format!(
            "webhooks of a site that SITE_IDS does not name ({key}) come: they are kept, and not acted on"
        );
        self.alarms.raise(OTHER_SITE, &key, &text);
    }

    /// Ends the alarms about sites of which nothing came for a day.
    fn forget_quiet_ones(&self, now: Timestamp) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|key, last| {
            let is_on = !is_long_ago(*last, now);
            if !is_on {
                self.alarms.clear(OTHER_SITE, key);
            }
            is_on
        });
    }
}

fn is_long_ago(instant: Timestamp, now: Timestamp) -> bool {
    time::elapsed(instant, now) > QUIET
}

/// Sees to unsettled reservations and to the alarms about sites, until told to stop.
pub(crate) async fn run(
    sites: ServedSites,
    folded: FoldedLedger,
    decisions: Decisions,
    other_sites: OtherSites,
    stop: CancellationToken,
) {
    let mut changes = folded.changes();
    while !stop.is_cancelled() {
        alarm_if_unsaid(&sites, &folded, &other_sites.alarms);
        other_sites.forget_quiet_ones(Timestamp::now());
        for (resource, reservation, site) in folded.read(Ledger::unsettled) {
            let judged = judge(
                &sites,
                &folded,
                &decisions,
                &resource,
                &reservation,
                site.as_ref(),
            );
            if let Err(error) = judged.await {
                tracing::warn!(
                    %resource,
                    %reservation,
                    error = &error as &dyn std::error::Error,
                    "could not decide on the site of a reservation; trying again"
                );
            }
        }
        let wake = async {
            let _changed = changes.recv().await;
            tokio::time::sleep(BURST).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
            () = wake => {}
        }
    }
}

/// While several sites are seen and nobody has said which are ours, new starts wait: an operator must know.
fn alarm_if_unsaid(sites: &ServedSites, folded: &FoldedLedger, alarms: &Alarms) {
    if sites.ids.is_some() {
        return;
    }
    let (count, named) = folded.read(|ledger| {
        let named: Vec<String> = ledger
            .sites()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        (ledger.sites().len(), named)
    });
    if count > 1 {
        let text = format!(
            "webhooks of {count} sites come ({}): new starts wait until SITE_IDS says which are served here, and in which \
             namespace the hosts of each are",
            named.join(", ")
        );
        alarms.raise(SITES_UNSETTLED, "all", &text);
    }
}

async fn judge(
    sites: &ServedSites,
    folded: &FoldedLedger,
    decisions: &Decisions,
    resource: &ResourceId,
    reservation: &ReservationId,
    site: Option<&SiteId>,
) -> Result<(), DecisionError> {
    let judgement = match sites.standing(site) {
        Standing::Unsaid(_) => SiteJudgement::Unclear,
        Standing::Named(namespace) if namespace == resource.namespace() => SiteJudgement::Here,
        Standing::Named(namespace) => {
            let state = folded.resource(resource);
            let Some((to, rehoming)) =
                Rehoming::of_unsettled(reservation, resource, &state, namespace)
            else {
                return Ok(());
            };
            let rehomed = Command::Rehomed(Box::new(rehoming));
            decisions.decide(&to, &rehomed, CAUSE).await?;
            return decisions.let_go(resource, reservation, &to, CAUSE).await;
        }
        Standing::Other => SiteJudgement::NotServed {
            text: not_served(site),
        },
    };
    let judged = Command::SiteJudged {
        reservation: reservation.clone(),
        judgement,
    };
    decisions.decide(resource, &judged, CAUSE).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_service::metrics::Metrics;
    use jiff::SignedDuration;

    use super::*;

    fn other_sites() -> (OtherSites, Alarms) {
        let alarms = Alarms::new(&Metrics::new("test", "0"));
        (OtherSites::new(alarms.clone()), alarms)
    }

    fn keys(alarms: &Alarms) -> Vec<String> {
        alarms.list().into_iter().map(|alarm| alarm.key).collect()
    }

    #[test]
    fn the_alarm_about_another_site_is_over_when_nothing_came_of_it_for_a_day() {
        let (sites, alarms) = other_sites();
        let now = Timestamp::now();
        sites.came(Some(&SiteId::new("lab-8")), now);
        sites.came(
            Some(&SiteId::new("lab-9")),
            now - SignedDuration::from_hours(20),
        );
        sites.forget_quiet_ones(now);
        assert_eq!(keys(&alarms), ["lab-8", "lab-9"]);
        sites.forget_quiet_ones(now + SignedDuration::from_hours(5));
        assert_eq!(keys(&alarms), ["lab-8"]);
        sites.forget_quiet_ones(now + SignedDuration::from_hours(25));
        assert_eq!(keys(&alarms), [""; 0]);
    }

    #[test]
    fn an_old_delivery_that_is_handled_late_raises_no_alarm() {
        let (sites, alarms) = other_sites();
        let old = Timestamp::now() - SignedDuration::from_hours(25);
        sites.came(Some(&SiteId::new("lab-8")), old);
        assert_eq!(keys(&alarms), [""; 0]);
    }

    #[test]
    fn however_many_sites_send_there_are_a_few_alarms() {
        let (sites, alarms) = other_sites();
        for number in 0..1000 {
            let site = SiteId::new(format!("lab-{number}"));
            sites.came(Some(&site), Timestamp::now());
        }
        assert_eq!(keys(&alarms).len(), NAMED + 1);
    }
}
