//! Where secrets come from: a mapping file, or a folder of files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::SecretsError;
use crate::ids::WebhookId;
use crate::signature::{EmptySecret, WebhookSecret};

/// Parses a mapping file: a JSON or YAML object of webhook ids, each with a secret or a list of secrets (newest first).
///
/// # Errors
/// [`SecretsError::Mapping`] with the place, or [`SecretsError::Empty`] with the webhook id.
pub fn parse_mapping(text: &str) -> Result<BTreeMap<WebhookId, Vec<WebhookSecret>>, SecretsError> {
    let Mapping(texts) =
        parse_json_or_yaml(text).map_err(|place| SecretsError::Mapping { place })?;
    texts
        .into_iter()
        .map(|(webhook_id, texts)| {
            let secrets: Result<Vec<_>, EmptySecret> = texts
                .iter()
                .map(|text| WebhookSecret::new(text.expose_secret()))
                .collect();
            match secrets {
                Ok(secrets) if !secrets.is_empty() => Ok((webhook_id, secrets)),
                _ => Err(SecretsError::Empty { webhook_id }),
            }
        })
        .collect()
}

fn parse_json_or_yaml(text: &str) -> Result<Mapping, String> {
    if text.trim_start().starts_with('{') {
        // Nearly all JSON is YAML, but not all of it (tabs): ask the JSON parser first.
        if let Ok(mapping) = serde_json::from_str(text) {
            return Ok(mapping);
        }
    }
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(location) => format!("line {}, column {}", location.line(), location.column()),
        None => "its beginning".to_owned(),
    })
}

/// Reads a mapping file, or a folder of secrets.
pub(super) fn load(path: &Path) -> Result<BTreeMap<WebhookId, Vec<WebhookSecret>>, SecretsError> {
    let unreadable = |source| SecretsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        load_folder(path)
    } else {
        parse_mapping(read(path)?.expose_secret())
    }
}

fn load_folder(folder: &Path) -> Result<BTreeMap<WebhookId, Vec<WebhookSecret>>, SecretsError> {
    let unreadable = |source| SecretsError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut by_webhook = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        // A Kubernetes volume keeps its versions in `..data` and `..<time>`; its files are links into them.
        if name.starts_with('.') {
            continue;
        }
        let Ok(webhook_id) = WebhookId::parse(&name) else {
            return Err(SecretsError::NotAWebhookId { path });
        };
        match WebhookSecret::parse_lines(read(&path)?.expose_secret()) {
            Ok(secrets) => by_webhook.insert(webhook_id, secrets),
            Err(EmptySecret) => return Err(SecretsError::Empty { webhook_id }),
        };
    }
    Ok(by_webhook)
}

/// The text is wiped from memory when it has been read.
fn read(path: &Path) -> Result<SecretString, SecretsError> {
    let text = std::fs::read_to_string(path);
    text.map(SecretString::from)
        .map_err(|source| SecretsError::Unreadable {
            path: path.to_owned(),
            source,
        })
}

/// The mapping as it stands in the file.
struct Mapping(BTreeMap<WebhookId, Vec<SecretString>>);

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Mapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of webhook ids to secrets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mapping, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((webhook_id, OneOrMore(secrets))) =
                    map.next_entry::<WebhookId, OneOrMore>()?
                {
                    if entries.insert(webhook_id, secrets).is_some() {
                        return Err(de::Error::custom("a webhook id is named twice"));
                    }
                }
                Ok(Mapping(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

struct OneOrMore(Vec<SecretString>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList;

        impl<'de> Visitor<'de> for TextOrList {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret or a list of secrets")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![SecretString::from(text)]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut secrets = Vec::new();
                while let Some(secret) = list.next_element()? {
                    secrets.push(secret);
                }
                Ok(OneOrMore(secrets))
            }
        }

        deserializer.deserialize_any(TextOrList)
    }
}
