//! Who sent a request, and for which webhook it may speak.

use bellhop_reservation_system::{
    InvalidWebhookId, SIGNATURE_HEADER, SecretPlace, Signature, Verified, WebhookId, WebhookSecrets,
};
use http::HeaderMap;

/// Whoever sent a request, as far as its signature tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sender {
    /// It knows a configured secret.
    Signed(Verified),
    /// No secret is configured, and the operator chose to accept everybody.
    Anyone,
}

/// Why a request is not accepted as the sender's. For the log only: every answer is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthorized {
    /// There is no signature, or more than one.
    #[error("it has no signature")]
    NotSigned,
    /// The signature has a form that is not known.
    #[error("its signature can't be decoded")]
    Undecodable,
    /// No configured secret made this signature over this body.
    #[error("no configured secret matches its signature")]
    WrongSignature,
    /// The secret that matched belongs to other webhooks.
    #[error("the webhook id in its body or path does not belong to the secret that signed it")]
    NotItsWebhook,
    /// Path and body name different webhooks.
    #[error("the webhook ids in its path and in its body differ")]
    TwoWebhooks,
}

impl Unauthorized {
    /// Whether it came with a signature of a form that a sender makes.
    pub(crate) fn is_well_formed(self) -> bool {
        match self {
            Self::NotSigned | Self::Undecodable => false,
            Self::WrongSignature | Self::NotItsWebhook | Self::TwoWebhooks => true,
        }
    }
}

