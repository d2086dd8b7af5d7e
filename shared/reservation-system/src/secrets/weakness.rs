//! Secrets that are easily guessed.

use std::collections::BTreeSet;
use std::fmt;

/// The reservation system makes 44 characters; 128 bits of randomness have 22 in Base64.
const SHORTEST: usize = 20;
/// Random text of that length has some fifteen different characters, and at least this many even in hexadecimal.
const FEWEST_KINDS: usize = 8;
/// What stands where a secret is still to be written. None of them comes up in random text by chance.
const PLACEHOLDERS: [&str; 8] = [
    "changeme",
    "change-me",
    "change_me",
    "example",
    "password",
    "placeholder",
    "replace",
    "secret",
];

/// Why a secret is easily guessed. Nothing of the secret is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// It has few characters.
    Short,
    /// It has few different characters.
    Uniform,
    /// It holds a word that stands where a secret is still to be written.
    Placeholder,
}

impl Weakness {
    pub(crate) fn of(secret: &str) -> Option<Self> {
        let kinds: BTreeSet<char> = secret.chars().collect();
        // In place: a copy in lower case would be one more to wipe from memory.
        let has = |word: &str| {
            let mut parts = secret.as_bytes().windows(word.len());
            parts.any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
        };
        let is_placeholder = PLACEHOLDERS.iter().any(|word| has(word));
        if is_placeholder {
            Some(Self::Placeholder)
        } else if secret.chars().count() < SHORTEST {
            Some(Self::Short)
        } else if kinds.len() < FEWEST_KINDS {
            Some(Self::Uniform)
        } else {
            None
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "it has fewer than {SHORTEST} characters"),
            Self::Uniform => write!(f, "it has fewer than {FEWEST_KINDS} different characters"),
            Self::Placeholder => f.write_str("it looks like a placeholder"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_uniform_or_a_placeholder_is_weak() {
        for (secret, weakness) in [
            ("hunter2", Weakness::Short),
            ("Zq9x!vB2nM#pL5s", Weakness::Short),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Weakness::Uniform),
            ("12341234123412341234123412341234", Weakness::Uniform),
            ("ChangeMe-ChangeMe-ChangeMe", Weakness::Placeholder),
            (
                "the secret of webhook 12, as it was shown",
                Weakness::Placeholder,
            ),
        ] {
            assert_eq!(Weakness::of(secret), Some(weakness), "{secret}");
        }
    }

    #[test]
    fn what_the_reservation_system_makes_is_not_weak_nor_are_random_digits() {
        for secret in [
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "0f4a9c27d1e85b3604c8",
        ] {
            assert_eq!(Weakness::of(secret), None, "{secret}");
        }
    }
}
