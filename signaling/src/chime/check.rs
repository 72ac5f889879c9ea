//! The constraints of the API's members: what breaks one is named, its value is not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;

use crate::chime::error::{Fault, Kind};
use crate::chime::sigv4;

type Result<T> = std::result::Result<T, Fault>;

/// Reads a JSON body; an absent one counts as an object without members. Members that we do not know are ignored, as AWS does.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    // The parser's own words could repeat a value; its position does not.
    serde_json::from_slice(bytes).map_err(|error| {
        Kind::BadRequest.with(format!(
            "The body cannot be read: a member is missing or of another type at line {} column {}",
            error.line(),
            error.column()
        ))
    })
}

/// The value of a parameter of the query, if it is there.
#[must_use]
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    sigv4::pairs(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A member that has to be there.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn required<T>(name: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Kind::BadRequest.with(format!("{name} is required")))
}

/// So many characters.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn length(name: &'static str, text: &str, least: usize, most: usize) -> Result<()> {
    let count = text.chars().take(most + 1).count();
    if count < least || count > most {
        return Err(Kind::BadRequest.with(format!("{name} must have {least} to {most} characters")));
    }
    Ok(())
}

/// So many items.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn count<T>(name: &'static str, items: &[T], least: usize, most: usize) -> Result<()> {
    if items.len() < least || items.len() > most {
        return Err(Kind::BadRequest.with(format!("{name} must have {least} to {most} items")));
    }
    Ok(())
}

/// `ClientRequestToken`.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn request_token(value: Option<String>) -> Result<String> {
    let text = required("ClientRequestToken", value)?;
    length("ClientRequestToken", &text, 2, 64)?;
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err(Kind::BadRequest.with("ClientRequestToken may hold letters, digits, - and _"));
    }
    Ok(text)
}

/// `ExternalMeetingId`, `ExternalUserId`, `MeetingHostId`.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn external_id(name: &'static str, text: &str) -> Result<()> {
    length(name, text, 2, 64)?;
    let is_allowed = |c: char| {
        c.is_ascii_alphanumeric()
            || ('\u{c0}'..='\u{ff}').contains(&c)
            || c.is_whitespace()
            || "-_&@+=,(){}[]/\u{ab}\u{bb}.:|'\"#".contains(c)
    };
    if !text.chars().all(is_allowed) {
        return Err(Kind::BadRequest.with(format!("{name} has a character that is not allowed")));
    }
    if text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("aws:")) {
        return Err(Kind::BadRequest.with(format!("{name} must not begin with aws:")));
    }
    if text.trim().is_empty() {
        return Err(Kind::BadRequest.with(format!("{name} must not be blank")));
    }
    Ok(())
}

/// `TenantIds`.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn tenant_ids(ids: &[String]) -> Result<()> {
    count("TenantIds", ids, 1, 5)?;
    for id in ids {
        length("TenantIds", id, 2, 256)?;
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_!@#$".contains(&byte)) {
            return Err(Kind::BadRequest.with("TenantIds has a character that is not allowed"));
        }
        if id.as_bytes().windows(4).any(|four| matches!(four, [a, b, c, d] if a == b && b == c && c == d)) {
            return Err(Kind::BadRequest.with("TenantIds must not repeat a character four times in a row"));
        }
    }
    Ok(())
}

/// `max-results`, and where the page begins: the number of the last row that the client has.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn page(query: &str) -> Result<(i64, i64)> {
    let most = match parameter(query, "max-results") {
        None => 100,
        Some(text) => text
            .parse()
            .ok()
            .filter(|most| (1..=100).contains(most))
            .ok_or_else(|| Kind::BadRequest.with("max-results must be 1 to 100"))?,
    };
    let after = match parameter(query, "next-token") {
        None => 0,
        Some(text) => parse_next(&text).ok_or_else(|| Kind::BadRequest.with("next-token is not one of ours"))?,
    };
    Ok((most, after))
}

/// What a client gives back for the page after this row.
#[must_use]
pub(crate) fn next_token(seq: i64) -> String {
    URL_SAFE_NO_PAD.encode(seq.to_be_bytes())
}

fn parse_next(text: &str) -> Option<i64> {
    let bytes: [u8; 8] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    Some(i64::from_be_bytes(bytes)).filter(|seq| *seq >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_ids_as_documented() {
        for good in ["ab", "Jos\u{e9} #1", "a/b:c|d'e\"f#g", "{x}[y](z)", "aws", &"x".repeat(64), "arn:aws:x"] {
            assert_eq!(external_id("it", good), Ok(()), "{good}");
        }
        for bad in ["", "a", "aws:x", "AwS:x", "a*b", "a\u{4e00}", "  ", "a\0b", &"x".repeat(65)] {
            assert!(external_id("it", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn request_tokens_and_tenants_as_documented() {
        assert!(request_token(None).is_err());
        for (text, is_good) in [("ab", true), ("a", false), ("a b", false), ("A_-9", true)] {
            assert_eq!(request_token(Some(text.to_owned())).is_ok(), is_good, "{text}");
        }
        assert!(request_token(Some("x".repeat(65))).is_err());
        let tenants = |ids: &[&str]| tenant_ids(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert!(tenants(&["ab", "a-_!@#$9"]).is_ok());
        for bad in [&[][..], &["a"], &["aaaa"], &["a b"], &["ab"; 6]] {
            assert!(tenants(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        assert_eq!(page("").unwrap(), (100, 0));
        assert_eq!(page(&format!("max-results=5&next-token={}", next_token(77))).unwrap(), (5, 77));
        for bad in ["max-results=0", "max-results=101", "max-results=x", "next-token=x", "next-token=__________8"] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_is_not_repeated() {
        let fault = body::<crate::chime::capability::Capabilities>(br#"{"Audio":"secret"}"#).unwrap_err();
        assert!(!fault.message.contains("secret"), "{}", fault.message);
    }
}
