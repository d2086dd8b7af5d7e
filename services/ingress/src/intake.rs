//! What every request needs.

use std::sync::Arc;
use std::time::Duration;

use bellhop_service::Alarms;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::clock::ClockWatch;
use crate::metrics::IngressMetrics;
use crate::secrets::KnownSecrets;
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
    pub(crate) broker: Arc<Broker>,
    pub(crate) clock: Arc<ClockWatch>,
    pub(crate) metrics: IngressMetrics,
    pub(crate) alarms: Alarms,
    /// Requests that are being stored: each is seen through, even if its sender hangs up or the service stops.
    pub(crate) under_way: TaskTracker,
}
