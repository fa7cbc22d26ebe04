//! The errors of the Janus API: a code, its usual text, and the shape in which they go out.

use serde_json::{Map, Value};

/// An error code of the API. `RateLimited` is ours; the rest are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names and texts say it all.
pub enum Code {
    Unauthorized = 403,
    UnauthorizedPlugin = 405,
    RateLimited = 429,
    TransportSpecific = 450,
    UnknownRequest = 453,
    InvalidJson = 454,
    InvalidJsonObject = 455,
    MissingMandatoryElement = 456,
    InvalidRequestPath = 457,
    SessionNotFound = 458,
    HandleNotFound = 459,
    PluginNotFound = 460,
    PluginAttach = 461,
    PluginMessage = 462,
    PluginDetach = 463,
    JsepUnknownType = 464,
    JsepInvalidSdp = 465,
    InvalidElementType = 467,
    SessionConflict = 468,
    UnexpectedAnswer = 469,
    TokenNotFound = 470,
    WebRtcState = 471,
    NotAcceptingSessions = 472,
    Unknown = 490,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The text that goes with the code when there is nothing better to say.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized request (wrong or missing secret/token)",
            Self::UnauthorizedPlugin => "Unauthorized access to plugin (token is not allowed to)",
            Self::RateLimited => "Too many requests",
            Self::TransportSpecific => "Transport specific error",
            Self::UnknownRequest => "Unknown request",
            Self::InvalidJson => "Invalid JSON",
            Self::InvalidJsonObject => "Invalid JSON Object",
            Self::MissingMandatoryElement => "Missing mandatory element",
            Self::InvalidRequestPath => "Invalid path for this request",
            Self::SessionNotFound => "Session not found",
            Self::HandleNotFound => "Handle not found",
            Self::PluginNotFound => "Plugin not found",
            Self::PluginAttach => "Error attaching plugin",
            Self::PluginMessage => "Error sending message to plugin",
            Self::PluginDetach => "Error detaching from plugin",
            Self::JsepUnknownType => "Unsupported JSEP type",
            Self::JsepInvalidSdp => "Invalid SDP",
            Self::InvalidElementType => "Invalid element type",
            Self::SessionConflict => "Session ID already in use",
            Self::UnexpectedAnswer => "Unexpected ANSWER (no OFFER)",
            Self::TokenNotFound => "Token not found",
            Self::WebRtcState => "Wrong WebRTC state",
            Self::NotAcceptingSessions => "Currently not accepting new sessions",
            Self::Unknown => "Unknown error",
        }
    }
}

/// An error to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Its code.
    pub code: Code,
    /// Its text, at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// Longest text of an error, in bytes; longer ones are cut at a character.
pub const REASON_BYTES_MAX: usize = 511;

impl ApiError {
    /// An error with a text of its own.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        if reason.len() > REASON_BYTES_MAX {
            let end = (0..=REASON_BYTES_MAX).rev().find(|&i| reason.is_char_boundary(i)).unwrap_or(0);
            reason.truncate(end);
        }
        Self { code, reason }
    }

    /// `{"janus":"error"[,"session_id":S][,"transaction":T],"error":{…}}`
    pub fn to_value(&self, session_id: Option<u64>, transaction: Option<&str>) -> Value {
        let mut reply = Map::new();
        reply.insert("janus".into(), "error".into());
        if let Some(id) = session_id.filter(|&id| id != 0) {
            reply.insert("session_id".into(), (id as i64).into());
        }
        if let Some(transaction) = transaction {
            reply.insert("transaction".into(), transaction.into());
        }
        let mut error = Map::new();
        error.insert("code".into(), self.code.number().into());
        error.insert("reason".into(), self.reason.as_str().into());
        reply.insert("error".into(), Value::Object(error));
        Value::Object(reply)
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code, code.text())
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code.number(), self.reason)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_only_when_known() {
        let error = ApiError::from(Code::SessionConflict);
        assert_eq!(
            error.to_value(Some(7), Some("t")).to_string(),
            r#"{"janus":"error","session_id":7,"transaction":"t","error":{"code":468,"reason":"Session ID already in use"}}"#
        );
        assert_eq!(
            error.to_value(Some(0), None).to_string(),
            r#"{"janus":"error","error":{"code":468,"reason":"Session ID already in use"}}"#
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let error = ApiError::new(Code::Unknown, "ä".repeat(400));
        assert_eq!(error.reason.len(), 510);
    }
}
