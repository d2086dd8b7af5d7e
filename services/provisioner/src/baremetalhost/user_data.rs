//! The user data of a host: a cloud-config (cloud-init's `#cloud-config`) with the holder's key and nobody else's (R9).
//!
//! A site may have a cloud-config of its own; the users are merged into it as data, never as text. Nobody logs in with a
//! password, and there is no administrator unless one is configured.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

use std::path::{Path, PathBuf};

use bellhop_reservation_system::{SshPublicKey, UnusableSshKey};
use serde_json::{Map, Value, json};

/// What every host's user data holds, read and checked at start.
#[derive(Clone, Debug, Default)]
pub struct UserDataBase {
    site: Map<String, Value>,
    administrator: Option<Administrator>,
}

/// The operator's own login.
#[derive(Clone, Debug)]
struct Administrator {
    name: String,
    keys: Vec<String>,
}

/// Settings of the user data that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UserDataError {
    /// A file can't be read.
    #[error("{variable}: cannot read {}", path.display())]
    File {
        /// Which setting.
        variable: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The site's cloud-config is not one.
    #[error("USER_DATA_BASE_FILE: {problem}")]
    Base {
        /// What is wrong with it.
        problem: String,
    },
    /// A line of the operator's keys is none.
    #[error("ADMIN_SSH_KEYS_FILE: line {number} is not a public SSH key that can be used")]
    Key {
        /// Which line.
        number: usize,
        /// What is wrong with it.
        #[source]
        cause: UnusableSshKey,
    },
    /// The administrator can't be made.
    #[error("{variable}: {problem}")]
    Administrator {
        /// Which setting.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl UserDataBase {
    /// Reads and checks `USER_DATA_BASE_FILE`, `ADMIN_USER` and `ADMIN_SSH_KEYS_FILE`; `login` is the tenants' user name.
    ///
    /// # Errors
    /// Where a file can't be read, is not a cloud-config, or would clash with the tenant's login.
    pub fn load(
        base: Option<&Path>,
        admin_user: Option<&str>,
        admin_keys: Option<&Path>,
        login: &str,
    ) -> Result<Self, UserDataError> {
        let site = match base {
            Some(path) => parse_base(&read("USER_DATA_BASE_FILE", path)?)?,
            None => Map::new(),
        };
        let administrator = administrator(admin_user, admin_keys)?;
        let loaded = Self {
            site,
            administrator,
        };
        loaded.check(login)?;
        Ok(loaded)
    }

    /// The cloud-config of one host: `key` is none where nobody but the operator shall log in.
    pub fn render(&self, login: &str, key: Option<&str>) -> String {
        let mut config = self.site.clone();
        config.insert("ssh_pwauth".to_owned(), Value::Bool(false));
        let users = config.entry("users").or_insert_with(|| json!([]));
        if let Value::Array(users) = users {
            users.extend(
                self.administrator
                    .as_ref()
                    .map(|admin| user(&admin.name, &admin.keys)),
            );
            users.push(user(login, key.map(str::to_owned).as_slice()));
        }
        // cloud-init reads YAML 1.1, in which a plain `no` or `1:30` is not text: every text is quoted.
        let options = serde_saphyr::ser_options! { quote_all: true };
        let yaml = serde_saphyr::to_string_with_options(&Value::Object(config), options)
            .expect("plain data has a YAML form");
        format!("#cloud-config\n{yaml}")
    }

    fn check(&self, login: &str) -> Result<(), UserDataError> {
        if self
            .administrator
            .as_ref()
            .is_some_and(|admin| admin.name == login)
        {
            let problem = format!("`{login}` is the tenants' login");
            return Err(UserDataError::Administrator {
                variable: "ADMIN_USER",
                problem,
            });
        }
        let base = |problem: String| Err(UserDataError::Base { problem });
        match self.site.get("users") {
            None => Ok(()),
            Some(Value::Array(users)) => {
                let clashes = |user: &Value| {
                    let name = user.get("name").and_then(Value::as_str).or(user.as_str());
                    name == Some(login)
                        || name.is_some_and(|name| {
                            self.administrator.as_ref().is_some_and(|a| a.name == name)
                        })
                };
                if users.iter().any(clashes) {
                    return base(format!(
                        "it has a user of its own named `{login}`, or like the administrator"
                    ));
                }
                Ok(())
            }
            Some(_) => base("`users` is not a list".to_owned()),
        }
    }
}

fn user(name: &str, keys: &[String]) -> Value {
    let mut user = json!({
        "name": name,
        "groups": ["cloud-users"],
        "shell": "/bin/bash",
        "lock_passwd": true,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
    });
    if !keys.is_empty() {
        user["ssh_authorized_keys"] = json!(keys);
    }
    user
}

fn parse_base(text: &str) -> Result<Map<String, Value>, UserDataError> {
    let base = |problem: String| UserDataError::Base { problem };
    if !text.starts_with("#cloud-config") {
        return Err(base("its first line is not `#cloud-config`".to_owned()));
    }
    // As in YAML 1.1, which cloud-init reads: `0644` is 420.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(Value::Object(site)) => Ok(site),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(base("it is not a mapping".to_owned())),
        Err(error) => Err(base(format!("it is not YAML: {error}"))),
    }
}

