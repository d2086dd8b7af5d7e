//! What must hold of user data, whatever key a tenant has and whatever a site's own cloud-config says. `fuzz` looks for inputs
//! that break it; what it found worth keeping is played again by the test here.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use serde_json::{Value, json};

use super::{Administrator, SshPublicKey, UserDataBase, parse_base};

const LOGIN: &str = "prognose";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm5b1pQwq0o3kqJxkYV9r9hT6hF1m2c3d4e5f6g7h8i";
const OPERATORS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPJ3yqoQ3pVt3OaP1Zs8W6n2m5Lr0cXbYhTgKuDeFiAz ops";
const KEYS: &str = "ssh_authorized_keys";

/// The input's first line is a key's comment, and a key; the rest is a site's cloud-config.
///
/// Read by libyaml, as cloud-init does, the user data holds what the site's holds, and besides that the operator's login and
/// the tenant's, each with its own key and no other. A key is one line for whoever writes it to a file.
pub fn cloud_init(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    let (first, rest) = input.split_once('\n').unwrap_or((input, ""));
    let site = parse_base(&format!("#cloud-config\n{rest}")).unwrap_or_default();
    let alone = UserDataBase::default();
    let administrator = Administrator {
        name: "ops".to_owned(),
        keys: vec![OPERATORS_KEY.to_owned()],
    };
    let merged = UserDataBase {
        site,
        administrator: Some(administrator),
    };
    let merged = merged.check(LOGIN).is_ok().then_some(merged);
    for text in [first.to_owned(), format!("{KEY} {first}")] {
        let key = SshPublicKey::parse(&text).ok();
        if let Some(key) = &key {
            one_line(key.as_str());
        }
        let key = key.as_ref().map(SshPublicKey::as_str);
        for base in std::iter::once(&alone).chain(&merged) {
            rendered(base, key);
        }
    }
}

fn rendered(base: &UserDataBase, key: Option<&str>) {
    let text = base.render(LOGIN, key);
    let body = text.strip_prefix("#cloud-config\n").unwrap();
    let read: serde_norway::Value = serde_norway::from_str(body).unwrap_or_else(|error| {
        panic!("nobody logs in where the user data can't be read: {error}\n{text}")
    });
    let mut read = serde_json::to_value(read).unwrap();
    assert_eq!(read["ssh_pwauth"], json!(false));

    // Taken away what is ours, the site's own is left, and no key that it did not have.
    let users = read["users"].as_array_mut().unwrap();
    let tenant = users.pop().unwrap();
    assert_eq!(tenant["name"], json!(LOGIN));
    assert_eq!(tenant["lock_passwd"], json!(true));
    assert_eq!(tenant.get(KEYS), key.map(|key| json!([key])).as_ref());
    assert_eq!(count(&tenant, KEYS), usize::from(key.is_some()));
    if base.administrator.is_some() {
        let administrator = users.pop().unwrap();
        assert_eq!(administrator["name"], json!("ops"));
        assert_eq!(administrator["lock_passwd"], json!(true));
        assert_eq!(administrator[KEYS], json!([OPERATORS_KEY]));
    }
    assert!(
        users
            .iter()
            .all(|user| user["name"] != json!(LOGIN) && *user != json!(LOGIN))
    );
    let mut site = base.site.clone();
    site.insert("ssh_pwauth".to_owned(), json!(false));
    site.entry("users").or_insert_with(|| json!([]));
    assert_eq!(count(&read, KEYS), count(&json!(site), KEYS));
    same(&read, &Value::Object(site));
}

/// How many fields of that name there are, however deep.
fn count(value: &Value, field: &str) -> usize {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| usize::from(name == field) + count(value, field))
            .sum(),
        Value::Array(array) => array.iter().map(|value| count(value, field)).sum(),
        _ => 0,
    }
}

/// The same data; a number may have become another kind of number of the same value.
fn same(read: &Value, meant: &Value) {
    match (read, meant) {
        (Value::Object(read), Value::Object(meant)) => {
            assert_eq!(Vec::from_iter(read.keys()), Vec::from_iter(meant.keys()));
            read.iter()
                .for_each(|(name, value)| same(value, &meant[name]));
        }
        (Value::Array(read), Value::Array(meant)) => {
            assert_eq!(read.len(), meant.len());
            read.iter()
                .zip(meant)
                .for_each(|(read, meant)| same(read, meant));
        }
        (Value::Number(read), Value::Number(meant)) => assert_eq!(read.as_f64(), meant.as_f64()),
        (read, meant) => assert_eq!(read, meant),
    }
}

/// Who reads the file of keys may be sshd, or a program in Python (cloud-init is one), for which these end a line too.
fn one_line(key: &str) {
    let ends = "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}\0";
    assert!(
        !key.contains(|c| ends.contains(c)),
        "{key:?} is more than one line"
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_was_fuzzed_as_user_data_holds_on_every_kept_input() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/cloud_init");
        let inputs = std::fs::read_dir(root).unwrap();
        let inputs: Vec<_> = inputs
            .map(|it| std::fs::read(it.unwrap().path()).unwrap())
            .collect();
        assert!(inputs.len() >= 12, "{}", inputs.len());
        inputs.iter().for_each(|input| super::cloud_init(input));
    }
}
