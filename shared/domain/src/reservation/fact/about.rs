//! What every fact tells: about which reservation it is, who ordered it, under which webhook and of which site it came.

use super::{Fact, Note};
use crate::id::{ReservationId, SiteId, WebhookId};

impl Fact {
    /// The reservation that the fact is about; none where it is about the resource itself.
    pub fn reservation(&self) -> Option<&ReservationId> {
        Some(match self {
            Self::HostHeld { .. }
            | Self::HostUnheld { .. }
            | Self::DrivingPaused { .. }
            | Self::DrivingResumed { .. }
            | Self::HandBackOrdered { .. }
            | Self::HostHandedBack { .. }
            | Self::SiteSeen { .. } => return None,
            Self::HostAdopted(adopted) => &adopted.reservation,
            Self::ReservationAnnounced(announced)
            | Self::ReservationChanged(announced)
            | Self::ChangeCameTooLate(announced) => &announced.reservation,
            Self::ReservationMovedIn(moved) => &moved.announced.reservation,
            Self::WordHeard(word) => &word.reservation,
            Self::ReservationStarted(started) => &started.reservation,
            Self::ReservationRefused(refused) => &refused.announced.reservation,
            Self::ReservationEnded(ended) => &ended.reservation,
            Self::ReservationWaits { reservation, .. }
            | Self::WebhookHeard { reservation, .. }
            | Self::WaitReasonChanged { reservation, .. }
            | Self::ReservationMovedOut { reservation, .. }
            | Self::ReservationPostponed { reservation, .. }
            | Self::ReservationResumed { reservation }
            | Self::OwnerChanged { reservation, .. }
            | Self::OwnerWithdrawn { reservation, .. }
            | Self::KeyBrought { reservation, .. }
            | Self::DeadlineExtended { reservation, .. }
            | Self::StartAllowed { reservation, .. }
            | Self::HeldResourceDeleted { reservation, .. }
            | Self::SiteSettled { reservation }
            | Self::HostAssigned { reservation, .. }
            | Self::HostWouldBeAssigned { reservation, .. }
            | Self::HostClaimed { reservation }
            | Self::AdoptionRefused { reservation, .. }
            | Self::ProvisioningResumed { reservation }
            | Self::ProvisioningSeen { reservation }
            | Self::ProvisioningUnseen { reservation }
            | Self::ProvisioningSuspended { reservation, .. }
            | Self::ProvisioningErrorSeen { reservation, .. }
            | Self::ProvisioningErrorCleared { reservation }
            | Self::HostProvisioned { reservation, .. }
            | Self::ReadyHostTroubled { reservation, .. }
            | Self::ReadyHostRecovered { reservation }
            | Self::HostChangedByOthers { reservation, .. }
            | Self::HostRestored { reservation }
            | Self::CleaningSeenOff { reservation }
            | Self::ReservationFailed { reservation, .. }
            | Self::StartOverdue { reservation }
            | Self::ReservationMissed { reservation }
            | Self::DeadlinePassed { reservation, .. }
            | Self::DeadlineHeldAgain { reservation, .. }
            | Self::HostReleased { reservation, .. } => reservation,
        })
    }

    /// Whether its reservation is over with it (R7).
    pub fn is_outcome(&self) -> bool {
        matches!(
            self,
            Self::ReservationEnded(_)
                | Self::ReservationFailed { .. }
                | Self::ReservationRefused(_)
                | Self::ReservationMissed { .. }
        )
    }

    /// Who ordered it, and why, where an operator did.
    pub fn note(&self) -> Option<&Note> {
        match self {
            Self::HostHeld { note }
            | Self::HostUnheld { note }
            | Self::DrivingPaused { note }
            | Self::DrivingResumed { note }
            | Self::HandBackOrdered { note }
            | Self::StartAllowed { note, .. }
            | Self::DeadlineExtended { note, .. } => Some(note),
            Self::HostAdopted(adopted) => Some(&adopted.note),
            Self::KeyBrought { note, .. } | Self::ReservationMovedOut { note, .. } => note.as_ref(),
            Self::ReservationEnded(ended) => ended.note.as_ref(),
            _ => None,
        }
    }

    /// The site of the resource of which the sender said something, where told. What an operator says of an adopted host's site
    /// makes it no site that sends.
    pub fn site(&self) -> Option<&SiteId> {
        match self {
            Self::ReservationAnnounced(announced)
            | Self::ReservationChanged(announced)
            | Self::ChangeCameTooLate(announced) => announced.site.as_ref(),
            Self::ReservationMovedIn(moved) => moved.announced.site.as_ref(),
            Self::ReservationStarted(started) => started.site.as_ref(),
            Self::ReservationRefused(refused) => refused.announced.site.as_ref(),
            Self::ReservationEnded(ended) => ended.site.as_ref(),
            Self::WordHeard(word) => word.site.as_ref(),
            Self::SiteSeen { site, .. } => Some(site),
            _ => None,
        }
    }