fn administrator(
    name: Option<&str>,
    keys: Option<&Path>,
) -> Result<Option<Administrator>, UserDataError> {
    let wrong = |variable, problem: &str| {
        Err(UserDataError::Administrator {
            variable,
            problem: problem.to_owned(),
        })
    };
    match (name, keys) {
        (None, None) => Ok(None),
        (Some(_), None) => wrong(
            "ADMIN_USER",
            "needs ADMIN_SSH_KEYS_FILE, since nobody logs in with a password",
        ),
        (None, Some(_)) => wrong("ADMIN_SSH_KEYS_FILE", "needs ADMIN_USER"),
        (Some(name), Some(path)) => {
            let text = read("ADMIN_SSH_KEYS_FILE", path)?;
            let keys = public_keys(&text)?;
            if keys.is_empty() {
                return wrong("ADMIN_SSH_KEYS_FILE", "holds no key");
            }
            Ok(Some(Administrator {
                name: name.to_owned(),
                keys,
            }))
        }
    }
}

/// The keys of a file, one a line. What is no public key stops the start (it may be a private one), and is never repeated.
fn public_keys(text: &str) -> Result<Vec<String>, UserDataError> {
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key =
            SshPublicKey::parse(line).map_err(|cause| UserDataError::Key { number, cause })?;
        keys.push(key.as_str().to_owned());
    }
    Ok(keys)
}

fn read(variable: &'static str, path: &Path) -> Result<String, UserDataError> {
    std::fs::read_to_string(path).map_err(|cause| UserDataError::File {
        variable,
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm5b1pQwq0o3kqJxkYV9r9hT6hF1m2c3d4e5f6g7h8i mara@lab7";
    const OPERATORS_KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJ3yqoQ3pVt3OaP1Zs8W6n2m5Lr0cXbYhTgKuDeFiAz ops";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn parsed(text: &str) -> Value {
        assert!(text.starts_with("#cloud-config\n"));
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn the_tenant_logs_in_with_the_key_and_nobody_with_a_password() {
        let config = parsed(&UserDataBase::default().render("prognose", Some(KEY)));
        assert_eq!(config["ssh_pwauth"], json!(false));
        assert_eq!(config["users"].as_array().unwrap().len(), 1);
        assert_eq!(config["users"][0]["name"], json!("prognose"));
        assert_eq!(config["users"][0]["ssh_authorized_keys"], json!([KEY]));
        assert_eq!(config["users"][0]["lock_passwd"], json!(true));
    }

    #[test]
    fn without_a_key_nobody_but_the_operator_logs_in() {
        let keys = file(&format!("# ours\n\n  {OPERATORS_KEY}\r\n"));
        let base = UserDataBase::load(None, Some("ops"), Some(keys.path()), "prognose").unwrap();
        let config = parsed(&base.render("prognose", None));
        assert_eq!(
            config["users"][0]["ssh_authorized_keys"],
            json!([OPERATORS_KEY])
        );
        assert_eq!(config["users"][1].get("ssh_authorized_keys"), None);
    }

    #[test]
    fn a_sites_own_cloud_config_keeps_all_but_password_logins() {
        let site = file(
            "#cloud-config\nssh_pwauth: true\npackages: [curl]\nusers:\n  - default\nntp: &ntp {enabled: yes, mode: 0644, at: '1:30'}\n",
        );
        let base = UserDataBase::load(Some(site.path()), None, None, "prognose").unwrap();
        let config = parsed(&base.render("prognose", Some(KEY)));
        assert_eq!(config["packages"], json!(["curl"]));
        assert_eq!(
            config["ntp"],
            json!({"enabled": true, "mode": 420, "at": "1:30"})
        );
        assert_eq!(config["users"][0], json!("default"));
        assert_eq!(config["users"][1]["name"], json!("prognose"));
        assert_eq!(config["ssh_pwauth"], json!(false));
    }

    #[test]
    fn what_can_not_be_a_sites_cloud_config_stops_the_start() {
        for text in [
            "packages: []",
            "#cloud-config\n- a",
            "#cloud-config\na: [",
            "#cloud-config\nusers: 1\n",
        ] {
            assert!(
                UserDataBase::load(Some(file(text).path()), None, None, "prognose").is_err(),
                "{text}"
            );
        }
        let clash = file("#cloud-config\nusers: [{name: prognose}]\n");
        assert!(UserDataBase::load(Some(clash.path()), None, None, "prognose").is_err());
        assert!(UserDataBase::load(None, Some("ops"), None, "prognose").is_err());
        assert!(
            UserDataBase::load(None, Some("prognose"), Some(file(KEY).path()), "prognose").is_err()
        );
    }

    #[test]
    fn a_line_that_is_no_public_key_stops_the_start_by_its_number_and_is_not_repeated() {
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
        for (text, number) in [
            (private.to_owned(), 1),
            (format!("# ours\n{OPERATORS_KEY}\n\nhunter2\n"), 4),
            (format!("{OPERATORS_KEY}\nssh-ed25519 AAAA ops\n"), 2),
        ] {
            let keys = file(&text);
            let loaded = UserDataBase::load(None, Some("ops"), Some(keys.path()), "prognose");
            let error = loaded.unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let said = format!("{error}: {}", cause.unwrap_or_default());
            let begin = format!("ADMIN_SSH_KEYS_FILE: line {number} is not");
            assert!(said.starts_with(&begin), "{said}");
            for line in text.lines().filter(|line| !line.is_empty()) {
                assert!(!said.contains(line), "{said}");
            }
        }
        let empty = file("# none yet\n");
        let loaded = UserDataBase::load(None, Some("ops"), Some(empty.path()), "prognose");
        assert!(loaded.unwrap_err().to_string().contains("holds no key"));
    }

    proptest! {
        #[test]
        fn whatever_a_key_holds_it_stays_one_key_of_one_user(key in "[ -~]{1,200}") {
            let config = parsed(&UserDataBase::default().render("prognose", Some(&key)));
            prop_assert_eq!(config["users"].as_array().unwrap().len(), 1);
            prop_assert_eq!(&config["users"][0]["ssh_authorized_keys"], &json!([key]));
        }
    }
}
