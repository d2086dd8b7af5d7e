//! What every request needs.

use std::sync::Arc;
use std::time::Duration;

use bellhop_service::Alarms;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use crate::body::LargeBodies;
use crate::broker::Broker;
use crate::clock::ClockWatch;
use crate::lost::LostWebhooks;
use crate::metrics::IngressMetrics;
use crate::refusals::Refusals;
use crate::secrets::KnownSecrets;
use crate::spool::Spool;
use crate::verification::Verification;
use bellhop_domain::served::ResourceTypes;
use bellhop_domain::served::SiteIds;

/// What every request needs; shared by all of them.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) secrets: Arc<KnownSecrets>,
    pub(crate) resource_types: ResourceTypes,
    pub(crate) site_ids: Option<SiteIds>,
    pub(crate) max_body_bytes: usize,
    pub(crate) body_read_timeout: Duration,
    pub(crate) store_timeout: Duration,
    pub(crate) spool_after: Duration,
    pub(crate) spool: Option<Arc<Spool>>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) large_bodies: LargeBodies,
    pub(crate) verification: Verification,
    pub(crate) clock: ClockWatch,
    pub(crate) lost: LostWebhooks,
    pub(crate) refusals: Refusals,
    pub(crate) metrics: IngressMetrics,
    pub(crate) alarms: Alarms,
    /// Requests that are being stored: each is seen through, even if its sender hangs up or the service stops.
    pub(crate) under_way: TaskTracker,
}

impl Intake {
    /// Brings what is remembered of the last minutes up to date.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.clock.sweep(now);
        self.lost.sweep(now);
        self.refusals.sweep(now);
    }
}
