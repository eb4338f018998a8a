//! Who sent a request: signatures and tokens of chat tools, compared in constant time.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::records::hex;

/// Seconds by which a signed request of Slack may be old, or ahead of our clock.
const AGE_MAX: u64 = 300;

/// Whether Slack signed a body: `v0=` and the HMAC-SHA256 of `v0:TIMESTAMP:BODY` in hexadecimal
/// (Slack, "Verifying requests from Slack"). `now` in seconds since 1970 (UTC).
pub(super) fn is_of_slack(
    secret: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: i64,
) -> bool {
    let is_fresh = timestamp.parse::<i64>().is_ok_and(|it| it.abs_diff(now) <= AGE_MAX);
    let begin = format!("v0:{timestamp}:");
    let expected = format!("v0={}", hex(&hmac(secret.as_bytes(), &[begin.as_bytes(), body])));
    // Both are looked at, so that time does not tell which one failed.
    let is_signed = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
    is_fresh && is_signed
}

/// Whether Teams signed a body: `HMAC ` and the HMAC-SHA256 of the body in Base64, under a key that
/// is given in Base64 (Microsoft, "Create Outgoing Webhooks").
pub(super) fn is_of_teams(secret: &str, authorization: &str, body: &[u8]) -> bool {
    let Ok(key) = BASE64_STANDARD.decode(secret) else { return false };
    let expected = format!("HMAC {}", BASE64_STANDARD.encode(hmac(&key, &[body])));
    bool::from(expected.as_bytes().ct_eq(authorization.trim().as_bytes()))
}

/// Whether a token is one of those that are separated by spaces or commas.
pub(super) fn is_one_of(tokens: &str, token: &str) -> bool {
    let hash = |it: &str| Sha256::digest(it);
    let given = hash(token);
    let known = tokens.split([' ', ',', '\t', '\n']).filter(|it| !it.is_empty());
    // All are compared, and by their hashes, so that time tells neither which one nor how long.
    let found = known.fold(subtle::Choice::from(0), |found, it| found | hash(it).ct_eq(&given));
    bool::from(found) && !token.is_empty()
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that Slack publishes.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const TIMESTAMP: &str = "1531420618";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const AT: i64 = 1_531_420_618;

    #[test]
    fn slacks_own_example_is_signed() {
        let check = |secret: &str, timestamp: &str, signature: &str, body: &str, now| {
            is_of_slack(secret, timestamp, signature, body.as_bytes(), now)
        };
        assert!(check(SECRET, TIMESTAMP, SIGNATURE, BODY, AT));
        assert!(check(SECRET, TIMESTAMP, SIGNATURE, BODY, AT + 300));
        assert!(check(SECRET, TIMESTAMP, SIGNATURE, BODY, AT - 300));
        assert!(!check(SECRET, TIMESTAMP, SIGNATURE, BODY, AT + 301));
        assert!(!check(SECRET, TIMESTAMP, SIGNATURE, BODY, AT - 301));
        assert!(!check(SECRET, "1531420619", SIGNATURE, BODY, AT));
        assert!(!check(SECRET, "soon", SIGNATURE, BODY, AT));
        assert!(!check(SECRET, "-9223372036854775808", SIGNATURE, BODY, AT));
        assert!(!check(SECRET, TIMESTAMP, SIGNATURE, &BODY[1..], AT));
        assert!(!check("another", TIMESTAMP, SIGNATURE, BODY, AT));
        assert!(!check(SECRET, TIMESTAMP, &SIGNATURE.to_uppercase(), BODY, AT));
        assert!(!check(SECRET, TIMESTAMP, "", BODY, AT));
    }

    #[test]
    fn teams_signs_with_a_key_in_base64() {
        // Made with Python's hmac and base64.
        let secret = "dW5lIGNsw6kgZGUgdGVzdA==";
        let body = "{\"text\":\"<at>Souffleur</at> Bonjour\"}".as_bytes();
        let header = "HMAC A/iFmZaXkk9eBW0OV1xG9BxF/+u05glWOE9P5a6OYu8=";
        assert!(is_of_teams(secret, header, body), "{:?}", {
            BASE64_STANDARD.encode(hmac(&BASE64_STANDARD.decode(secret).unwrap(), &[body]))
        });
        assert!(!is_of_teams(secret, header, &body[1..]));
        assert!(!is_of_teams(secret, &header[5..], body));
        assert!(!is_of_teams("not base64!", header, body));
    }

    #[test]
    fn any_of_the_tokens_will_do_and_none_will_not() {
        for token in ["one", "two", "three"] {
            assert!(is_one_of("one two,three", token), "{token}");
        }
        for token in ["", " ", "one two", "on", "four"] {
            assert!(!is_one_of("one two, three", token), "{token:?}");
        }
        assert!(!is_one_of("", ""));
    }
}
