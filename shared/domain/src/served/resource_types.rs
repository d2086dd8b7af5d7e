//! Which types of resource Bellhop serves, and with which driver.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::id::ResourceKind;

/// `RESOURCE_TYPES`: the reservation system's names of types, each with the kind of resource (its driver).
///
/// Written `Server=baremetalhost,Big Server=baremetalhost`. Names are compared letter by letter, as the service that
/// Bellhop replaces does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceTypes(BTreeMap<String, ResourceKind>);

/// A text that does not say which types are served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceTypesError {
    /// No type at all.
    #[error(
        "no resource type is named: write TYPE=DRIVER, for example {}",
        ResourceTypes::DEFAULT
    )]
    Empty,
    /// A part that is not `TYPE=DRIVER`.
    #[error("`{part}` is not TYPE=DRIVER, for example {}", ResourceTypes::DEFAULT)]
    NotAPair {
        /// The part.
        part: String,
    },
    /// A driver's name with other characters than it may have.
    #[error("`{kind}` is no driver's name: lower-case letters, digits and `-`")]
    NotAKind {
        /// The name.
        kind: String,
    },
    /// A type that is named twice.
    #[error("the resource type `{name}` is named twice")]
    Twice {
        /// The type.
        name: String,
    },
}

impl ResourceTypes {
    /// What is served where nothing is said.
    pub const DEFAULT: &str = "Server=baremetalhost";

    /// The kind of a type; none where the type is not served.
    #[must_use]
    pub fn kind_of(&self, type_name: &str) -> Option<&ResourceKind> {
        self.0.get(type_name)
    }

    /// The kinds that are served, each as often as a type has it.
    pub fn kinds(&self) -> impl Iterator<Item = &ResourceKind> {
        self.0.values()
    }
}

impl FromStr for ResourceTypes {
    type Err = ResourceTypesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut types = BTreeMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let not_a_pair = || ResourceTypesError::NotAPair {
                part: part.to_owned(),
            };
            let (name, kind) = part.rsplit_once('=').ok_or_else(not_a_pair)?;
            let (name, kind) = (name.trim(), kind.trim());
            if name.is_empty() || kind.is_empty() {
                return Err(not_a_pair());
            }
            let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            if !kind.bytes().all(allowed) {
                return Err(ResourceTypesError::NotAKind {
                    kind: kind.to_owned(),
                });
            }
            if types
                .insert(name.to_owned(), ResourceKind::new(kind))
                .is_some()
            {
                return Err(ResourceTypesError::Twice {
                    name: name.to_owned(),
                });
            }
        }
        if types.is_empty() {
            return Err(ResourceTypesError::Empty);
        }
        Ok(Self(types))
    }
}

impl fmt::Display for ResourceTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(name, kind)| format!("{name}={kind}"))
            .collect();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn types(text: &str) -> Result<ResourceTypes, ResourceTypesError> {
        text.parse()
    }

    #[test]
    fn a_type_is_served_only_if_it_is_named_letter_by_letter() {
        let types = types("Server=baremetalhost, Big Server = baremetalhost,").unwrap();
        assert_eq!(types.kind_of("Server").unwrap().as_str(), "baremetalhost");
        assert_eq!(
            types.kind_of("Big Server").unwrap().as_str(),
            "baremetalhost"
        );
        assert_eq!(types.kind_of("server"), None);
        assert_eq!(types.kind_of("Switch Port"), None);
    }

    #[test]
    fn the_default_is_valid_and_written_as_it_is_read() {
        assert_eq!(
            types(ResourceTypes::DEFAULT).unwrap().to_string(),
            ResourceTypes::DEFAULT
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(types(" , "), Err(ResourceTypesError::Empty));
        for wrong in ["Server", "=baremetalhost", "Server="] {
            assert!(
                matches!(types(wrong), Err(ResourceTypesError::NotAPair { .. })),
                "{wrong}"
            );
        }
        assert!(matches!(
            types("Server=Bare Metal"),
            Err(ResourceTypesError::NotAKind { .. })
        ));
        assert!(matches!(
            types("A=a,A=b"),
            Err(ResourceTypesError::Twice { .. })
        ));
    }
}
