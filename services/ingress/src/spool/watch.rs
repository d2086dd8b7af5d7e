//! What an operator sees of the spool: readiness, metrics, alarms.

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::time::elapsed;
use bellhop_domain::typed::word;
use bellhop_service::{Alarms, Dependency};
use jiff::Timestamp;

use super::Spool;
use super::folder::{Aside, Depth};
use super::writer::NotSpooled;
use crate::metrics::IngressMetrics;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// From how full on an operator is told, in percent.
const NEARLY_FULL: u64 = 80;

/// The alarms of the spool, by kind.
const NEARLY_FULL_ALARM: &str = "spool_nearly_full";
const UNUSABLE_ALARM: &str = "spool_unusable";
const REFUSED_ALARM: &str = "spool_refused";
const DAMAGED_ALARM: &str = "spool_damaged";
const UNREAD_ALARM: &str = "spool_unread";
/// What they are about.
const KEY: &str = "spool";

/// Where the state of the spool is shown.
#[derive(Debug)]
pub(crate) struct SpoolWatch {
    pub(crate) dependency: Dependency,
    pub(crate) alarms: Alarms,
    pub(crate) metrics: IngressMetrics,
}

/// The state of the spool at one instant.
#[derive(Debug)]
struct Sight {
    depth: Depth,
    aside: Aside,
    max_bytes: u64,
    trouble: Option<NotSpooled>,
    unread: Option<String>,
    path: String,
}

impl SpoolWatch {
    /// There is none.
    pub(crate) fn not_configured(&self) {
        self.dependency.not_configured(
            "SPOOL_DIR is not set: while NATS is away, webhooks are answered 503 and are lost",
        );
    }

    /// Shows how the spool is, until dropped.
    pub(crate) async fn follow(&self, spool: &Arc<Spool>) {
        loop {
            self.show(&spool.sight(), Timestamp::now());
            tokio::time::sleep(LOOK).await;
            let spool = Arc::clone(spool);
            let looked = tokio::task::spawn_blocking(move || {
                if let Err(error) = spool.folder.count_aside() {
                    tracing::debug!(%error, "the spool's folder can't be read");
                }
                spool.writer.look_again(&spool.folder);
            });
            // It fails only if the process is ending.
            let _ending = looked.await;
        }
    }

    fn show(&self, sight: &Sight, now: Timestamp) {
        let Depth {
            entries,
            bytes,
            since,
        } = sight.depth;
        let age = since.map_or(Duration::ZERO, |since| elapsed(since, now));
        self.metrics.spool(entries, bytes, sight.max_bytes, age);
        match &sight.trouble {
            Some(why) => self
                .dependency
                .degraded(format!("it takes no webhooks: {why}")),
            None if entries > 0 => self
                .dependency
                .degraded("spooling: webhooks wait here until NATS takes them"),
            None => self.dependency.ok(),
        }
        for (kind, text) in alarms(sight) {
            match text {
                Some(text) => self.alarms.raise(kind, KEY, &text),
                None => self.alarms.clear(kind, KEY),
            }
        }
    }
}

impl Spool {
    fn sight(&self) -> Sight {
        Sight {
            depth: self.folder.depth(),
            aside: self.folder.aside(),
            max_bytes: self.folder.max_bytes(),
            trouble: self.trouble(),
            unread: self.unread(),
            path: self.folder.path().display().to_string(),
        }
    }
}

/// Each kind of alarm, with its text where it is on.
fn alarms(sight: &Sight) -> [(&'static str, Option<String>); 5] {
    let Sight {
        depth,
        aside,
        max_bytes,
        trouble,
        unread,
        path,
    } = sight;
    let is_nearly_full = depth.bytes >= max_bytes / 100 * NEARLY_FULL;
    let nearly_full = is_nearly_full.then(|| {
        format!(
            "the spool has {NEARLY_FULL} % of SPOOL_MAX_BYTES or more: when it is full, webhooks are answered 503 and are \
             lost; mend NATS, then it empties by itself"
        )
    });
    let unusable = trouble.as_ref().map(|why| {
        format!("{why}: while NATS is away too, webhooks are answered 503 and are lost; mend NATS, and see to {path}")
    });
    let refused = (aside.refused > 0).then(|| {
        format!(
            "{} file(s) in {path}/refused hold webhooks that NATS refuses as they are (too large?) and that were answered \
             2xx: `bellhop spool show --spool-dir {}` lists them; set `max_payload` of NATS some 32 KiB above MAX_BODY_BYTES and start the \
             ingress again, or see to their reservations by hand and remove the files",
            aside.refused,
            word(path)
        )
    });
    let damaged = (aside.damaged > 0).then(|| {
        format!(
            "{} file(s) in {path}/damaged hold webhooks that can't be read any more, and that were answered 2xx; what \
             could be read of them is stored: look after the disk, compare the reservations of the files' times, then \
             remove the files",
            aside.damaged
        )
    });
    let unread = unread.as_ref().map(|why| {
        format!(
            "{why}: what is in them was answered 2xx and nothing comes of it; look after the disk, the limit of open files and \
             the files' owner: they are tried again by themselves"
        )
    });
    [
        (NEARLY_FULL_ALARM, nearly_full),
        (UNUSABLE_ALARM, unusable),
        (REFUSED_ALARM, refused),
        (DAMAGED_ALARM, damaged),
        (UNREAD_ALARM, unread),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(sight: &Sight) -> Vec<&'static str> {
        let on = alarms(sight).into_iter().filter(|(_, text)| text.is_some());
        on.map(|(kind, _)| kind).collect()
    }

    #[test]
    fn an_alarm_is_on_only_while_there_is_something_to_see_to() {
        let mut sight = Sight {
            depth: Depth {
                bytes: 799,
                ..Depth::default()
            },
            aside: Aside::default(),
            max_bytes: 1000,
            trouble: None,
            unread: None,
            path: "/spool".to_owned(),
        };
        assert!(on(&sight).is_empty());
        sight.depth.bytes = 800;
        assert_eq!(on(&sight), [NEARLY_FULL_ALARM]);
        sight.trouble = Some(NotSpooled::TooSlow);
        sight.unread = Some("1 file".to_owned());
        sight.aside = Aside {
            refused: 1,
            damaged: 2,
            ..Aside::default()
        };
        let all = [
            NEARLY_FULL_ALARM,
            UNUSABLE_ALARM,
            REFUSED_ALARM,
            DAMAGED_ALARM,
            UNREAD_ALARM,
        ];
        assert_eq!(on(&sight), all);
    }
}
