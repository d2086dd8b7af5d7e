//! The check of a user's public SSH key before it is written anywhere.
//!
//! The reservation system accepts one key per user, one line, of these types (its own validator does not look into
//! the key). A key that OpenSSH would ignore leaves its user before a closed door, so we look.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest key, in characters, as the reservation system stores it.
const LIMIT: usize = 4000;

/// The types that the reservation system accepts.
const ALGORITHMS: [&str; 5] = [
    "ssh-rsa",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
];

/// A public key that OpenSSH will understand: one line, known type. `Debug` doesn't print it.
#[derive(Clone, PartialEq, Eq)]
pub struct SshPublicKey {
    line: String,
    algorithm: &'static str,
}

/// Why a key can't be used. Never holds the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSshKey {
    /// Nothing but white space.
    #[error("the SSH key is empty")]
    Empty,
    /// Longer than the reservation system allows.
    #[error("the SSH key is longer than {LIMIT} characters")]
    TooLong,
    /// A line end or another control character within.
    #[error("the SSH key is not a single line of text")]
    ManyLines,
    /// It begins with something else; with options too.
    #[error("the SSH key does not begin with a known type ({})", ALGORITHMS.join(", "))]
    UnknownType,
    /// The type stands alone.
    #[error("the SSH key has a type but no key after it")]
    NoKey,
    /// The second word is not Base64.
    #[error("the SSH key is damaged: its second word is not Base64")]
    NotBase64,
    /// The key inside is of another type than the line says.
    #[error(
        "the SSH key is damaged: its content is of another type than its first word says, or cut off"
    )]
    TypeDisagrees,
}

impl SshPublicKey {
    /// Checks a key as the reservation system sends it: `type base64 comment`, the comment optional.
    ///
    /// # Errors
    /// [`UnusableSshKey`] says what is wrong with it, without the key.
    pub fn parse(text: &str) -> Result<Self, UnusableSshKey> {
        let line = text.trim();
        if line.is_empty() {
            return Err(UnusableSshKey::Empty);
        }
        if line.chars().count() > LIMIT {
            return Err(UnusableSshKey::TooLong);
        }
        if line.chars().any(breaks_the_line) {
            return Err(UnusableSshKey::ManyLines);
        }
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let algorithm = ALGORITHMS
            .into_iter()
            .find(|known| *known == first)
            .ok_or(UnusableSshKey::UnknownType)?;
        let key = STANDARD
            .decode(words.next().ok_or(UnusableSshKey::NoKey)?)
            .map_err(|_| UnusableSshKey::NotBase64)?;
        if !holds_a_key_of(algorithm, &key) {
            return Err(UnusableSshKey::TypeDisagrees);
        }
        Ok(Self {
            line: line.to_owned(),
            algorithm,
        })
    }

    /// The key as a line of an `authorized_keys` file, without a line end.
    pub fn as_str(&self) -> &str {
        &self.line
    }

    /// The key's type, for example `ssh-ed25519`.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }
}

impl fmt::Debug for SshPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshPublicKey({} [private])", self.algorithm)
    }
}

/// What ends a line for one of those who read keys: for sshd a line feed, for a program in Python, as cloud-init is one, and for
/// YAML the two separators too.
fn breaks_the_line(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

/// RFC 4253, section 6.6: a key is a string with its type's name (length in four bytes first), then its numbers.
fn holds_a_key_of(algorithm: &str, key: &[u8]) -> bool {
    let Some((length, rest)) = key.split_first_chunk::<4>() else {
        return false;
    };
    let length = u32::from_be_bytes(*length) as usize;
    rest.len() > length && &rest[..length] == algorithm.as_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBm5b1pQwq0o3kqJxkYV9r9hT6hF1m2c3d4e5f6g7h8i";

    fn key_of(algorithm: &str) -> String {
        let mut blob = u32::try_from(algorithm.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        blob.extend_from_slice(algorithm.as_bytes());
        blob.extend_from_slice(&[0, 0, 0, 1, 7]);
        STANDARD.encode(blob)
    }

    #[test]
    fn keys_of_every_known_type_are_accepted_with_and_without_a_comment() {
        assert_eq!(
            SshPublicKey::parse(&format!("ssh-ed25519 {KEY} mara@lab7\n"))
                .unwrap()
                .algorithm(),
            "ssh-ed25519"
        );
        for algorithm in ALGORITHMS {
            let line = format!("{algorithm} {}", key_of(algorithm));
            assert_eq!(SshPublicKey::parse(&line).unwrap().as_str(), line);
        }
    }

    #[test]
    fn what_is_no_usable_key_is_refused_with_its_reason() {
        let other = key_of("ssh-rsa");
        for (text, reason) in [
            (" \n".to_owned(), UnusableSshKey::Empty),
            (
                format!("ssh-ed25519 {KEY} {}", "x".repeat(4000)),
                UnusableSshKey::TooLong,
            ),
            (
                format!("ssh-ed25519 {KEY}\nssh-rsa {other}"),
                UnusableSshKey::ManyLines,
            ),
            (format!("ssh-ed25519 {KEY} a\0b"), UnusableSshKey::ManyLines),
            (
                format!("ssh-ed25519 {KEY} a\u{2028}ssh-rsa {other}"),
                UnusableSshKey::ManyLines,
            ),
            (
                format!("ssh-ed25519 {KEY} a\u{2029}ssh-rsa {other}"),
                UnusableSshKey::ManyLines,
            ),
            (format!("ssh-dss {KEY}"), UnusableSshKey::UnknownType),
            (
                format!("command=\"id\" ssh-ed25519 {KEY}"),
                UnusableSshKey::UnknownType,
            ),
            ("ssh-ed25519".to_owned(), UnusableSshKey::NoKey),
            ("ssh-ed25519 what?".to_owned(), UnusableSshKey::NotBase64),
            (
                format!("ssh-ed25519 {other}"),
                UnusableSshKey::TypeDisagrees,
            ),
            ("ssh-ed25519 AAAA".to_owned(), UnusableSshKey::TypeDisagrees),
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5".to_owned(),
                UnusableSshKey::TypeDisagrees,
            ),
        ] {
            assert_eq!(SshPublicKey::parse(&text).unwrap_err(), reason);
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = SshPublicKey::parse(&format!("ssh-ed25519 {KEY} mara@lab7")).unwrap();
        assert_eq!(format!("{key:?}"), "SshPublicKey(ssh-ed25519 [private])");
    }

    proptest! {
        #[test]
        fn any_text_is_accepted_or_refused(text in "(ssh-ed25519 )?.{0,80}") {
            let _ = SshPublicKey::parse(&text);
        }
    }
}
