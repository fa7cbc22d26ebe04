//! Members of a request, checked in a declared order with the texts that clients know.

use serde_json::{Map, Value};

/// What a member has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// An integer that is not negative ("positive" in the texts).
    Positive,
    /// `true` or `false`.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Positive => value.as_u64().is_some_and(|number| i64::try_from(number).is_ok()),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "an integer",
            Self::Positive => "a positive integer",
            Self::Boolean => "a boolean",
            Self::Object => "an object",
            Self::Array => "an array",
        }
    }
}

/// One member of a request.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    name: &'static str,
    kind: Kind,
    required: bool,
    null_is_absent: bool,
}

/// A member that may be there.
pub const fn optional(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: false, null_is_absent: false }
}

/// A member that has to be there.
pub const fn required(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: true, null_is_absent: false }
}

/// A member that may be there, or be `null`.
pub const fn nullable(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: false, null_is_absent: true }
}

/// An error of a plugin: its code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// `error_code`
    pub code: u32,
    /// `error`
    pub text: String,
}

impl PluginError {
    /// An error with this code and text.
    pub fn new(code: u32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Checks members in order; the first failure wins. `missing` and `invalid` are the plugin's codes.
///
/// # Errors
/// A required member is missing, or one has the wrong type.
pub fn check(
    body: &Map<String, Value>,
    params: &[Param],
    missing: u32,
    invalid: u32,
) -> Result<(), PluginError> {
    for param in params {
        match body.get(param.name) {
            None if param.required => {
                let text = format!("Missing mandatory element ({})", param.name);
                return Err(PluginError::new(missing, text));
            }
            None => {}
            Some(Value::Null) if param.null_is_absent => {}
            Some(value) if param.kind.fits(value) => {}
            Some(_) => {
                let text = format!("Invalid element type ({} should be {})", param.name, param.kind.text());
                return Err(PluginError::new(invalid, text));
            }
        }
    }
    Ok(())
}

/// The text of a member.
pub fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

/// The truth of a member.
pub fn flag(body: &Map<String, Value>, name: &str) -> Option<bool> {
    body.get(name).and_then(Value::as_bool)
}

/// The number of a member.
pub fn number(body: &Map<String, Value>, name: &str) -> Option<i64> {
    body.get(name).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_failure_wins() {
        let params =
            [required("uri", Kind::Text), optional("ttl", Kind::Positive), nullable("proxy", Kind::Text)];
        let failure =
            |body: Value| check(body.as_object().unwrap(), &params, 443, 444).err().map(|e| (e.code, e.text));
        assert_eq!(failure(json!({})), Some((443, "Missing mandatory element (uri)".into())));
        let wrong = Some((444, "Invalid element type (uri should be a string)".into()));
        assert_eq!(failure(json!({"uri": 1, "ttl": "x"})), wrong);
        assert_eq!(failure(json!({"uri": null})), wrong);
        let wrong = Some((444, "Invalid element type (ttl should be a positive integer)".into()));
        assert_eq!(failure(json!({"uri": "x", "ttl": -1})), wrong);
        assert_eq!(failure(json!({"uri": "x", "ttl": 1.5})), wrong);
        assert_eq!(failure(json!({"uri": "x", "ttl": 0, "proxy": null})), None);
    }
}
