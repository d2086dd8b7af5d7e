//! The secrets that sign reports, read anew while the service runs, so that one can be replaced without a restart.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bellhop_reservation_system::{SecretsError, WebhookId, WebhookSecret, WebhookSecrets};
use bellhop_service::settings::secret;
use bellhop_service::{Alarms, Shown};
use secrecy::ExposeSecret as _;

use crate::error::NotifierError;
use crate::settings::ReportSettings;

/// How often the files are read. Kubernetes takes about a minute to bring a changed Secret into a pod.
const RELOAD_PERIOD: Duration = Duration::from_secs(10);

/// All secrets as they are now. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct SigningSecrets {
    current: Arc<RwLock<WebhookSecrets>>,
    settings: Arc<ReportSettings>,
}

impl SigningSecrets {
    /// Reads them for the first time.
    pub(crate) fn load(settings: &ReportSettings) -> Result<Self, NotifierError> {
        Ok(Self {
            current: Arc::new(RwLock::new(read(settings)?)),
            settings: Arc::new(settings.clone()),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Warns of those that are easily guessed, and no longer of those that were replaced.
    pub(crate) fn warn_of_weak(&self, shown: &Shown) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let text = |why| format!("{why}: whoever guesses it can sign reports, and webhooks too");
        let weak = current.weak();
        let weak = weak.map(|(place, why)| (place.to_string(), text(why)));
        shown.warn_of_exactly("weak_secret", &weak.collect());
    }

    /// The secrets that sign for a webhook, the newest first. Where none is known the files are read once more: it may be a new
    /// webhook.
    pub(crate) async fn for_webhook(&self, webhook: &WebhookId) -> Vec<WebhookSecret> {
        let known = self.known(webhook);
        // An error is told by the periodic reload.
        if known.is_empty() && self.reload().await.is_ok() {
            return self.known(webhook);
        }
        known
    }

    /// Reads the files anew from time to time, for ever. While they can't be used the secrets before stay in use.
    pub(crate) async fn keep_fresh(self, alarms: Alarms, shown: Shown) {
        loop {
            tokio::time::sleep(RELOAD_PERIOD).await;
            match self.reload().await {
                Ok(()) => {
                    alarms.clear("webhook_secrets", "webhook-secrets");
                    self.warn_of_weak(&shown);
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error)
                        .map_or_else(String::new, |cause| format!(": {cause}"));
                    let text =
                        format!("{error}{cause}; the ones that were read before stay in use");
                    alarms.raise("webhook_secrets", "webhook-secrets", &text);
                }
            }
        }
    }

    fn known(&self, webhook: &WebhookId) -> Vec<WebhookSecret> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.secrets_for(webhook).to_vec()
    }

    async fn reload(&self) -> Result<(), NotifierError> {
        let settings = Arc::clone(&self.settings);
        if settings.webhook_secret_file.is_none() && settings.webhook_secrets_path.is_none() {
            return Ok(());
        }
        // A blocking task ends without a result only if it panicked, or when the runtime ends.
        let Ok(fresh) = tokio::task::spawn_blocking(move || read(&settings)).await else {
            return Ok(());
        };
        let fresh = fresh?;
        // A folder that is being filled anew, or a mistake: nothing could be signed any more.
        if fresh.is_empty() && !self.is_empty() {
            return Err(NotifierError::NoSecret);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

fn read(settings: &ReportSettings) -> Result<WebhookSecrets, NotifierError> {
    let default = secret(
        "WEBHOOK_SECRET",
        settings.webhook_secret.as_ref(),
        settings.webhook_secret_file.as_deref(),
    )?;
    let defaults = match default {
        // An empty one can't come this far: neither a variable nor a file of a secret may be empty. One of blanks can.
        Some(default) => WebhookSecret::parse_lines(default.expose_secret()).unwrap_or_default(),
        None => Vec::new(),
    };
    let secrets: Result<_, SecretsError> = match &settings.webhook_secrets_path {
        Some(path) => WebhookSecrets::load(defaults, path),
        None => WebhookSecrets::new(defaults, [].into()),
    };
    Ok(secrets?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_reservation_system::sign;

    use super::*;
    use crate::settings::NotifierSettings;

    fn settings(arguments: &[&str]) -> ReportSettings {
        let arguments = std::iter::once("notifier").chain(arguments.iter().copied());
        bellhop_service::settings::parse::<NotifierSettings>(arguments)
            .unwrap()
            .reports
    }

    fn webhook(id: &str) -> WebhookId {
        WebhookId::parse(id).unwrap()
    }

    async fn signatures(secrets: &SigningSecrets, id: &str) -> Vec<String> {
        let secrets = secrets.for_webhook(&webhook(id)).await;
        secrets.iter().map(|secret| sign(secret, b"x")).collect()
    }

    fn signature_of(secret: &str) -> String {
        sign(&WebhookSecret::new(secret).unwrap(), b"x")
    }

    #[tokio::test]
    async fn a_webhook_that_is_added_later_signs_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("12"), "one").unwrap();
        let secrets = SigningSecrets::load(&settings(&["--webhook-secrets-path", path])).unwrap();
        assert!(secrets.for_webhook(&webhook("13")).await.is_empty());
        std::fs::write(folder.path().join("13"), "two").unwrap();
        assert_eq!(signatures(&secrets, "13").await, [signature_of("two")]);
    }

    #[tokio::test]
    async fn of_several_secrets_the_first_signs_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "new\nold\n").unwrap();
        let path = file.path().to_str().unwrap();
        let secrets = SigningSecrets::load(&settings(&["--webhook-secret-file", path])).unwrap();
        let [new, old] = ["new", "old"].map(signature_of);
        assert_eq!(signatures(&secrets, "12").await, [new, old]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_weak_secret_that_comes_by_a_change_is_warned_of_until_it_is_replaced() {
        const STRONG: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), STRONG).unwrap();
        let path = file.path().to_str().unwrap();
        let secrets = SigningSecrets::load(&settings(&["--webhook-secret-file", path])).unwrap();
        let metrics = bellhop_service::Metrics::new("test", "0");
        let (alarms, shown) = (Alarms::new(&metrics), Shown::new(&metrics));
        let fresh = tokio::spawn(secrets.keep_fresh(alarms, shown.clone()));
        for (secret, weak) in [("secret", 1), (STRONG, 0)] {
            std::fs::write(file.path(), secret).unwrap();
            tokio::time::sleep(RELOAD_PERIOD * 3).await;
            assert_eq!(shown.list().len(), weak, "{:?}", shown.list());
        }
        fresh.abort();
    }

    #[tokio::test]
    async fn a_file_that_is_broken_later_leaves_the_secrets_as_they_were() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"12": "one"}"#).unwrap();
        let path = file.path().to_str().unwrap();
        let secrets = SigningSecrets::load(&settings(&["--webhook-secrets-path", path])).unwrap();
        for broken in ["{", "{}"] {
            std::fs::write(file.path(), broken).unwrap();
            assert!(secrets.reload().await.is_err(), "{broken}");
        }
        assert_eq!(signatures(&secrets, "12").await, [signature_of("one")]);
    }
}
