//! JSON from the network: parsed once, within limits.

use std::cell::Cell;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};

/// Bounds of one JSON text.
#[derive(Clone, Copy, Debug)]
pub struct JsonLimits {
    /// Longest text, in bytes.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
    /// Most values (object members, array elements) in one text, so that a text of many tiny values
    /// cannot cost a hundred times its length in memory.
    pub values_max: usize,
    /// Most objects in one frame ([`parse_all`]).
    pub objects_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { bytes_max: 256 * 1024, depth_max: 100, values_max: 20_000, objects_max: 64 }
    }
}

/// A text that is not JSON, or is over a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub text: String,
    /// A limit was hit (the text names it); otherwise the text is not JSON.
    pub limit: bool,
}

/// Parses exactly one value.
pub fn parse(text: &str, limits: &JsonLimits) -> Result<Value, JsonError> {
    let mut all = parse_all(text, &JsonLimits { objects_max: 1, ..*limits })?;
    Ok(all.pop().unwrap_or(Value::Null))
}

/// Parses one or more values that stand one after another, as WebSocket clients may send them. One
/// that is wrong rejects them all.
pub fn parse_all(text: &str, limits: &JsonLimits) -> Result<Vec<Value>, JsonError> {
    if text.len() > limits.bytes_max {
        return Err(over(format!("longer than {} bytes", limits.bytes_max)));
    }
    let left = Cell::new(limits.values_max);
    let mut de = Deserializer::from_str(text);
    let mut values = Vec::new();
    loop {
        if !values.is_empty() && de.end().is_ok() {
            return Ok(values);
        }
        if values.len() == limits.objects_max {
            let mut error = over(format!("more than {} values in one text", limits.objects_max));
            if limits.objects_max == 1 {
                error = de.end().map_err(JsonError::from).err().unwrap_or(error);
                error.text = "end of file expected".into();
            }
            return Err(error);
        }
        values.push(Bounded { depth: limits.depth_max, left: &left }.deserialize(&mut de)?);
    }
}

fn over(text: String) -> JsonError {
    JsonError { line: 1, column: 1, text, limit: true }
}

const LIMIT_MARK: &str = "limit: ";

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let whole = error.to_string();
        let text = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(text, _)| text);
        let (text, limit) = match text.strip_prefix(LIMIT_MARK) {
            Some(text) => (text, true),
            None => (text, text.starts_with("recursion limit")),
        };
        Self { line: error.line().max(1), column: error.column(), text: text.to_owned(), limit }
    }
}

/// Builds a [`Value`] and counts on the way.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom("limit: too many values"))?;
        self.left.set(left);
        Ok(())
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("limit: nested too deeply"))?;
        Ok(Self { depth, left: self.left })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }
    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        // As the servers before us: NUL ends a string in too many places behind an API.
        if value.contains('\0') { Err(E::custom("\\u0000 is not allowed")) } else { Ok(Value::String(value)) }
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            self.count()?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.count()?;
            if key.contains('\0') {
                return Err(A::Error::custom("\\u0000 is not allowed"));
            }
            // The last of two members with one name counts, as with the other servers of this API.
            let value = map.next_value_seed(inner)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Value, JsonError> {
        parse(text, &JsonLimits::default())
    }

    #[test]
    fn one_value_and_nothing_after_it() {
        assert_eq!(one(" {\"a\":[1,-2,true,null]} \n").unwrap().to_string(), r#"{"a":[1,-2,true,null]}"#);
        let error = one("{\"a\":1}\n x").unwrap_err();
        assert_eq!((error.line, error.text.as_str(), error.limit), (2, "end of file expected", false));
        assert!(one("").is_err());
    }

    #[test]
    fn several_values_or_none() {
        let limits = JsonLimits { objects_max: 3, ..JsonLimits::default() };
        assert_eq!(parse_all("{} {\"a\":1}{}", &limits).unwrap().len(), 3);
        assert!(!parse_all("{}{} x", &limits).unwrap_err().limit);
        assert!(parse_all("{}{}{}{}", &limits).unwrap_err().limit);
    }

    #[test]
    fn hostile_texts() {
        for bad in
            ["{\"a\":1e400}", "\"\\ud800\"", "{\"a\":\"x\\u0000\"}", "{\"a\\u0000\":1}", "{", "[1,]", "nul"]
        {
            let error = one(bad).unwrap_err();
            assert!(!error.limit, "{bad}: {error:?}");
        }
        for (text, word) in [
            ("[".repeat(100_000), "nested"),
            ("{\"a\":".repeat(40_000), "nested"),
            (format!("[{}1]", "1,".repeat(30_000)), "values"),
            (format!("\"{}\"", "x".repeat(300_000)), "bytes"),
        ] {
            let error = one(&text).unwrap_err();
            assert!(error.limit && error.text.contains(word), "{error:?}");
        }
    }

    #[test]
    fn the_last_of_two_members_counts() {
        assert_eq!(one(r#"{"a":1,"b":2,"a":3}"#).unwrap().to_string(), r#"{"a":3,"b":2}"#);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}\",:0-9eE+.\\\\utrn a-f-]{0,80}") {
            let _ = one(&text);
        }

        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}\",:0-9 a]{0,30}") {
            let limits = JsonLimits::default();
            prop_assert_eq!(parse(&text, &limits).ok(), serde_json::from_str::<Value>(&text).ok());
        }
    }
}
