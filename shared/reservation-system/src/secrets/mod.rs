//! Which secret may speak for which webhook.
//!
//! Each webhook of the reservation system has a secret of its own. They come from a *mapping*: a file (JSON or YAML)
//! or a folder with one file per webhook id, as a Kubernetes Secret volume is. A default secret is valid for every
//! webhook id that the mapping doesn't name. Several secrets for one id allow rotation: the first one signs, all of
//! them verify.

mod mapping;
mod weakness;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::ids::WebhookId;
use crate::signature::{Signature, WebhookSecret};

pub use mapping::parse_mapping;
pub use weakness::Weakness;

/// The most secrets that are accepted in all: each one is tried over each body.
pub const MAX_SECRETS: usize = 64;

/// All secrets that are configured.
#[derive(Debug, Clone, Default)]
pub struct WebhookSecrets {
    defaults: Vec<WebhookSecret>,
    by_webhook: BTreeMap<WebhookId, Vec<WebhookSecret>>,
}

/// Why the secrets can't be used. No text of a secret is ever part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file or folder could not be read.
    #[error("the secrets at {} can't be read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of the folder is not named like a webhook id.
    #[error(
        "the file {} is not named by a webhook id (letters, digits, `-`, `_`): name it so, or move it away",
        path.display()
    )]
    NotAWebhookId {
        /// The file.
        path: PathBuf,
    },
    /// A secret is empty.
    #[error("the secret of webhook {webhook_id} is empty")]
    Empty {
        /// The webhook that it belongs to.
        webhook_id: WebhookId,
    },
    /// The mapping file has another shape. The parser's own text is left out: it quotes the file.
    #[error(
        "the mapping of webhook ids to secrets is not understood at {place}: it must be JSON or YAML like \
         {{\"12\": \"secret\", \"13\": [\"new\", \"old\"]}}, each webhook id once, each secret a quoted text"
    )]
    Mapping {
        /// Line and column, or "its beginning".
        place: String,
    },
    /// More secrets than are ever tried.
    #[error("{count} secrets are configured, at most {MAX_SECRETS} are accepted: remove old ones")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// Which of the configured secrets one is; its text is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretPlace {
    /// The webhook that it belongs to; none for a default one.
    pub webhook_id: Option<WebhookId>,
    /// Its place among those of the webhook: 1 is the newest, which signs.
    pub position: usize,
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.webhook_id {
            Some(webhook_id) => write!(f, "secret {} of webhook {webhook_id}", self.position),
            None => write!(f, "default secret {}", self.position),
        }
    }
}

/// The outcome of a good check: the webhook ids that whoever knows the matching secret may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The secrets that matched.
    matched: BTreeSet<SecretPlace>,
    named: BTreeSet<WebhookId>,
    /// A default secret matched: any id but these, which have secrets of their own.
    any_but: Option<BTreeSet<WebhookId>>,
}

/// No configured secret made the signature over this body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no configured secret matches the signature")]
pub struct Unverified;

impl WebhookSecrets {
    /// Puts default secrets and a mapping together. Both may be empty: then nothing verifies.
    ///
    /// # Errors
    /// [`SecretsError::TooMany`] above [`MAX_SECRETS`]; [`SecretsError::Empty`] where an id has no secret.
    pub fn new(
        defaults: Vec<WebhookSecret>,
        by_webhook: BTreeMap<WebhookId, Vec<WebhookSecret>>,
    ) -> Result<Self, SecretsError> {
        if let Some((webhook_id, _)) = by_webhook.iter().find(|(_, secrets)| secrets.is_empty()) {
            return Err(SecretsError::Empty {
                webhook_id: webhook_id.clone(),
            });
        }
        let secrets = Self {
            defaults,
            by_webhook,
        };
        match secrets.len() {
            count if count > MAX_SECRETS => Err(SecretsError::TooMany { count }),
            _ => Ok(secrets),
        }
    }

