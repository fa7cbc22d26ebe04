//! Headers between JSON and SIP.

use bifrons_sip_ua::ua::Details;
use serde_json::{Map, Value};

/// Bytes of custom headers in all, names and values; the rest is left out.
const CUSTOM_BYTES_MAX: usize = 2_048;

/// Headers that the stack understands itself; prefixes never match them.
const KNOWN: [&str; 38] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "alert-info",
    "allow",
    "allow-events",
    "authorization",
    "call-id",
    "call-info",
    "contact",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "cseq",
    "date",
    "error-info",
    "event",
    "expires",
    "from",
    "max-forwards",
    "mime-version",
    "min-expires",
    "proxy-authenticate",
    "proxy-authorization",
    "rack",
    "reason",
    "record-route",
    "refer-to",
    "referred-by",
    "require",
    "route",
    "rseq",
    "supported",
    "to",
    "via",
    "www-authenticate",
];

/// The `headers` of a request. Entries with CR or LF, or that are no text, are skipped.
pub fn custom(body: &Map<String, Value>) -> Vec<(String, String)> {
    let mut bytes = 0;
    let entries = body.get("headers").and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .filter(|(name, value)| {
            !name.is_empty() && ![name, value].iter().any(|text| text.contains(['\r', '\n', '\0']))
        })
        .take_while(|(name, value)| {
            bytes += name.len() + value.len() + 4;
            bytes <= CUSTOM_BYTES_MAX
        })
        .collect()
}

/// The `headers` member of an event: `None` where the account asked for no prefixes.
pub fn reported(details: &Details, prefixes: &[String]) -> Option<Value> {
    if prefixes.is_empty() {
        return None;
    }
    let mut headers = Map::new();
    for (name, value) in &details.headers {
        let lower = name.to_ascii_lowercase();
        let wanted = prefixes.iter().any(|prefix| lower.starts_with(&prefix.to_ascii_lowercase()));
        if wanted && !KNOWN.contains(&lower.as_str()) {
            headers.insert(name.clone(), value.clone().into());
        }
    }
    Some(Value::Object(headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_could_break_a_message_is_skipped() {
        let body =
            json!({"headers": {"X-A": "1", "X-B": "1\r\nEvil: yes", "X\nC": "1", "X-D": 4, "X-E": "é"}});
        let headers = custom(body.as_object().unwrap());
        assert_eq!(headers, [("X-A".to_owned(), "1".to_owned()), ("X-E".to_owned(), "é".to_owned())]);
        let body = json!({"headers": {"X-A": "a".repeat(1_000), "X-B": "b".repeat(1_040), "X-C": "c"}});
        assert_eq!(custom(body.as_object().unwrap()).len(), 1);
    }

    #[test]
    fn prefixes_match_what_the_stack_does_not_know() {
        let header = |name: &str| (name.to_owned(), "v".to_owned());
        let details = Details {
            headers: ["X-One", "x-two", "From", "P-Asserted-Identity", "Reason"].map(header).to_vec(),
            ..Details::default()
        };
        assert_eq!(reported(&details, &[]), None);
        let all = ["x-", "P-", "F", "R"].map(str::to_owned);
        assert_eq!(
            reported(&details, &all),
            Some(json!({"X-One": "v", "x-two": "v", "P-Asserted-Identity": "v"}))
        );
        assert_eq!(reported(&details, &["Q".to_owned()]), Some(json!({})));
    }
}
