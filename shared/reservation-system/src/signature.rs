//! Signatures over request bodies: HMAC-SHA256, checked in constant time.
//!
//! The key is the UTF-8 bytes of the secret's *text*. The reservation system hands secrets out as 44 characters of
//! Base64; it does not decode them before it signs, and neither do we (measured on the real sender).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::secrets::Weakness;

/// The header that carries the signature, in both directions.
pub const SIGNATURE_HEADER: &str = "x-webhook-signature";

/// Length of an HMAC-SHA256 in bytes.
const MAC_BYTES: usize = 32;
/// Length of 32 bytes in padded Base64.
const BASE64_CHARS: usize = 44;
/// Length of 32 bytes in hexadecimal digits.
const HEX_CHARS: usize = 64;
/// What one of the public guides puts before the hexadecimal digits.
const HEX_PREFIX: &[u8] = b"sha256=";

/// The shared secret of one webhook. Wiped from memory when dropped; `Debug` doesn't print it.
#[derive(Clone)]
pub struct WebhookSecret(SecretString);

/// There was no text where a secret should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

impl WebhookSecret {
    /// Takes a secret as text. White space around it (a file's last line end) is not part of it.
    ///
    /// # Errors
    /// [`EmptySecret`] where nothing is left.
    pub fn new(text: &str) -> Result<Self, EmptySecret> {
        match text.trim() {
            "" => Err(EmptySecret),
            secret => Ok(Self(SecretString::from(secret))),
        }
    }

    /// Takes one secret a line, the newest first; blank lines are skipped.
    ///
    /// # Errors
    /// [`EmptySecret`] where there is none.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, EmptySecret> {
        let secrets: Vec<Self> = text
            .lines()
            .filter_map(|line| Self::new(line).ok())
            .collect();
        if secrets.is_empty() {
            Err(EmptySecret)
        } else {
            Ok(secrets)
        }
    }

    /// Whether `signature` was made with this secret over exactly these bytes. Takes the same time either way.
    pub fn verifies(&self, signature: &Signature, body: &[u8]) -> bool {
        self.mac_of(body).verify(&signature.0.into()).is_ok()
    }

    /// Why it is easily guessed, if it is.
    pub fn weakness(&self) -> Option<Weakness> {
        Weakness::of(self.0.expose_secret())
    }

    /// Whether it is the same secret. For what is configured only: it takes longer the more of it is alike.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }

    fn mac_of(&self, body: &[u8]) -> Hmac<Sha256> {
        // An HMAC takes a key of any length: the error type is for other constructions.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.expose_secret().as_bytes())
            .expect("any key length is fine");
        mac.update(body);
        mac
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret([redacted])")
    }
}

/// Signs a body as the reservation system does and checks it: standard Base64 with padding.
pub fn sign(secret: &WebhookSecret, body: &[u8]) -> String {
    STANDARD.encode(secret.mac_of(body).finalize().into_bytes())
}

/// A signature as it came in a header, decoded but not yet checked. `Debug` doesn't print it.
#[derive(Clone)]
pub struct Signature([u8; MAC_BYTES]);

/// A header that is not a signature in any form that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the signature is neither 44 characters of padded Base64 nor 64 hexadecimal digits, with or without `sha256=`"
)]
pub struct UndecodableSignature;

impl Signature {
    /// Decodes a header by its shape: padded Base64 as really sent, or one of the forms that public guides print,
    /// hexadecimal digits with or without `sha256=` before them. ASCII white space around it is ignored.
    ///
    /// # Errors
    /// [`UndecodableSignature`] for anything else; an empty header too.
    pub fn parse(header: &[u8]) -> Result<Self, UndecodableSignature> {
        let header = header.trim_ascii();
        let digits = header.strip_prefix(HEX_PREFIX).unwrap_or(header);
        let mut mac = [0; MAC_BYTES];
        if digits.len() == HEX_CHARS {
            hex::decode_to_slice(digits, &mut mac).map_err(|_| UndecodableSignature)?;
        } else if header.len() == BASE64_CHARS {
            let decoded = STANDARD.decode(header).map_err(|_| UndecodableSignature)?;
            mac = decoded.try_into().map_err(|_| UndecodableSignature)?;
        } else {
            return Err(UndecodableSignature);
        }
        Ok(Self(mac))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature([redacted])")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> WebhookSecret {
        WebhookSecret::new("a secret").unwrap()
    }

