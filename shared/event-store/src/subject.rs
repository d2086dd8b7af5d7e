//! Names from outside as subject tokens.
//!
//! A token keeps ASCII letters, digits, `-`, `_` and `/`; every other byte of the UTF-8 text becomes `=` and two upper-case
//! hex digits, so `.`, `*`, `>` and spaces can't be taken for what they mean in a subject. Only characters that bucket keys
//! allow too occur. What is not known is the one token [`UNKNOWN`], which no name encodes to.

use std::fmt::Write;

use bellhop_domain::id::{ResourceId, ResourceKind};

/// The token for what is not known.
pub const UNKNOWN: &str = "=unknown";

/// `text` as one token. The empty text is `=`.
pub fn encode_token(text: &str) -> String {
    if text.is_empty() {
        return "=".to_owned();
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => {
                token.push(char::from(byte))
            }
            _ => write!(token, "={byte:02X}").expect("a string takes whatever is written to it"),
        }
    }
    token
}

/// A token for what may be unknown.
pub fn encode_optional(text: Option<&str>) -> String {
    text.map_or_else(|| UNKNOWN.to_owned(), encode_token)
}

/// The text that became `token`. What [`encode_token`] does not write is none, though it could be read: a text has one token,
/// and so a resource one subject.
pub fn decode_token(token: &str) -> Result<String, NotAToken> {
    let not_a_token = || NotAToken {
        token: token.to_owned(),
    };
    if token == "=" {
        return Ok(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'=' => {
                let digit =
                    |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err(not_a_token());
                };
                bytes.push(u8::try_from(high * 16 + low).map_err(|_| not_a_token())?);
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => bytes.push(*byte),
            _ => return Err(not_a_token()),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| not_a_token())?;
    if encode_token(&text) == token {
        Ok(text)
    } else {
        Err(not_a_token())
    }
}

/// Text that is not a token of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{token}` is not an encoded name")]
pub struct NotAToken {
    token: String,
}

/// The ledger's subject of the capacity, without prefix.
pub(crate) const OF_CAPACITY: &str = "ledger.capacity";
/// The ledger's subject of the permits to release a host because no end came, without prefix.
pub(crate) const OF_DEADLINE_RELEASES: &str = "ledger.deadline_releases";
/// The ledger's subjects of all resources, without prefix.
pub(crate) const OF_RESOURCES: &str = "ledger.*.*.*";

/// The ledger's subject of a resource, without prefix.
pub(crate) fn of_resource(resource: &ResourceId) -> String {
    format!(
        "ledger.{}.{}.{}",
        encode_token(resource.kind().as_str()),
        encode_token(resource.namespace()),
        encode_token(resource.name())
    )
}

/// The resource of a ledger's subject without prefix; none where it is not a resource's.
pub(crate) fn resource_of(subject: &str) -> Option<ResourceId> {
    let mut tokens = subject.split('.');
    if tokens.next() != Some("ledger") {
        return None;
    }
    let mut name = || tokens.next().and_then(|token| decode_token(token).ok());
    let (kind, namespace, resource) = (name()?, name()?, name()?);
    tokens
        .next()
        .is_none()
        .then(|| ResourceId::new(ResourceKind::new(kind), namespace, resource))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_token(text in ".*") {
            let token = encode_token(&text);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/=".contains(&b)));
            prop_assert_ne!(&token, UNKNOWN);
            prop_assert_eq!(decode_token(&token), Ok(text));
        }

        #[test]
        fn no_token_makes_decoding_fail_otherwise_than_by_an_error(token in ".*") {
            let _: Result<String, NotAToken> = decode_token(&token);
        }
    }

    #[test]
    fn a_text_has_one_token_and_a_resource_one_subject() {
        for other in ["", "=41", "=2e", "node=3001", "=c3=bc"] {
            assert!(decode_token(other).is_err(), "{other}");
        }
        for other in ["ledger.a.b.=63", "ledger.a.b.=2e", "ledger.a..c"] {
            assert_eq!(resource_of(other), None, "{other}");
        }
        assert!(resource_of("ledger.a.b.c").is_some());
    }

    #[test]
    fn an_ordinary_host_name_stays_readable_and_wild_cards_lose_their_meaning() {
        assert_eq!(encode_token("lab7-node04"), "lab7-node04");
        assert_eq!(encode_token("a.b *>"), "a=2Eb=20=2A=3E");
        assert_eq!(encode_optional(None), UNKNOWN);
        assert!(decode_token(UNKNOWN).is_err());
    }

    #[test]
    fn a_resource_comes_back_from_its_subject() {
        let resource = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "Gi1.0/1 ü");
        assert_eq!(resource_of(&of_resource(&resource)), Some(resource));
        assert_eq!(resource_of(OF_CAPACITY), None);
    }
}
