//! The simulated site: who reserves what, and what a host says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bellhop_simulator::reservation_system::{Resource, User};
use serde_json::Value;

/// The namespace of all hosts.
pub const NAMESPACE: &str = "metal3";
/// The image that a reservation gets.
pub const IMAGE: &str = "http://images.example/noble-server-cloudimg-amd64.img";
/// The first webhook's number.
pub const WEBHOOK: u64 = 12;
/// A second one to the same address, with a secret of its own: each event comes twice.
pub const SECOND_WEBHOOK: u64 = 13;
/// The login of each user.
pub const LOGIN: &str = "prognose";

/// Someone who reserves servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name that e-mail address, user name and key's comment are made of.
    pub name: &'static str,
    number: u8,
}

/// One of them.
pub const MARA: Person = Person {
    name: "mara",
    number: 1,
};
/// Another.
pub const TOMAS: Person = Person {
    name: "tomas",
    number: 2,
};
/// A third.
pub const INES: Person = Person {
    name: "ines",
    number: 3,
};
/// One whose account holds no key; there only where a test says so.
pub const NOOR: Person = Person {
    name: "noor",
    number: 4,
};
/// All of them.
pub const PEOPLE: [Person; 3] = [MARA, TOMAS, INES];

impl Person {
    /// The id in the reservation system.
    pub fn id(self) -> String {
        format!("8c1f0d9e-0000-4000-8000-00000000000{}", self.number)
    }

    /// Text that is in the e-mail address.
    pub fn email(self) -> String {
        format!("{}@people.example", self.name)
    }

    /// The key without type and comment: what must be on the right host and nowhere else.
    pub fn key(self) -> String {
        let mut key = vec![0, 0, 0, 11];
        key.extend_from_slice(b"ssh-ed25519");
        key.extend_from_slice(&[0, 0, 0, 32]);
        key.extend(std::iter::repeat_n(self.number.wrapping_mul(37), 32));
        BASE64.encode(key)
    }

    /// The user as the reservation system knows them.
    pub fn user(self) -> User {
        let key = format!("ssh-ed25519 {} {}@laptop", self.key(), self.name);
        User::new(self.id(), self.name)
            .email(self.email())
            .ssh_public_key(key)
    }
}

/// The secret of a webhook: 44 characters of Base64, as the reservation system makes them.
pub fn webhook_secret(webhook: u64) -> String {
    let byte = u8::try_from(webhook % 251).unwrap_or_default();
    let bytes: Vec<u8> = (0..32).map(|place| byte.wrapping_mul(31) ^ place).collect();
    BASE64.encode(bytes)
}

/// The server `node01` has number 31, and so on.
pub fn server(number: i64) -> Resource {
    Resource::server(30 + number, node(number))
}

/// The name of a server and of its host.
pub fn node(number: i64) -> String {
    format!("node{number:02}")
}

/// Text in an object, empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether a host is ready for whoever has it: Metal3 has written our image.
pub fn is_provisioned(host: &Value) -> bool {
    text(host, "/status/provisioning/state") == "provisioned"
        && text(host, "/status/provisioning/image/url") == IMAGE
}

/// Whether a host is free: no consumer, no image or user data wanted, none on it, available, without an error, off.
pub fn is_clean(host: &Value) -> bool {
    let gone = |pointer| host.pointer(pointer).is_none_or(Value::is_null);
    gone("/spec/image")
        && gone("/spec/userData")
        && gone("/spec/consumerRef")
        && text(host, "/status/provisioning/state") == "available"
        && text(host, "/status/provisioning/image/url").is_empty()
        && text(host, "/status/errorMessage").is_empty()
        && host.pointer("/status/poweredOn") != Some(&Value::Bool(true))
        && host.pointer("/spec/online") != Some(&Value::Bool(true))
}
