//! The reservation system's own signature, written a second time on purpose: an error in Bellhop's would otherwise be
//! made on both sides and not be seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// HMAC-SHA256 over the body, keyed with the bytes of the secret's text, in Base64 with padding.
pub(super) fn signature_of(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length is fine");
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_signatures_of_the_real_sender_come_out() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/reservation-system/tests/vectors/"
        );
        let table = std::fs::read_to_string(format!("{folder}vectors.tsv")).unwrap();
        let mut count = 0;
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let body = std::fs::read(format!("{folder}{}", columns[0])).unwrap();
            assert_eq!(
                signature_of(columns[1], &body),
                columns[2],
                "{}",
                columns[0]
            );
            count += 1;
        }
        assert_eq!(count, 12);
    }
}
