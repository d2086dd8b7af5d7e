//! How what a holder has follows from the facts about it. A fact of a stage in which its host is not any more changes nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::super::resource::{Holding, Stage};
use crate::time;

impl Holding {
    pub(super) fn claimed(&mut self) {
        match self.stage {
            Stage::Claiming => {
                self.told = None;
                self.stage = Stage::Preparing {
                    errors: 0,
                    in_error: false,
                    worked: Duration::ZERO,
                    working_since: None,
                };
            }
            Stage::Adopting => {
                self.adoption_refused = None;
                self.stage = Stage::Ready { trouble: None };
            }
            Stage::Preparing { .. } | Stage::Ready { .. } => {}
        }
    }

    pub(super) fn adoption_refused(&mut self, text: &str) {
        match self.stage {
            Stage::Adopting => self.adoption_refused = Some(text.to_owned()),
            Stage::Claiming | Stage::Preparing { .. } | Stage::Ready { .. } => {}
        }
    }

    pub(super) fn work_resumed(&mut self, at: Timestamp) {
        if let Some(Clock { working_since, .. }) = self.clock() {
            working_since.get_or_insert(at);
        }
    }

    pub(super) fn work_seen(&mut self, at: Timestamp) {
        if let Some(Clock {
            worked,
            working_since: Some(since),
        }) = self.clock()
        {
            *worked = worked.saturating_add(time::elapsed(*since, at));
            *since = at.max(*since);
        }
    }

    pub(super) fn work_unseen(&mut self, at: Timestamp) {
        if let Some(Clock {
            working_since: Some(since),
            ..
        }) = self.clock()
        {
            *since = at.max(*since);
        }
    }

    pub(super) fn work_suspended(&mut self, at: Timestamp) {
        if let Some(Clock {
            worked,
            working_since,
        }) = self.clock()
            && let Some(since) = working_since.take()
        {
            *worked = worked.saturating_add(time::elapsed(since, at));
        }
    }

    pub(super) fn error_seen(&mut self, attempt: u32) {
        match &mut self.stage {
            Stage::Preparing {
                errors, in_error, ..
            } => {
                *errors = (*errors).max(attempt);
                *in_error = true;
            }
            Stage::Adopting | Stage::Claiming | Stage::Ready { .. } => {}
        }
    }

    pub(super) fn error_cleared(&mut self) {
        match &mut self.stage {
            Stage::Preparing { in_error, .. } => *in_error = false,
            Stage::Adopting | Stage::Claiming | Stage::Ready { .. } => {}
        }
    }

    pub(super) fn provisioned(&mut self) {
        match self.stage {
            Stage::Preparing { .. } => self.stage = Stage::Ready { trouble: None },
            Stage::Adopting | Stage::Claiming | Stage::Ready { .. } => {}
        }
    }

    /// `trouble`: what a ready host has, or none any more.
    pub(super) fn troubled(&mut self, trouble: Option<&str>) {
        match &mut self.stage {
            Stage::Ready { trouble: told } => *told = trouble.map(str::to_owned),
            Stage::Adopting | Stage::Claiming | Stage::Preparing { .. } => {}
        }
    }

    /// The clock of the provisioning timeout.
    fn clock(&mut self) -> Option<Clock<'_>> {
        match &mut self.stage {
            Stage::Preparing {
                worked,
                working_since,
                ..
            } => Some(Clock {
                worked,
                working_since,
            }),
            Stage::Adopting | Stage::Claiming | Stage::Ready { .. } => None,
        }
    }
}

struct Clock<'a> {
    worked: &'a mut Duration,
    working_since: &'a mut Option<Timestamp>,
}
