//! Where reports go. A new way out is a new variant here and a module under [`owed`](crate::owed).

use std::fmt;

/// One receiver of reports. Each fact that owes a report owes it to each destination on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// The user's list of notifications.
    Notification,
    /// The webhook log, which administrators read.
    WebhookLog,
}

impl Destination {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Notification, Self::WebhookLog];

    /// Its name in report keys, dead letters, metrics and logs. Never changed: what was delivered is kept under it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::WebhookLog => "webhook-log",
        }
    }

    /// The name of its durable consumer on the ledger. Never changed: the broker keeps under it how far it is.
    pub fn consumer(self) -> &'static str {
        match self {
            Self::Notification => "notifier-notification",
            Self::WebhookLog => "notifier-webhook-log",
        }
    }

    /// The name of its durable consumer of what operators want sent again. Never changed, as above.
    pub fn replay_consumer(self) -> &'static str {
        match self {
            Self::Notification => "notifier-replays-notification",
            Self::WebhookLog => "notifier-replays-webhook-log",
        }
    }

    /// Its name among the dependencies of `/readyz?verbose`.
    pub fn dependency(self) -> &'static str {
        match self {
            Self::Notification => "notification-endpoint",
            Self::WebhookLog => "webhook-log-endpoint",
        }
    }

    /// The variable that holds its address.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Notification => "NOTIFICATION_ENDPOINT",
            Self::WebhookLog => "WEBHOOK_LOG_ENDPOINT",
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
