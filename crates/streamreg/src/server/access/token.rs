//! Tokens with a checksum, and the hashes by which the server knows them.
//!
//! A token is `srg_`, then 256 random bits in base64url (RFC 4648, section 5), then a checksum. The checksum is the
//! CRC-32 (ITU-T V.42) of the 43 characters in front of it, in base62 with 6 digits. Like the tokens of GitHub, such a
//! token can be recognised by a secret scanner without a look-up.

use std::fmt::{self, Display};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use stream_registry::Secret;

/// Beginning of each token.
pub(super) const PREFIX: &str = "srg_";
/// Number of random bytes in a token.
const RANDOM_BYTES: usize = 32;
/// Number of characters of the checksum.
const CHECKSUM_LENGTH: usize = 6;
/// Beginning of each hash in an access file.
const HASH_PREFIX: &str = "sha256:";

/// The SHA-256 of a token. The server keeps no other form of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenHash([u8; SHA256_OUTPUT_LEN]);

impl TokenHash {
    /// Returns the hash of a complete token.
    pub(crate) fn of(token: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(hash)
    }
}

impl FromStr for TokenHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The message never repeats the value, because it can be a token by mistake.
        let invalid = "invalid hash; expected sha256: and 64 hexadecimal digits, as `streamreg token new` prints them";
        let digits = text.strip_prefix(HASH_PREFIX).filter(|digits| digits.len() == 2 * SHA256_OUTPUT_LEN);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())).ok_or(invalid)?;
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| invalid)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid)?;
        }
        Ok(Self(hash))
    }
}

impl Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Creates a random token.
///
/// # Errors
///
/// Returns a message if the system provides no random numbers.
pub(crate) fn generate() -> Result<Secret, &'static str> {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system provides no random numbers; try again")?;
    let random = URL_SAFE_NO_PAD.encode(bytes);
    Ok(format!("{PREFIX}{random}{}", checksum(&random)).into())
}

/// Returns whether the end of a token matches its checksum. A string without the prefix `srg_` has no checksum, so it
/// is always intact.
pub(crate) fn is_intact(token: &str) -> bool {
    let Some(rest) = token.strip_prefix(PREFIX) else { return true };
    let split = rest.len().checked_sub(CHECKSUM_LENGTH).and_then(|at| rest.split_at_checked(at));
    split.is_some_and(|(random, end)| {
        URL_SAFE_NO_PAD.decode(random).is_ok_and(|bytes| bytes.len() == RANDOM_BYTES) && checksum(random) == end
    })
}

/// Checks a token from a file of a user.
///
/// # Errors
///
/// Returns the end of a message that begins with "the token".
pub(crate) fn check_token(token: &str) -> Result<(), &'static str> {
    // Accepts all visible ASCII characters, although RFC 6750, section 2.1, allows only some of them.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be visible ASCII characters without spaces");
    }
    if is_intact(token) { Ok(()) } else { Err("is damaged; copy it again completely") }
}

/// Returns the CRC-32 of a string as six digits in base62.
fn checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = u64::from(crc32(text.as_bytes()));
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(rest % 62).ok().and_then(|at| DIGITS.get(at)).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    /// The generator polynomial with its bits reversed.
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_crc_32_in_base62() {
        // The check value of CRC-32 in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(""), "000000");
        // 3 421 780 262 as a number in base62.
        assert_eq!(checksum("123456789"), "3jZRME");
    }

    #[test]
    fn generated_token_is_intact_and_each_changed_character_is_detected() {
        let token = generate().unwrap();
        let token = token.reveal();
        assert_eq!(token.len(), 4 + 43 + 6);
        assert!(is_intact(token));
        assert_ne!(generate().unwrap().reveal(), token);
        for at in PREFIX.len()..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_intact(std::str::from_utf8(&changed).unwrap()), "{at}");
        }
        for damaged in ["srg_", "srg_é", &token[..52], &format!("{token}0")] {
            assert!(!is_intact(damaged), "{damaged}");
        }
        assert!(is_intact("s3cret"));
    }

    #[test]
    fn hash_survives_a_round_trip_and_invalid_hashes_are_rejected() {
        // The first example of FIPS 180-2.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of(b"abc").to_string(), abc);
        assert_eq!(abc.parse(), Ok(TokenHash::of(b"abc")));
        for invalid in ["", "sha256:", &abc[7..], &abc[..70], &format!("{abc}0"), &abc.replace("ba", "+a"), "srg_x"] {
            assert!(invalid.parse::<TokenHash>().is_err_and(|message| !message.contains("srg_x")), "{invalid}");
        }
    }
}
