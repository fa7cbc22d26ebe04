//! Trickled candidates (`trickle`): their check, and the queue for those that come too early.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{ApiError, Code};

/// What a candidate object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// The peer has no more.
    Completed,
    /// An m-line by mid or index, and the text after `candidate:` (may be empty).
    Line { mid: Option<String>, index: Option<u64>, text: String },
}

impl Candidate {
    /// Reads one. Anything but an object means the end of candidates, as browsers send `null` for it.
    pub(crate) fn parse(value: &Value) -> Result<Self, ApiError> {
        let Some(object) = value.as_object() else { return Ok(Self::Completed) };
        if object.contains_key("completed") {
            return Ok(Self::Completed);
        }
        let mid = optional(object, "sdpMid", "a string", |v| v.as_str().map(str::to_owned))?;
        let index = optional(object, "sdpMLineIndex", "a positive integer", Value::as_u64)?;
        if mid.is_none() && index.is_none() {
            return Err(ApiError::new(
                Code::MissingMandatoryElement,
                "Trickle error: missing mandatory element (sdpMid or sdpMLineIndex)",
            ));
        }
        let text = match object.get("candidate") {
            None | Some(Value::Null) => {
                return Err(ApiError::new(
                    Code::MissingMandatoryElement,
                    "Trickle error: missing mandatory element (candidate)",
                ));
            }
            Some(Value::String(text)) => text.strip_prefix("candidate:").unwrap_or(text).to_owned(),
            Some(_) => return Err(wrong_type("candidate", "a string")),
        };
        // Both are ways of browsers to say that a generation is over for one m-line.
        let text = if text.contains("end-of-candidates") { String::new() } else { text };
        Ok(Self::Line { mid, index, text })
    }

    /// Longest candidate that is looked at, in bytes.
    pub(crate) const BYTES_MAX: usize = 512;
}

fn optional<T>(
    object: &Map<String, Value>,
    name: &str,
    kind: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| wrong_type(name, kind)),
    }
}

fn wrong_type(name: &str, kind: &str) -> ApiError {
    ApiError::new(
        Code::InvalidElementType,
        format!("Trickle error: invalid element type ({name} should be {kind})"),
    )
}

/// Candidates that wait for offer and answer.
#[derive(Debug, Default)]
pub(crate) struct CandidateQueue {
    queue: VecDeque<(Duration, Candidate)>,
}

impl CandidateQueue {
    /// Adds one. False: the queue is full and it was dropped.
    pub(crate) fn push(&mut self, now: Duration, candidate: Candidate, max: usize) -> bool {
        let room = self.queue.len() < max;
        if room {
            self.queue.push_back((now, candidate));
        }
        room
    }

    /// Takes out those that are not older than `timeout`.
    pub(crate) fn take(&mut self, now: Duration, timeout: Duration) -> Vec<Candidate> {
        let fresh = |(at, candidate)| (now.saturating_sub(at) <= timeout).then_some(candidate);
        self.queue.drain(..).filter_map(fresh).collect()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shapes() {
        let line = |mid: Option<&str>, index, text: &str| Candidate::Line {
            mid: mid.map(str::to_owned),
            index,
            text: text.to_owned(),
        };
        for (value, expected) in [
            (json!(null), Candidate::Completed),
            (json!({"completed": false}), Candidate::Completed),
            (json!({"sdpMid": "0", "candidate": "candidate:1 1 udp"}), line(Some("0"), None, "1 1 udp")),
            (json!({"sdpMLineIndex": 0, "candidate": "1 1 udp"}), line(None, Some(0), "1 1 udp")),
            (json!({"sdpMid": "0", "candidate": ""}), line(Some("0"), None, "")),
            (json!({"sdpMid": "0", "candidate": "end-of-candidates"}), line(Some("0"), None, "")),
        ] {
            assert_eq!(Candidate::parse(&value), Ok(expected), "{value}");
        }
        for (value, code, word) in [
            (json!({}), 456, "sdpMid or sdpMLineIndex"),
            (json!({"sdpMid": 3}), 467, "sdpMid should be a string"),
            (json!({"sdpMLineIndex": -1}), 467, "sdpMLineIndex should be a positive integer"),
            (json!({"sdpMid": "0"}), 456, "candidate"),
            (json!({"sdpMid": "0", "candidate": 1}), 467, "candidate should be a string"),
        ] {
            let error = Candidate::parse(&value).unwrap_err();
            assert!(error.code.number() == code && error.reason.contains(word), "{value}: {error}");
        }
    }

    #[test]
    fn old_ones_are_not_used_and_the_queue_is_bounded() {
        let mut queue = CandidateQueue::default();
        let s = Duration::from_secs;
        assert!(queue.push(s(0), Candidate::Completed, 2));
        assert!(queue.push(s(30), Candidate::Completed, 2));
        assert!(!queue.push(s(30), Candidate::Completed, 2));
        assert_eq!(queue.take(s(46), s(45)).len(), 1);
        assert!(queue.take(s(46), s(45)).is_empty());
    }
}
