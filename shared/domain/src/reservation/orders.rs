//! What operators ordered: which hosts are left alone for now. An order stays until its opposite, over restarts and for all
//! replicas, since it is a fact.
//!
//! An order for a single resource is a fact on that resource. One for more of them is a fact on a pseudo-resource, which has
//! no host and no reservations: see [`Scope::resource`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fact::Note;
use crate::id::{ResourceId, ResourceKind, SiteId};

const EVERYTHING: &str = "everything";
const SITE: &str = "site";

/// The orders that stand on one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Its host is not released.
    pub held: Option<Note>,
    /// No host is written.
    pub paused: Option<Note>,
    /// Its host shall be on again while nobody has it.
    pub handed_back: Option<Note>,
    /// The newest words, whether they ordered or took back.
    newest: Newest,
}

/// When the broker stored the newest word of each kind that led to a fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    hold: Option<Timestamp>,
    pause: Option<Timestamp>,
    hand_back: Option<Timestamp>,
}

/// What an order is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Hold,
    Pause,
    HandBack,
}

impl Orders {
    /// An operator ordered it.
    pub(super) fn order(&mut self, about: About, note: &Note) {
        *self.slot(about) = Some(note.clone());
        self.heard(about, note);
    }

    /// An operator took it back.
    pub(super) fn take_back(&mut self, about: About, note: &Note) {
        *self.slot(about) = None;
        self.heard(about, note);
    }

    fn slot(&mut self, about: About) -> &mut Option<Note> {
        match about {
            About::Hold => &mut self.held,
            About::Pause => &mut self.paused,
            About::HandBack => &mut self.handed_back,
        }
    }

    /// When the newest word that the host be handed back was stored.
    pub(super) fn last_hand_back(&self) -> Option<Timestamp> {
        self.newest.hand_back
    }

    /// Whether a word is newer than all that is known of what it is about: words come in any order, and more than once. None
    /// where it is not known when it was stored.
    pub(super) fn is_news(&self, about: About, word: &Note) -> Option<bool> {
        let newest = match about {
            About::Hold => self.newest.hold,
            About::Pause => self.newest.pause,
            About::HandBack => self.newest.hand_back,
        };
        word.at.map(|at| newest.is_none_or(|newest| newest < at))
    }

    fn heard(&mut self, about: About, word: &Note) {
        let newest = match about {
            About::Hold => &mut self.newest.hold,
            About::Pause => &mut self.newest.pause,
            About::HandBack => &mut self.newest.hand_back,
        };
        *newest = (*newest).max(word.at);
    }
}

/// What a pause covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every host.
    Everything,
    /// The hosts that reservations of this site have or wait for, and those of which nobody knows of which site they are.
    Site(SiteId),
    /// One resource's host.
    Resource(ResourceId),
}

impl Scope {
    /// The resource on which the order is a fact. No driver serves the kinds `everything` and `site`.
    pub fn resource(&self) -> ResourceId {
        match self {
            Self::Everything => ResourceId::new(ResourceKind::new(EVERYTHING), "-", "all"),
            Self::Site(site) => ResourceId::new(ResourceKind::new(SITE), "-", site.as_str()),
            Self::Resource(resource) => resource.clone(),
        }
    }

    /// What a resource stands for.
    pub fn of(resource: &ResourceId) -> Self {
        if resource.kind().as_str() == EVERYTHING {
            return Self::Everything;
        }
        Self::site_of(resource).unwrap_or_else(|| Self::Resource(resource.clone()))
    }

    /// The site whose hosts a pseudo-resource stands for.
    pub fn site_of(resource: &ResourceId) -> Option<Self> {
        (resource.kind().as_str() == SITE).then(|| Self::Site(SiteId::new(resource.name())))
    }

    /// Whether a resource is a pseudo-resource: what is ordered for it matters to others.
    pub fn covers_more_than(resource: &ResourceId) -> bool {
        [EVERYTHING, SITE].contains(&resource.kind().as_str())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Site(site) => write!(f, "site {site}"),
            Self::Resource(resource) => write!(f, "{resource}"),
        }
    }
}
