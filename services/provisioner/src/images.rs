//! The images that users may choose from: the catalogue of `IMAGE_CATALOGUE_FILE`.
//!
//! A booking's custom parameters are free text that other services read too, so what is not a choice of an image is let be.
//! A name is all that can be chosen: no URL ever comes from a payload.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bellhop_domain::reservation::{FailureReason, Image};
use bellhop_reservation_system::cut;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::settings::{ChecksumType, ImageFormat, image_url, named, word};

const VARIABLE: &str = "IMAGE_CATALOGUE_FILE";
/// The longest name: short enough for a message to its user.
const NAME_LIMIT: usize = 40;
/// How much of a wrong name a reason repeats, in UTF-16 units.
const ASKED_LIMIT: usize = 30;
/// How much room a reason has for the names that are offered, in UTF-16 units: a notification cuts a reason that is much
/// longer.
const OFFERED_LIMIT: usize = 70;

/// The images by their names, and where a booking says which it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageCatalogue {
    /// The key in the custom parameters.
    parameter: String,
    images: BTreeMap<String, Image>,
}

/// A catalogue that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageCatalogueError {
    /// The file can't be read.
    #[error("{VARIABLE}: cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not a catalogue.
    #[error("{VARIABLE}: {}: {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: String,
    },
}

impl ImageCatalogue {
    /// Reads and checks the catalogue; none where no file is set.
    ///
    /// # Errors
    /// Where the file can't be read, or anything in it can't be used.
    pub(crate) fn load(
        file: Option<&Path>,
        parameter: &str,
    ) -> Result<Option<Self>, ImageCatalogueError> {
        let Some(path) = file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|cause| ImageCatalogueError::File {
            path: path.to_owned(),
            cause,
        })?;
        let images = parse(&text).map_err(|problem| ImageCatalogueError::Content {
            path: path.to_owned(),
            problem,
        })?;
        Ok(Some(Self {
            parameter: parameter.to_owned(),
            images,
        }))
    }

    /// The image that a booking's custom parameters choose; none where they choose none.
    ///
    /// # Errors
    /// Where they ask for one that is not offered, or in a way that can't be understood.
    pub(crate) fn choice(
        &self,
        custom_parameters: Option<&str>,
    ) -> Result<Option<Image>, FailureReason> {
        let parameter = &self.parameter;
        match asked(custom_parameters.unwrap_or_default(), parameter) {
            Asked::Nothing => Ok(None),
            Asked::Name(name) => match self.images.get(&name) {
                Some(image) => Ok(Some(image.clone())),
                None => {
                    let name = cut(&name, ASKED_LIMIT);
                    Err(self.not_offered(&format!("parameter `{parameter}` asks for `{name}`")))
                }
            },
            Asked::NotByName => {
                Err(self.not_offered(&format!("parameter `{parameter}` is not a name")))
            }
            Asked::NotJson => Err(self.not_offered(&format!(
                "the parameters are not JSON, so `{parameter}` can't be read"
            ))),
        }
    }

    fn not_offered(&self, asked: &str) -> FailureReason {
        let names: Vec<&str> = self.images.keys().map(String::as_str).collect();
        FailureReason::ImageNotOffered {
            text: format!("{asked}; offered: {}", shortened(&names)),
        }
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }
}

/// What custom parameters ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Name(String),
    /// The key has a value that is not text.
    NotByName,
    /// They can't be read, and what stands there names the key.
    NotJson,
}

/// Other services read the custom parameters too: what does not name the key asks nothing of us, be it JSON or not. Text that
/// does name it, as JSON would, but can't be read was meant for us: another image than the one that was meant is worse than
/// none.
fn asked(custom_parameters: &str, key: &str) -> Asked {
    match serde_json::from_str::<Value>(custom_parameters) {
        Ok(Value::Object(parameters)) => match parameters.get(key) {
            None | Some(Value::Null) => Asked::Nothing,
            Some(Value::String(name)) => match name.trim() {
                // A form that was left empty.
                "" => Asked::Nothing,
                name => Asked::Name(name.to_owned()),
            },
            Some(_) => Asked::NotByName,
        },
        Ok(_) => Asked::Nothing,
        Err(_) if custom_parameters.contains(&format!("\"{key}\"")) => Asked::NotJson,
        Err(_) => Asked::Nothing,
    }
}