impl Sender {
    /// The signature that a request carries; none where none is needed. Without any secret everybody is accepted: the
    /// configuration was checked at start, and a reload never takes away the last secret.
    pub(crate) fn signature(
        secrets: &WebhookSecrets,
        headers: &HeaderMap,
    ) -> Result<Option<Signature>, Unauthorized> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let mut signatures = headers.get_all(SIGNATURE_HEADER).iter();
        let (Some(header), None) = (signatures.next(), signatures.next()) else {
            return Err(Unauthorized::NotSigned);
        };
        Signature::parse(header.as_bytes())
            .map(Some)
            .map_err(|_| Unauthorized::Undecodable)
    }

    /// Checks a signature over the raw body.
    pub(crate) fn signed(
        secrets: &WebhookSecrets,
        signature: &Signature,
        body: &[u8],
    ) -> Result<Self, Unauthorized> {
        secrets
            .verify(signature, body)
            .map(Self::Signed)
            .map_err(|_| Unauthorized::WrongSignature)
    }

    /// The secrets by which it speaks for a webhook; none where none is needed.
    pub(crate) fn secrets_used(&self, webhook_id: Option<&WebhookId>) -> Vec<&SecretPlace> {
        match self {
            Self::Anyone => Vec::new(),
            Self::Signed(verified) => verified.secrets_used(webhook_id).collect(),
        }
    }

    /// The webhook that the request is from, by its path and its body. None where neither names it and several are
    /// possible: then it is a body that can't be read.
    pub(crate) fn speaks_for(
        &self,
        in_path: Option<Result<WebhookId, InvalidWebhookId>>,
        in_body: Option<WebhookId>,
    ) -> Result<Option<WebhookId>, Unauthorized> {
        let in_path = in_path
            .transpose()
            .map_err(|InvalidWebhookId| Unauthorized::NotItsWebhook)?;
        let named = match (in_path, in_body) {
            (Some(in_path), Some(in_body)) if in_path != in_body => {
                return Err(Unauthorized::TwoWebhooks);
            }
            (in_path, in_body) => in_body.or(in_path),
        };
        match (self, named) {
            (Self::Anyone, named) => Ok(named),
            (Self::Signed(verified), None) => Ok(verified.sole_webhook_id().cloned()),
            (Self::Signed(verified), Some(named)) if verified.may_speak_for(&named) => {
                Ok(Some(named))
            }
            (Self::Signed(_), Some(_)) => Err(Unauthorized::NotItsWebhook),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_reservation_system::{WebhookSecret, parse_mapping, sign};
    use http::HeaderValue;

    use super::*;

    const BODY: &[u8] = b"{}";

    fn id(text: &str) -> WebhookId {
        WebhookId::parse(text).unwrap()
    }

    fn secrets() -> WebhookSecrets {
        let default = WebhookSecret::new("default").unwrap();
        let mapping = parse_mapping(r#"{"12": "twelve", "13": "thirteen"}"#).unwrap();
        WebhookSecrets::new(vec![default], mapping).unwrap()
    }

    fn signed_with(secret: &str) -> HeaderMap {
        let signature = sign(&WebhookSecret::new(secret).unwrap(), BODY);
        HeaderMap::from_iter([(
            SIGNATURE_HEADER.parse().unwrap(),
            HeaderValue::from_str(&signature).unwrap(),
        )])
    }

    fn verify(secrets: &WebhookSecrets, headers: &HeaderMap) -> Result<Sender, Unauthorized> {
        match Sender::signature(secrets, headers)? {
            Some(signature) => Sender::signed(secrets, &signature, BODY),
            None => Ok(Sender::Anyone),
        }
    }

    fn sender(secret: &str) -> Sender {
        verify(&secrets(), &signed_with(secret)).unwrap()
    }

    #[test]
    fn without_a_signature_of_a_configured_secret_nobody_is_accepted() {
        let refused = |headers: &HeaderMap| verify(&secrets(), headers).unwrap_err();
        assert_eq!(refused(&HeaderMap::new()), Unauthorized::NotSigned);
        assert_eq!(
            refused(&signed_with("stranger")),
            Unauthorized::WrongSignature
        );
        let mut twice = signed_with("twelve");
        twice.append(SIGNATURE_HEADER, HeaderValue::from_static("x"));
        assert_eq!(refused(&twice), Unauthorized::NotSigned);
        let mut odd = HeaderMap::new();
        odd.insert(SIGNATURE_HEADER, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(refused(&odd), Unauthorized::Undecodable);
    }

    #[test]
    fn the_webhook_of_the_body_must_belong_to_the_secret() {
        let twelve = sender("twelve");
        assert_eq!(twelve.speaks_for(None, Some(id("12"))), Ok(Some(id("12"))));
        assert_eq!(
            twelve.speaks_for(None, Some(id("13"))),
            Err(Unauthorized::NotItsWebhook)
        );
        assert_eq!(
            sender("default").speaks_for(None, Some(id("12"))),
            Err(Unauthorized::NotItsWebhook)
        );
    }

    #[test]
    fn the_webhook_of_the_path_must_belong_to_the_secret_and_be_the_bodys() {
        let twelve = sender("twelve");
        let path = |text: &str| Some(WebhookId::parse(text));
        assert_eq!(
            twelve.speaks_for(path("12"), Some(id("12"))),
            Ok(Some(id("12")))
        );
        assert_eq!(twelve.speaks_for(path("12"), None), Ok(Some(id("12"))));
        for wrong in ["13", "not an id", ""] {
            assert_eq!(
                twelve.speaks_for(path(wrong), None),
                Err(Unauthorized::NotItsWebhook),
                "{wrong}"
            );
        }
        assert_eq!(
            sender("default").speaks_for(path("98"), Some(id("99"))),
            Err(Unauthorized::TwoWebhooks)
        );
        assert_eq!(
            Sender::Anyone.speaks_for(path("98"), Some(id("99"))),
            Err(Unauthorized::TwoWebhooks)
        );
    }

    #[test]
    fn a_body_without_an_id_is_of_the_only_webhook_that_the_secret_belongs_to() {
        assert_eq!(sender("twelve").speaks_for(None, None), Ok(Some(id("12"))));
        assert_eq!(sender("default").speaks_for(None, None), Ok(None));
    }

    #[test]
    fn without_any_secret_everybody_is_accepted() {
        let anyone = verify(&WebhookSecrets::default(), &HeaderMap::new());
        assert_eq!(anyone, Ok(Sender::Anyone));
    }
}
