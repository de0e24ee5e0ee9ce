//! The secrets of a webhook, and its signatures (Standard Webhooks, "Signature scheme").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};

const PREFIX: &str = "whsec_";
/// Allowed lengths of a secret in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// One secret, or two while a receiver changes from one to the other. The debug output does not contain them.
#[derive(Clone)]
pub struct Secrets(Vec<Key>);

impl Secrets {
    /// Parses the content of a file: one secret per line, each `whsec_` and base64.
    ///
    /// # Errors
    ///
    /// Returns a message that does not contain the secrets.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let keys = lines.map(|(at, line)| key(line).map_err(|fault| format!("line {}: {fault}", at + 1)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err("the file is empty; expected whsec_ and the base64 of 24 to 64 bytes".to_owned()),
            1 | 2 => Ok(Self(keys)),
            more => Err(format!("expected at most two secrets, got {more}; remove the oldest")),
        }
    }

    /// Returns the signatures of a message, separated by spaces. The id must not contain a dot.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let content = format!("{id}.{timestamp}.{body}");
        let signature = |key| format!("v1,{}", STANDARD.encode(sign(key, content.as_bytes())));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn key(line: &str) -> Result<Key, String> {
    let encoded = line.strip_prefix(PREFIX).ok_or("a secret begins with whsec_")?;
    let bytes =
        STANDARD.decode(encoded).map_err(|_| "the part after whsec_ is not base64; copy it again completely")?;
    if !LENGTHS.contains(&bytes.len()) {
        return Err(format!("a secret must have 24 to 64 bytes, got {}; create a new one", bytes.len()));
    }
    Ok(Key::new(HMAC_SHA256, &bytes))
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signature_matches_the_test_vector_of_standard_webhooks() {
        // From the tests of the reference implementations.
        let sign = |text: &str| {
            let secrets = Secrets::parse(text).unwrap();
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}")
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(SECRET), expected);
        let other = format!("whsec_{}", STANDARD.encode([7; 64]));
        let both = sign(&format!("{other}\r\n\n {SECRET}\n"));
        assert_eq!(both.split(' ').collect::<Vec<_>>(), [&sign(&other), expected]);
    }

    #[test]
    fn invalid_secret_is_rejected_without_repeating_it() {
        for (text, expected) in [
            ("", "the file is empty"),
            (" \n", "the file is empty"),
            ("s3cret", "line 1: a secret begins with whsec_"),
            ("whsec_s3cret!", "line 1: the part after whsec_ is not base64"),
            (&format!("whsec_{}", STANDARD.encode([1; 23])), "line 1: a secret must have 24 to 64 bytes, got 23"),
            (&format!("\nwhsec_{}", STANDARD.encode([1; 65])), "line 2: a secret must have 24 to 64 bytes, got 65"),
            (&[SECRET; 3].join("\n"), "expected at most two secrets, got 3"),
        ] {
            let fault = Secrets::parse(text).unwrap_err();
            assert!(fault.starts_with(expected) && !fault.contains("s3cret"), "{text:?}: {fault}");
        }
        assert_eq!(format!("{:?}", Secrets::parse(SECRET).unwrap()), "***");
    }
}