    /// Reads the mapping from a file (JSON or YAML) or from a folder (one file per webhook id, one secret a line).
    ///
    /// # Errors
    /// What can't be read or understood, by path or place, never by content.
    pub fn load(defaults: Vec<WebhookSecret>, path: &Path) -> Result<Self, SecretsError> {
        let by_webhook = mapping::load(path)?;
        Self::new(defaults, by_webhook)
    }

    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many secrets there are.
    pub fn len(&self) -> usize {
        self.defaults.len() + self.by_webhook.values().map(Vec::len).sum::<usize>()
    }

    /// Whether there is a secret for webhook ids that the mapping doesn't name.
    pub fn has_default(&self) -> bool {
        !self.defaults.is_empty()
    }

    /// The webhook ids that the mapping names.
    pub fn webhook_ids(&self) -> impl Iterator<Item = &WebhookId> {
        self.by_webhook.keys()
    }

    /// Tries every secret over the body, in constant time and without an early exit, and says whom the matching ones
    /// may speak for.
    ///
    /// # Errors
    /// [`Unverified`] where none matches.
    pub fn verify(&self, signature: &Signature, body: &[u8]) -> Result<Verified, Unverified> {
        let mut matched = BTreeSet::new();
        for (webhook_id, position, secret) in self.all() {
            if secret.verifies(signature, body) {
                matched.insert(SecretPlace {
                    webhook_id: webhook_id.cloned(),
                    position,
                });
            }
        }
        if matched.is_empty() {
            return Err(Unverified);
        }
        let named = matched.iter().filter_map(|it| it.webhook_id.clone());
        let default_matched = matched.iter().any(|it| it.webhook_id.is_none());
        Ok(Verified {
            named: named.collect(),
            matched,
            any_but: default_matched.then(|| self.by_webhook.keys().cloned().collect()),
        })
    }

    /// Every secret and which one it is.
    pub fn places(&self) -> impl Iterator<Item = (SecretPlace, &WebhookSecret)> {
        self.all().map(|(webhook_id, position, secret)| {
            let webhook_id = webhook_id.cloned();
            (
                SecretPlace {
                    webhook_id,
                    position,
                },
                secret,
            )
        })
    }

    /// The secrets that are easily guessed, each with the reason.
    pub fn weak(&self) -> impl Iterator<Item = (SecretPlace, Weakness)> {
        self.places()
            .filter_map(|(place, secret)| Some((place, secret.weakness()?)))
    }

    fn all(&self) -> impl Iterator<Item = (Option<&WebhookId>, usize, &WebhookSecret)> {
        let of = |webhook_id, secrets| {
            (1..)
                .zip(secrets)
                .map(move |(position, secret)| (webhook_id, position, secret))
        };
        let named = self.by_webhook.iter();
        let named =
            named.flat_map(move |(webhook_id, secrets)| of(Some(webhook_id), secrets.iter()));
        of(None, self.defaults.iter()).chain(named)
    }

    /// The secrets of a webhook, the newest first: its own where the mapping names it, else the default ones.
    pub fn secrets_for(&self, webhook_id: &WebhookId) -> &[WebhookSecret] {
        self.by_webhook.get(webhook_id).unwrap_or(&self.defaults)
    }

    /// The secret that signs what is sent about this webhook.
    pub fn signing_secret(&self, webhook_id: &WebhookId) -> Option<&WebhookSecret> {
        self.secrets_for(webhook_id).first()
    }
}

impl Verified {
    /// Whether the sender, by its signature, may speak for this webhook.
    pub fn may_speak_for(&self, webhook_id: &WebhookId) -> bool {
        self.named.contains(webhook_id)
            || self
                .any_but
                .as_ref()
                .is_some_and(|named| !named.contains(webhook_id))
    }

    /// The secrets by which the sender speaks for a webhook; where it names none, all that it knows.
    pub fn secrets_used(
        &self,
        webhook_id: Option<&WebhookId>,
    ) -> impl Iterator<Item = &SecretPlace> {
        let own = webhook_id.filter(|webhook_id| self.named.contains(*webhook_id));
        self.matched
            .iter()
            .filter(move |place| match (webhook_id, own) {
                (None, _) => true,
                (Some(_), own) => place.webhook_id.as_ref() == own,
            })
    }

