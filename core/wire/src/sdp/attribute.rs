//! What every typed attribute has in common.

use core::fmt;
use core::str::FromStr;

use super::error::quote;

/// An attribute whose value has a structure: parsed by [`FromStr`], written by [`fmt::Display`].
pub trait Attribute: FromStr<Err = AttributeError> + fmt::Display {
    /// Its name.
    const NAME: &'static str;

    /// Parses a value.
    fn from_value(value: &str) -> Result<Self, AttributeError> {
        value.parse()
    }
}

/// An attribute's value is not what the attribute demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeError {
    /// Name of the attribute (or line).
    pub name: &'static str,
    /// Its value, cut to a length fit for a log; empty where it may hold a key.
    pub value: String,
    /// What was expected.
    pub expected: &'static str,
}

impl AttributeError {
    pub(super) fn new(name: &'static str, value: &str, expected: &'static str) -> Self {
        let value = if name == "crypto" { String::new() } else { quote(value) };
        AttributeError { name, value, expected }
    }
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid {}: expected {}", self.name, self.expected)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, " ({})", self.value) }
    }
}

impl core::error::Error for AttributeError {}