    fn hex_of(base64: &str) -> String {
        hex::encode(STANDARD.decode(base64).unwrap())
    }

    #[test]
    fn all_three_forms_of_a_signature_are_understood() {
        let base64 = sign(&secret(), b"body");
        let hex = hex_of(&base64);
        for form in [
            base64.clone(),
            hex.clone(),
            hex.to_uppercase(),
            format!("sha256={hex}"),
            format!(" {base64}\t"),
        ] {
            let signature = Signature::parse(form.as_bytes()).unwrap();
            assert!(secret().verifies(&signature, b"body"), "{form}");
            assert!(!secret().verifies(&signature, b"bodY"), "{form}");
        }
    }

    #[test]
    fn no_other_form_is_understood() {
        let base64 = sign(&secret(), b"body");
        let hex = hex_of(&base64);
        let url_safe = "-".repeat(43) + "=";
        for form in [
            String::new(),
            " ".into(),
            base64.trim_end_matches('=').into(),
            format!("sha256={base64}"),
            format!("SHA256={hex}"),
            format!("sha1={hex}"),
            hex[..62].into(),
            format!("{hex}00"),
            format!("{base64}, {base64}"),
            url_safe,
        ] {
            assert_eq!(
                Signature::parse(form.as_bytes()).err(),
                Some(UndecodableSignature),
                "{form}"
            );
        }
    }

    #[test]
    fn a_signature_of_another_secret_does_not_verify() {
        let signature = Signature::parse(sign(&secret(), b"body").as_bytes()).unwrap();
        assert!(
            !WebhookSecret::new("another secret")
                .unwrap()
                .verifies(&signature, b"body")
        );
    }

    #[test]
    fn white_space_around_a_secret_is_not_part_of_it() {
        assert_eq!(
            sign(&WebhookSecret::new("a secret\r\n").unwrap(), b"x"),
            sign(&secret(), b"x")
        );
        assert_eq!(WebhookSecret::new(" \n").err(), Some(EmptySecret));
    }

    #[test]
    fn secrets_are_read_one_a_line() {
        let secrets = WebhookSecret::parse_lines("a secret\n\nolder\n").unwrap();
        assert_eq!(secrets.len(), 2);
        assert_eq!(sign(&secrets[0], b"x"), sign(&secret(), b"x"));
        assert_eq!(WebhookSecret::parse_lines("\n \n").err(), Some(EmptySecret));
    }

    #[test]
    fn neither_secret_nor_signature_is_printed() {
        let signature = Signature::parse(sign(&secret(), b"body").as_bytes()).unwrap();
        assert_eq!(
            format!("{:?} {signature:?}", secret()),
            "WebhookSecret([redacted]) Signature([redacted])"
        );
    }

    proptest! {
        #[test]
        fn any_header_is_decoded_or_refused(header in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Signature::parse(&header);
        }

        #[test]
        fn text_of_the_right_length_is_decoded_or_refused(header in "[ -~]{44}|[ -~]{64}|sha256=[ -~]{64}") {
            let _ = Signature::parse(header.as_bytes());
        }

        #[test]
        fn what_was_signed_verifies(body in proptest::collection::vec(any::<u8>(), 0..300), text in "[!-~]{1,90}") {
            let secret = WebhookSecret::new(&text).unwrap();
            let signature = Signature::parse(sign(&secret, &body).as_bytes()).unwrap();
            prop_assert!(secret.verifies(&signature, &body));
        }
    }
}