    /// The webhook that a verified but unreadable body must have come from, where only one is possible.
    pub fn sole_webhook_id(&self) -> Option<&WebhookId> {
        match (&self.any_but, self.named.len()) {
            (None, 1) => self.named.first(),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::signature::sign;

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::new(text).unwrap()
    }

    fn id(text: &str) -> WebhookId {
        WebhookId::parse(text).unwrap()
    }

    fn signed_with(text: &str) -> Signature {
        Signature::parse(sign(&secret(text), b"body").as_bytes()).unwrap()
    }

    fn secrets() -> WebhookSecrets {
        let mapping =
            parse_mapping(r#"{"12": "twelve", "13": ["new", "old"], "14": "twelve"}"#).unwrap();
        WebhookSecrets::new(vec![secret("default")], mapping).unwrap()
    }

    #[test]
    fn a_secret_speaks_for_the_webhooks_that_it_belongs_to_and_no_other() {
        let verified = secrets().verify(&signed_with("twelve"), b"body").unwrap();
        assert!(verified.may_speak_for(&id("12")));
        assert!(verified.may_speak_for(&id("14")));
        assert!(!verified.may_speak_for(&id("13")));
        assert!(!verified.may_speak_for(&id("99")));
        assert_eq!(verified.sole_webhook_id(), None);
    }

    #[test]
    fn the_default_secret_speaks_for_every_webhook_that_the_mapping_does_not_name() {
        let verified = secrets().verify(&signed_with("default"), b"body").unwrap();
        assert!(verified.may_speak_for(&id("99")));
        assert!(!verified.may_speak_for(&id("12")));
        assert!(!verified.may_speak_for(&id("13")));
    }

    #[test]
    fn during_a_rotation_the_new_and_the_old_secret_verify_and_the_new_one_signs() {
        let secrets = secrets();
        for text in ["new", "old"] {
            let verified = secrets.verify(&signed_with(text), b"body").unwrap();
            assert_eq!(verified.sole_webhook_id(), Some(&id("13")));
        }
        let signing = secrets.signing_secret(&id("13")).unwrap();
        assert_eq!(sign(signing, b"x"), sign(&secret("new"), b"x"));
    }

    #[test]
    fn it_is_known_which_secret_a_sender_used_and_not_what_it_is() {
        let secrets = secrets();
        let used = |text: &str, webhook_id: Option<&str>| {
            let verified = secrets.verify(&signed_with(text), b"body").unwrap();
            let webhook_id = webhook_id.map(id);
            let used = verified.secrets_used(webhook_id.as_ref());
            used.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(used("new", Some("13")), ["secret 1 of webhook 13"]);
        assert_eq!(used("old", Some("13")), ["secret 2 of webhook 13"]);
        // Two webhooks have this one.
        assert_eq!(used("twelve", Some("14")), ["secret 1 of webhook 14"]);
        assert_eq!(used("twelve", None).len(), 2);
        assert_eq!(used("default", Some("99")), ["default secret 1"]);
        assert_eq!(secrets.places().count(), secrets.len());
    }

    #[test]
    fn an_unknown_secret_or_another_body_is_unverified() {
        assert_eq!(
            secrets().verify(&signed_with("stranger"), b"body"),
            Err(Unverified)
        );
        assert_eq!(
            secrets().verify(&signed_with("twelve"), b"Body"),
            Err(Unverified)
        );
        assert_eq!(
            WebhookSecrets::default().verify(&signed_with("twelve"), b"body"),
            Err(Unverified)
        );
    }

    #[test]
    fn the_default_secret_signs_for_webhooks_without_one_of_their_own() {
        let signing = secrets();
        assert_eq!(
            sign(signing.signing_secret(&id("99")).unwrap(), b"x"),
            sign(&secret("default"), b"x")
        );
        assert!(
            WebhookSecrets::default()
                .signing_secret(&id("99"))
                .is_none()
        );
    }

    #[test]
    fn yaml_and_json_mappings_are_read_alike() {
        let yaml = parse_mapping("12: twelve\n\"13\":\n  - new\n  - old\n").unwrap();
        let json =
            parse_mapping("{\n\t\"12\": \"twelve\",\n\t\"13\": [\"new\", \"old\"]\n}\n").unwrap();
        for mapping in [yaml, json] {
            let counts: Vec<_> = mapping
                .iter()
                .map(|(id, secrets)| (id.as_str(), secrets.len()))
                .collect();
            assert_eq!(counts, [("12", 1), ("13", 2)]);
        }
    }

    #[test]
    fn a_mapping_that_is_not_understood_is_refused_without_printing_it() {
        for text in [
            r#"{"12": "hush""#,
            r#"{"12": {"secret": "hush"}}"#,
            r#"{"12": 1234567890123}"#,
            r#"["hush"]"#,
            "hush",
            "12: [hush\n",
            r#"{"1 2": "hush"}"#,
            r#"{"12": "hush", "12": "hush"}"#,
            "12: hush\n\"12\": hush\n",
        ] {
            let error = parse_mapping(text).unwrap_err();
            assert!(
                matches!(error, SecretsError::Mapping { .. }),
                "{text}: {error}"
            );
            let printed = format!("{error} {error:?}");
            assert!(
                !printed.contains("hush") && !printed.contains("1234567890123"),
                "{printed}"
            );
        }
    }

    #[test]
    fn an_empty_secret_is_refused_with_its_webhook_id() {
        for text in [r#"{"12": ""}"#, r#"{"12": ["a", " "]}"#, r#"{"12": []}"#] {
            let error = parse_mapping(text).unwrap_err();
            assert_eq!(error.to_string(), "the secret of webhook 12 is empty");
        }
    }

    #[test]
    fn a_folder_is_read_like_a_kubernetes_secret_volume() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("..2026_12_03");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("12"), "twelve\n").unwrap();
        std::fs::write(folder.path().join("..data"), "not a secret").unwrap();
        std::fs::copy(data.join("12"), folder.path().join("12")).unwrap();
        std::fs::write(folder.path().join("13"), "new\nold\n").unwrap();

        let secrets = WebhookSecrets::load(Vec::new(), folder.path()).unwrap();
        assert_eq!(secrets.len(), 3);
        assert!(
            secrets
                .verify(&signed_with("twelve"), b"body")
                .unwrap()
                .may_speak_for(&id("12"))
        );
        assert!(
            secrets
                .verify(&signed_with("old"), b"body")
                .unwrap()
                .may_speak_for(&id("13"))
        );
    }

    #[test]
    fn an_empty_file_or_a_file_of_another_name_in_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("12"), "\n").unwrap();
        let error = WebhookSecrets::load(Vec::new(), folder.path()).unwrap_err();
        assert!(matches!(error, SecretsError::Empty { .. }), "{error}");

        std::fs::remove_file(folder.path().join("12")).unwrap();
        std::fs::write(folder.path().join("12.bak"), "twelve").unwrap();
        let error = WebhookSecrets::load(Vec::new(), folder.path()).unwrap_err();
        assert!(
            matches!(error, SecretsError::NotAWebhookId { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = WebhookSecrets::load(Vec::new(), Path::new("no/such/place")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the secrets at no/such/place can't be read"
        );
    }

    #[test]
    fn more_than_the_most_secrets_are_refused() {
        let many = |count: usize| {
            (0..count)
                .map(|number| secret(&format!("s{number}")))
                .collect::<Vec<_>>()
        };
        assert!(WebhookSecrets::new(many(MAX_SECRETS), BTreeMap::new()).is_ok());
        let error = WebhookSecrets::new(many(MAX_SECRETS + 1), BTreeMap::new()).unwrap_err();
        assert!(
            matches!(error, SecretsError::TooMany { count: 65 }),
            "{error}"
        );
    }
}
