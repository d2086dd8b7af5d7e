//! The configured secrets, read again every few seconds.
//!
//! A Kubernetes volume changes under a running process, and a rotation must not need a restart. Reading is cheap (at most
//! 64 short secrets), and works on every file system; notifications do not. A reload that can't be used changes nothing.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bellhop_reservation_system::{
    EmptySecret, SecretPlace, SecretsError, WebhookSecret, WebhookSecrets, sign,
};
use bellhop_service::settings::secret;
use bellhop_service::{Alarms, Metrics, SettingsError, Shown};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::last_used::LastUsed;
use crate::settings::IngressSettings;

/// How often the files are read.
const RELOAD: Duration = Duration::from_secs(3);
/// The kind of the alarm for a reload that can't be used.
const ALARM: &str = "webhook_secrets";
/// The kind of what is shown of a secret that is easily guessed.
const WEAK: &str = "weak_secret";

/// Why the secrets can't be used. No text of a secret is ever part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretsUnusable {
    /// `WEBHOOK_SECRET` or `WEBHOOK_SECRET_FILE`.
    #[error(transparent)]
    Setting(#[from] SettingsError),
    /// There is nothing but white space.
    #[error("WEBHOOK_SECRET (or WEBHOOK_SECRET_FILE)")]
    Blank(#[from] EmptySecret),
    /// `WEBHOOK_SECRETS_PATH`.
    #[error("WEBHOOK_SECRETS_PATH")]
    Mapping(#[from] SecretsError),
    /// There is no secret at all, and unsigned webhooks are not accepted.
    #[error(
        "no webhook secret is configured, so nobody could be trusted: set WEBHOOK_SECRET, WEBHOOK_SECRET_FILE or \
         WEBHOOK_SECRETS_PATH (or, only to try it out, ACCEPT_UNSIGNED_WEBHOOKS=true)"
    )]
    None,
}

/// Where the secrets come from.
#[derive(Debug, Clone)]
struct Origin {
    secret: Option<SecretString>,
    secret_file: Option<PathBuf>,
    mapping: Option<PathBuf>,
    /// The key of the marks, of this process only.
    marks: RandomState,
}

/// What was read, with a mark that tells it from another reading. The mark is a keyed hash: a signature, even one over
/// nothing, would be one that we accept.
#[derive(Debug)]
struct Loaded {
    secrets: WebhookSecrets,
    mark: u64,
}

impl Origin {
    fn load(&self) -> Result<Loaded, SecretsUnusable> {
        let text = secret(
            "WEBHOOK_SECRET",
            self.secret.as_ref(),
            self.secret_file.as_deref(),
        )?;
        let defaults = match &text {
            Some(text) => WebhookSecret::parse_lines(text.expose_secret())?,
            None => Vec::new(),
        };
        let mut marked: Vec<String> = defaults.iter().map(|secret| sign(secret, b"")).collect();
        let secrets = match &self.mapping {
            Some(path) => WebhookSecrets::load(defaults, path)?,
            None => WebhookSecrets::new(defaults, std::collections::BTreeMap::new())?,
        };
        for webhook_id in secrets.webhook_ids() {
            marked.push(webhook_id.to_string());
            marked.extend(
                secrets
                    .secrets_for(webhook_id)
                    .iter()
                    .map(|secret| sign(secret, b"")),
            );
        }
        let mark = self.marks.hash_one(marked);
        Ok(Loaded { secrets, mark })
    }

    fn can_change(&self) -> bool {
        self.secret_file.is_some() || self.mapping.is_some()
    }
}

/// The secrets that are valid now.
#[derive(Debug)]
pub(crate) struct KnownSecrets {
    origin: Origin,
    loaded: RwLock<(Arc<WebhookSecrets>, u64)>,
    last_used: LastUsed,
}

