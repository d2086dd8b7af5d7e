//! What the reservation system says on the wire, and what it wants to hear: payloads, signatures, callbacks.
//!
//! ```text
//!  header + body ─▶ Signature::parse ─▶ WebhookSecrets::verify ─▶ Webhook::parse ─▶ message_id
//!                                          │ Verified                │ Webhook or Unreadable
//!                                          └── may_speak_for(webhook id)?
//!
//!  Notification / WebhookLog ─▶ to_body ─▶ sign(secret of that webhook) ─▶ POST exactly these bytes
//! ```
//!
//! The crate is pure but for [`WebhookSecrets::load`], which reads a file or a folder. It knows nothing of
//! reservations as Bellhop sees them, of streams or of HTTP. Three rules hold in it:
//!
//! - A body is verified before it is parsed; the signature covers its raw bytes.
//! - No error and no `Debug` output repeats a secret, a signature, a key, an address, or any text of a body.
//! - What the senders leave out now and then is optional; only what Bellhop can't work without is required.
//!
//! Two programs send: the *event processor* (flat `EVENT_START` and `EVENT_END`) and the *back end* (everything else,
//! nested under `data`). Neither sends anything twice after a failure, so nothing signed may be lost.

pub mod callback;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod ids;
pub mod message_id;
pub mod secrets;
pub mod signature;
pub mod ssh_key;
pub mod webhook;

pub use callback::{
    LOG_TEXT_LIMIT, MESSAGE_LIMIT, Notification, NotificationType, RefusedByReceiver, WebhookLog,
    cut,
};
pub use ids::{EventId, InvalidEventId, InvalidWebhookId, Private, WebhookId};
pub use message_id::message_id;
pub use secrets::{
    MAX_SECRETS, SecretPlace, SecretsError, Unverified, Verified, Weakness, WebhookSecrets,
    parse_mapping,
};
pub use signature::{
    EmptySecret, SIGNATURE_HEADER, Signature, UndecodableSignature, WebhookSecret, sign,
};
pub use ssh_key::{SshPublicKey, UnusableSshKey};
pub use webhook::{
    Booking, Content, EventType, Problem, Resource, TestEvent, Unreadable, Webhook,
    claimed_webhook_id,
};
