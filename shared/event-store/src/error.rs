//! What can go wrong with the event store, and what to do about it.
//!
//! The class of an error decides what happens to the work at hand: *transient*, try again later; *permanent*, trying again
//! does not help: dead letter, tell someone; *conflict*, someone else was first: read what they wrote and decide again.

use std::error::Error;

use bellhop_domain::id::{LedgerId, Version};

use crate::settings::Mode;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again later.
    Transient,
    /// Trying again does not help.
    Permanent,
    /// Someone else was first: reload and decide again.
    Conflict,
}

type Cause = Box<dyn Error + Send + Sync>;

/// The broker could not be reached, or refused.
#[derive(Debug, thiserror::Error)]
pub enum EventStoreError {
    /// The settings can't be used.
    #[error("{variable}: {problem}")]
    Settings {
        /// Which.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No connection.
    #[error("cannot connect to NATS at {url}: is it running, and NATS_URL right?")]
    Connect {
        /// Where, without credentials.
        url: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// A request to the broker failed.
    #[error("NATS: cannot {what}")]
    Broker {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// A stored message is not of a form that this version reads.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl EventStoreError {
    pub(crate) fn broker(what: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::Broker {
            what: what.into(),
            cause: cause.into(),
        }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Settings { .. } | Self::Unreadable(_) => ErrorClass::Permanent,
            Self::Connect { .. } | Self::Broker { .. } => ErrorClass::Transient,
        }
    }
}

/// The streams are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// One is missing.
    #[error("stream {stream} does not exist: run `bellhop setup`, or set CREATE_STREAMS=true")]
    Missing {
        /// Which.
        stream: String,
    },
    /// One differs where it matters.
    #[error(
        "stream {stream} could lose what Bellhop stores: {difference}; mend it with `nats stream edit`"
    )]
    Unsafe {
        /// Which.
        stream: String,
        /// In what.
        difference: String,
    },
    /// It belongs to an installation of the other mode.
    #[error(
        "stream {stream} is {}, and this service runs with MODE={mode}: what a shadow decided was never done, so neither goes \
         on with the other's streams; choose another STREAM_PREFIX, or the other MODE",
        if *mode == Mode::Live { "a shadow's" } else { "not a shadow's" }
    )]
    OtherMode {
        /// Which.
        stream: String,
        /// The mode of this service.
        mode: Mode,
    },
    /// The broker could not be asked.
    #[error(transparent)]
    Store(#[from] EventStoreError),
}

impl SetupError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Missing { .. } | Self::Unsafe { .. } | Self::OtherMode { .. } => {
                ErrorClass::Permanent
            }
            Self::Store(error) => error.class(),
        }
    }
}

/// A message could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No acknowledgement came: it may be stored or not.
    #[error("NATS did not confirm within {seconds} s that it stored {what}")]
    Unconfirmed {
        /// What was sent.
        what: String,
        /// How long was waited.
        seconds: f64,
    },
    /// The broker refused it.
    #[error("NATS refused to store {what}")]
    Refused {
        /// What was sent.
        what: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// It can't be a message: larger than the broker takes, or a header that can't be one.
    #[error("{what} can't be stored as a NATS message: {problem}")]
    NotAMessage {
        /// What was to be sent.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unconfirmed { .. } | Self::Refused { .. } => ErrorClass::Transient,
            Self::NotAMessage { .. } => ErrorClass::Permanent,
        }
    }
}

/// Facts could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Something else was decided on the same resource, or on what else there is, since the state that this decision was made
    /// upon.
    #[error("the ledger has newer entries than version {expected}, which {what} follow from")]
    Conflict {
        /// What was to be appended.
        what: String,
        /// The version that was expected.
        expected: Version,
    },
    /// LEDGER is another one now. Nothing was sent.
    #[error(transparent)]
    OtherLedger(#[from] OtherLedger),
    /// It could not be stored, or is not known to be.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// What to do about it. An unconfirmed append is a conflict at worst: reload and decide again. Another ledger is
    /// transient for what is to be decided: the follower ends this service, and the one that starts next decides it upon
    /// the ledger that is there.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Conflict { .. } => ErrorClass::Conflict,
            Self::OtherLedger(_) => ErrorClass::Transient,
            Self::Store(error) => error.class(),
        }
    }
}

/// The stream LEDGER was made anew: what is folded here was decided in another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "NATS holds another ledger ({}) than the one that was read ({known}): its streams were lost and made anew while this \
     service ran; restore LEDGER from a backup, or start the service again to go on with the new one (hosts that only the \
     lost one knew are then left to an operator)",
    found.as_ref().map_or_else(|| "without an id".to_owned(), ToString::to_string)
)]
pub struct OtherLedger {
    /// Which one was read.
    pub known: LedgerId,
    /// Which one is there now; none where it carries no id.
    pub found: Option<LedgerId>,
}

/// The ledger can't be followed further, and nothing may be decided upon what was read of it. Trying again does not help:
/// the service ends.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It holds what this version can't read.
    #[error(
        "the ledger can't be read at sequence {sequence}: was it written by a newer version of Bellhop?"
    )]
    Unreadable {
        /// Where.
        sequence: u64,
        /// Why.
        #[source]
        cause: Unreadable,
    },
    /// It is another one now.
    #[error(transparent)]
    OtherLedger(#[from] OtherLedger),
    /// It is the same one, and has lost entries that were read.
    #[error(
        "the ledger in NATS ends at {end} or differs at {read}, and was read up to {read}: the broker lost what it had stored, \
         or was set back to a backup; start this service again to go on from what is there (hosts that were written to \
         meanwhile are then left to an operator)"
    )]
    SetBack {
        /// How far it was read.
        read: Version,
        /// Where it ends now.
        end: Version,
    },
}

/// A stored message is not of a form that this version reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A header is missing or wrong.
    #[error("header {header} is missing or wrong")]
    Header {
        /// Which.
        header: &'static str,
    },
    /// A newer version wrote it.
    #[error("it has format {format}, newer than this version's {newest}")]
    NewerFormat {
        /// The message's.
        format: u32,
        /// Ours.
        newest: u32,
    },
    /// The body is not what it should be.
    #[error("its body is not readable: {problem}")]
    Body {
        /// Why, without content.
        problem: String,
    },
    /// The subject is not one of ours.
    #[error("its subject {subject} is not one of ours")]
    Subject {
        /// The subject.
        subject: String,
    },
}

/// The state of a report could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Another replica changed it since it was read.
    #[error("the state of report {key} was changed by another notifier")]
    Conflict {
        /// Which.
        key: String,
    },
    /// The broker could not be asked.
    #[error(transparent)]
    Store(#[from] EventStoreError),
}

impl ReportError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Conflict { .. } => ErrorClass::Conflict,
            Self::Store(error) => error.class(),
        }
    }
}