impl KnownSecrets {
    /// Reads the secrets for the first time.
    pub(crate) fn load(settings: &IngressSettings) -> Result<Self, SecretsUnusable> {
        let origin = Origin {
            secret: settings.webhook_secret.clone(),
            secret_file: settings.webhook_secret_file.clone(),
            mapping: settings.webhook_secrets_path.clone(),
            marks: RandomState::new(),
        };
        let Loaded { secrets, mark } = origin.load()?;
        if secrets.is_empty() && !settings.accept_unsigned_webhooks {
            return Err(SecretsUnusable::None);
        }
        let last_used = LastUsed::default();
        last_used.renew(&WebhookSecrets::default(), &secrets);
        Ok(Self {
            last_used,
            origin,
            loaded: RwLock::new((Arc::new(secrets), mark)),
        })
    }

    /// The secrets that are valid now.
    pub(crate) fn current(&self) -> Arc<WebhookSecrets> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Shows when each was last used, and which are weak.
    pub(crate) fn show(&self, metrics: &Metrics, shown: &Shown) {
        self.last_used.register(metrics);
        self.warn_of_weak(shown);
    }

    /// A webhook came that was signed with some of them.
    pub(crate) fn used(&self, of: &Arc<WebhookSecrets>, places: &[&SecretPlace], now: Timestamp) {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        // Where they have just changed, another secret may be in that place.
        if Arc::ptr_eq(&loaded.0, of) {
            for place in places {
                self.last_used.used(place, now);
            }
        }
    }

    fn warn_of_weak(&self, shown: &Shown) {
        let secrets = self.current();
        let text = |why| format!("{why}: whoever guesses it can start and end reservations");
        let weak = secrets.weak();
        let weak = weak.map(|(place, why)| (place.to_string(), text(why)));
        shown.warn_of_exactly(WEAK, &weak.collect());
    }

    /// Reads the files again every few seconds until the token is cancelled.
    pub(crate) async fn follow(
        self: Arc<Self>,
        alarms: Alarms,
        shown: Shown,
        token: CancellationToken,
    ) {
        if !self.origin.can_change() {
            return;
        }
        while token
            .run_until_cancelled(tokio::time::sleep(RELOAD))
            .await
            .is_some()
        {
            let this = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || this.reload()).await;
            match reloaded {
                Ok(Ok(has_changed)) => {
                    alarms.clear(ALARM, "reload");
                    if has_changed {
                        self.warn_of_weak(&shown);
                    }
                }
                Ok(Err(error)) => {
                    let text = format!(
                        "the webhook secrets can't be read again, the earlier ones stay valid: {}",
                        with_causes(&error)
                    );
                    alarms.raise(ALARM, "reload", &text);
                }
                // The process is ending.
                Err(_) => return,
            }
        }
    }

    /// Says whether they have changed.
    fn reload(&self) -> Result<bool, SecretsUnusable> {
        let Loaded { secrets, mark } = self.origin.load()?;
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if mark == loaded.1 {
            return Ok(false);
        }
        // Taking away the last secret would open the door to everybody, whatever was meant by it.
        if secrets.is_empty() {
            return Err(SecretsUnusable::None);
        }
        tracing::info!(
            secrets = secrets.len(),
            webhooks = secrets.webhook_ids().count(),
            has_default = secrets.has_default(),
            "the webhook secrets have changed"
        );
        self.last_used.renew(&loaded.0, &secrets);
        *loaded = (Arc::new(secrets), mark);
        Ok(true)
    }
}

/// An error's text with those of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_service::settings::parse;

    use super::*;

    #[test]
    fn its_debug_output_holds_neither_a_secret_nor_a_signature() {
        let settings = parse(["ingress", "--webhook-secret", "hunter2"]).unwrap();
        let known = KnownSecrets::load(&settings).unwrap();
        let shown = format!("{known:?} {:?}", known.origin.load().unwrap());
        let accepted = sign(&WebhookSecret::new("hunter2").unwrap(), b"");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains(&accepted), "{shown}");
    }
}
