//! What can go wrong at the receiving end, on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The two places that callbacks are posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /api/notifications/webhook`
    Notifications,
    /// `POST /api/webhooks/log`
    WebhookLog,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// The request is read, then nothing ever happens.
    Hang,
    /// The answer comes late.
    Slow {
        /// By how much.
        milliseconds: u64,
    },
    /// 500, nothing done.
    InternalError,
    /// 429 with `Retry-After`, nothing done.
    TooManyRequests {
        /// The header's value.
        retry_after_seconds: u64,
    },
    /// The work is done, then the connection is gone without an answer.
    LoseAnswer,
    /// The connection is gone, nothing done.
    CutConnection,
}

/// A fault, and when it applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Where; `None` is both places.
    #[serde(default, rename = "on")]
    pub endpoint: Option<Endpoint>,
    /// How often; `None` is until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

impl Fault {
    /// Goes wrong everywhere until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            endpoint: None,
            times: None,
        }
    }

    /// Only at one place.
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// The faults that are set, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What goes wrong with this request, if anything: the oldest fault that fits is used up by one.
    pub(super) fn next(&mut self, endpoint: Endpoint) -> Option<FaultKind> {
        let fits = |fault: &Fault| {
            fault.endpoint.is_none_or(|at| at == endpoint) && fault.times != Some(0)
        };
        let fault = self.0.iter_mut().find(|fault| fits(fault))?;
        if let Some(times) = &mut fault.times {
            *times -= 1;
        }
        Some(fault.kind.clone())
    }
}

impl FaultKind {
    pub(super) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Slow { milliseconds } => Some(Duration::from_millis(*milliseconds)),
            _ => None,
        }
    }

    pub(super) fn leaves_no_answer(&self) -> bool {
        matches!(self, Self::Hang | Self::LoseAnswer | Self::CutConnection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_used_up_only_where_it_applies() {
        let mut faults = Faults::default();
        faults.inject(
            Fault::new(FaultKind::InternalError)
                .on(Endpoint::Notifications)
                .times(1),
        );
        assert_eq!(faults.next(Endpoint::WebhookLog), None);
        assert_eq!(
            faults.next(Endpoint::Notifications),
            Some(FaultKind::InternalError)
        );
        assert_eq!(faults.next(Endpoint::Notifications), None);
    }

    #[test]
    fn a_fault_without_a_number_stays_until_it_is_cleared() {
        let mut faults = Faults::default();
        faults.inject(Fault::new(FaultKind::Hang));
        for _ in 0..3 {
            assert_eq!(faults.next(Endpoint::WebhookLog), Some(FaultKind::Hang));
        }
        faults.clear();
        assert_eq!(faults.next(Endpoint::WebhookLog), None);
    }
}