/// As many names as there is room for, and how many more there are.
fn shortened(names: &[&str]) -> String {
    let mut shown = 0;
    let mut length = 0;
    for name in names {
        length += name.len() + ", ".len();
        if shown > 0 && length > OFFERED_LIMIT {
            break;
        }
        shown += 1;
    }
    let list = names[..shown].join(", ");
    match names.len() - shown {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// Parses a catalogue, in JSON or YAML: all JSON that anyone writes by hand is YAML.
fn parse(text: &str) -> Result<BTreeMap<String, Image>, String> {
    let Entries(entries) = serde_saphyr::from_str(text).map_err(|error| one_line(&error))?;
    if entries.is_empty() {
        return Err("it holds no image".to_owned());
    }
    entries
        .into_iter()
        .map(|(name, entry)| {
            let image = entry.image(&name);
            image
                .map(|image| (name.clone(), image))
                .map_err(|problem| format!("image `{name}`: {problem}"))
        })
        .collect()
}

/// The error and its place, without the text around it, and without advice to whoever calls the parser.
fn one_line(error: &serde_saphyr::Error) -> String {
    let message = error.to_string();
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(", set ").next().unwrap_or(line).to_owned()
}

/// One image as it stands in the file, in Metal3's words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    url: String,
    checksum: Option<String>,
    checksum_type: Option<String>,
    format: Option<String>,
}

impl Entry {
    fn image(self, name: &str) -> Result<Image, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_LIMIT || !name.chars().all(fits) {
            return Err(format!(
                "a name has letters, digits, `.`, `_` and `-`, and at most {NAME_LIMIT} of them"
            ));
        }
        let wrong = |field: &'static str| move |problem| format!("`{field}`: {problem}");
        let url = image_url(&self.url).map_err(wrong("url"))?;
        let kind = self
            .checksum_type
            .map(|text| named::<ChecksumType>(&text))
            .transpose()
            .map_err(wrong("checksumType"))?;
        if self.checksum.is_none() && kind.is_some() {
            return Err("`checksumType`: there is no `checksum`".to_owned());
        }
        let format = self
            .format
            .map(|text| named::<ImageFormat>(&text))
            .transpose()
            .map_err(wrong("format"))?;
        Ok(Image {
            name: Some(name.to_owned()),
            url,
            checksum_type: self
                .checksum
                .as_ref()
                .map(|_| word(kind.unwrap_or(ChecksumType::Sha256))),
            checksum: self.checksum,
            format: format.map(word),
        })
    }
}