    /// The webhook under which the delivery came that led to it, where it names one.
    pub fn webhook(&self) -> Option<&WebhookId> {
        match self {
            Self::ReservationAnnounced(announced)
            | Self::ReservationChanged(announced)
            | Self::ChangeCameTooLate(announced) => Some(&announced.webhook),
            Self::ReservationMovedIn(moved) => Some(&moved.announced.webhook),
            Self::ReservationStarted(started) => Some(&started.webhook),
            Self::ReservationRefused(refused) => Some(&refused.announced.webhook),
            Self::ReservationEnded(ended) => ended.webhook.as_ref(),
            Self::WordHeard(word) => Some(&word.webhook),
            Self::WebhookHeard { webhook, .. } => Some(webhook),
            _ => None,
        }
    }

    /// The fact's name, as it stands in the ledger, in logs and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReservationAnnounced(_) => "ReservationAnnounced",
            Self::ReservationChanged(_) => "ReservationChanged",
            Self::ReservationMovedIn(_) => "ReservationMovedIn",
            Self::ReservationMovedOut { .. } => "ReservationMovedOut",
            Self::ReservationPostponed { .. } => "ReservationPostponed",
            Self::ReservationResumed { .. } => "ReservationResumed",
            Self::OwnerChanged { .. } => "OwnerChanged",
            Self::OwnerWithdrawn { .. } => "OwnerWithdrawn",
            Self::KeyBrought { .. } => "KeyBrought",
            Self::DeadlineExtended { .. } => "DeadlineExtended",
            Self::StartAllowed { .. } => "StartAllowed",
            Self::HostHeld { .. } => "HostHeld",
            Self::HostUnheld { .. } => "HostUnheld",
            Self::DrivingPaused { .. } => "DrivingPaused",
            Self::DrivingResumed { .. } => "DrivingResumed",
            Self::HeldResourceDeleted { .. } => "HeldResourceDeleted",
            Self::HostAdopted(_) => "HostAdopted",
            Self::AdoptionRefused { .. } => "AdoptionRefused",
            Self::HandBackOrdered { .. } => "HandBackOrdered",
            Self::HostHandedBack { .. } => "HostHandedBack",
            Self::SiteSeen { .. } => "SiteSeen",
            Self::ChangeCameTooLate(_) => "ChangeCameTooLate",
            Self::WordHeard(_) => "WordHeard",
            Self::WebhookHeard { .. } => "WebhookHeard",
            Self::ReservationStarted(_) => "ReservationStarted",
            Self::ReservationRefused(_) => "ReservationRefused",
            Self::ReservationWaits { .. } => "ReservationWaits",
            Self::WaitReasonChanged { .. } => "WaitReasonChanged",
            Self::SiteSettled { .. } => "SiteSettled",
            Self::HostAssigned { .. } => "HostAssigned",
            Self::HostWouldBeAssigned { .. } => "HostWouldBeAssigned",
            Self::HostClaimed { .. } => "HostClaimed",
            Self::ProvisioningResumed { .. } => "ProvisioningResumed",
            Self::ProvisioningSeen { .. } => "ProvisioningSeen",
            Self::ProvisioningUnseen { .. } => "ProvisioningUnseen",
            Self::ProvisioningSuspended { .. } => "ProvisioningSuspended",
            Self::ProvisioningErrorSeen { .. } => "ProvisioningErrorSeen",
            Self::ProvisioningErrorCleared { .. } => "ProvisioningErrorCleared",
            Self::HostProvisioned { .. } => "HostProvisioned",
            Self::ReadyHostTroubled { .. } => "ReadyHostTroubled",
            Self::ReadyHostRecovered { .. } => "ReadyHostRecovered",
            Self::HostChangedByOthers { .. } => "HostChangedByOthers",
            Self::HostRestored { .. } => "HostRestored",
            Self::CleaningSeenOff { .. } => "CleaningSeenOff",
            Self::ReservationEnded(_) => "ReservationEnded",
            Self::ReservationFailed { .. } => "ReservationFailed",
            Self::StartOverdue { .. } => "StartOverdue",
            Self::ReservationMissed { .. } => "ReservationMissed",
            Self::DeadlinePassed { .. } => "DeadlinePassed",
            Self::DeadlineHeldAgain { .. } => "DeadlineHeldAgain",
            Self::HostReleased { .. } => "HostReleased",
        }
    }
}