/// The images of the file. An error names the image too; a name that stands there twice is the parser's own.
struct Entries(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;

        impl<'de> Visitor<'de> for ByName {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("images by name, each with `url` and, where needed, `checksum`, `checksumType` and `format`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let entry = map
                        .next_value::<Entry>()
                        .map_err(|error| Error::custom(format!("image `{name}`: {error}")))?;
                    entries.insert(name, entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(ByName)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const CATALOGUE: &str = "
noble:
  url: http://images.invalid/noble.img
  checksum: http://images.invalid/noble.img.sha256sum
24.04:
  url: https://images.invalid/24.04.qcow2
  checksum: 00000000000000000000000000000012
  checksumType: md5
  format: qcow2
rescue: { url: http://images.invalid/rescue.iso, format: live-iso }
";

    fn catalogue() -> ImageCatalogue {
        ImageCatalogue {
            parameter: "image".to_owned(),
            images: parse(CATALOGUE).unwrap(),
        }
    }

    fn chosen(custom_parameters: &str) -> Option<String> {
        let image = catalogue().choice(Some(custom_parameters)).unwrap();
        image.map(|image| image.name.unwrap())
    }

    fn refused(custom_parameters: &str) -> String {
        match catalogue().choice(Some(custom_parameters)) {
            Err(FailureReason::ImageNotOffered { text }) => text,
            other => panic!("{custom_parameters}: {other:?}"),
        }
    }

    #[test]
    fn a_catalogue_says_what_metal3_gets_for_each_name() {
        let images = parse(CATALOGUE).unwrap();
        assert_eq!(
            images["24.04"],
            Image {
                name: Some("24.04".to_owned()),
                url: "https://images.invalid/24.04.qcow2".to_owned(),
                checksum: Some("00000000000000000000000000000012".to_owned()),
                checksum_type: Some("md5".to_owned()),
                format: Some("qcow2".to_owned()),
            }
        );
        assert_eq!(images["noble"].checksum_type.as_deref(), Some("sha256"));
        assert_eq!(images["rescue"].checksum_type, None);
        assert_eq!(images["rescue"].format.as_deref(), Some("live-iso"));
    }

    #[test]
    fn a_catalogue_may_be_json_too_with_tabs_or_without() {
        for text in [
            r#"{"noble": {"url": "http://images.invalid/noble.img", "checksumType": "auto", "checksum": "x"}}"#,
            "{\n\t\"noble\": {\n\t\t\"url\": \"http://images.invalid/noble.img\"\n\t}\n}\n",
        ] {
            assert_eq!(parse(text).unwrap().len(), 1, "{text}");
        }
    }

    #[test]
    fn the_example_is_a_catalogue() {
        let images = parse(include_str!("../../../deploy/images.yaml")).unwrap();
        assert_eq!(images["debian-13"].checksum_type.as_deref(), Some("sha512"));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_image_and_its_field() {
        for (text, named) in [
            ("noble: {url: noble.img}", ["noble", "url"]),
            (
                "noble: {url: 'ftp://images.invalid/noble'}",
                ["noble", "url"],
            ),
            ("noble: {checksum: x}", ["noble", "url"]),
            (
                "noble: {url: 'http://i/n', cheksum: x}",
                ["noble", "cheksum"],
            ),
            (
                "noble: {url: 'http://i/n', checksumType: md5}",
                ["noble", "checksumType"],
            ),
            (
                "noble: {url: 'http://i/n', checksum: x, checksumType: sha1}",
                ["noble", "checksumType"],
            ),
            (
                "noble: {url: 'http://i/n', format: zip}",
                ["noble", "format"],
            ),
            ("noble: http://i/n", ["noble", "mapping"]),
            ("'a/b': {url: 'http://i/n'}", ["a/b", "name"]),
            (
                "noble: {url: 'http://i/n'}\nnoble: {url: 'http://i/n'}",
                ["noble", ""],
            ),
            ("- noble", ["line 1", "mapping"]),
            ("{}", ["no image", ""]),
            ("", ["", ""]),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(
                named.iter().all(|part| problem.contains(part)),
                "{text}: {problem}"
            );
            assert!(!problem.contains('\n'), "{problem}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_not_a_catalogue_is_an_error_that_names_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.yaml");
        let missing = ImageCatalogue::load(Some(&path), "image").unwrap_err();
        assert!(missing.to_string().starts_with(VARIABLE), "{missing}");
        std::fs::write(&path, "noble: 7").unwrap();
        let wrong = ImageCatalogue::load(Some(&path), "image").unwrap_err();
        assert!(wrong.to_string().starts_with(VARIABLE), "{wrong}");
        std::fs::write(&path, CATALOGUE).unwrap();
        let loaded = ImageCatalogue::load(Some(&path), "image").unwrap();
        assert_eq!(loaded, Some(catalogue()));
        assert_eq!(ImageCatalogue::load(None, "image").unwrap(), None);
    }

    #[test]
    fn an_image_is_chosen_by_its_name() {
        assert_eq!(chosen(r#"{"image": "noble"}"#).unwrap(), "noble");
        assert_eq!(
            chosen(r#"{"vlan_id": 7, "image": " 24.04 "}"#).unwrap(),
            "24.04"
        );
    }

    #[test]
    fn who_asks_for_no_image_gets_the_usual_one() {
        for nothing in [
            "",
            "{}",
            r#"{"os": "noble"}"#,
            r#"{"image": null}"#,
            r#"{"image": ""}"#,
            r#"["image"]"#,
            "noble",
            "please give me a server with an image server",
            r#"{"vlan_id": 7"#,
        ] {
            assert_eq!(chosen(nothing), None, "{nothing}");
        }
        assert_eq!(catalogue().choice(None), Ok(None));
    }

    #[test]
    fn an_image_that_is_not_offered_is_refused_with_those_that_are() {
        for (wrong, says) in [
            (r#"{"image": "jammy"}"#, "`jammy`"),
            (r#"{"image": "Noble"}"#, "`Noble`"),
            (
                r#"{"image": "http://elsewhere.invalid/x.img"}"#,
                "elsewhere",
            ),
            (
                r#"{"image": {"url": "http://elsewhere.invalid/x.img"}}"#,
                "not a name",
            ),
            (r#"{"image": 24.04}"#, "not a name"),
            (r#"{"image": "noble""#, "not JSON"),
        ] {
            let text = refused(wrong);
            assert!(text.contains(says), "{text}");
            assert!(text.ends_with("offered: 24.04, noble, rescue"), "{text}");
        }
    }

    #[test]
    fn another_key_may_name_the_image() {
        let catalogue = ImageCatalogue {
            parameter: "os".to_owned(),
            ..catalogue()
        };
        let image = catalogue.choice(Some(r#"{"os": "noble", "image": "jammy"}"#));
        assert_eq!(image.unwrap().unwrap().name.unwrap(), "noble");
    }

    #[test]
    fn a_refusal_is_short_whatever_was_asked_for_and_however_much_is_offered() {
        let names: Vec<String> = (0..500)
            .map(|number| format!("image-{number:034}"))
            .collect();
        let text: String = names
            .iter()
            .map(|name| format!("{name}: {{url: 'http://i/{name}'}}\n"))
            .collect();
        let catalogue = ImageCatalogue {
            parameter: "image".to_owned(),
            images: parse(&text).unwrap(),
        };
        let asked = format!(r#"{{"image": "{}"}}"#, "x".repeat(900));
        let Err(FailureReason::ImageNotOffered { text }) = catalogue.choice(Some(&asked)) else {
            panic!("it was offered");
        };
        assert!(text.encode_utf16().count() <= 180, "{text}");
        assert!(text.contains("and 499 more"), "{text}");
    }
}
