//! Bencode, in which rtpengine's NG protocol is written: strings, integers, lists, dictionaries.

use std::collections::BTreeMap;

/// Lists and dictionaries inside one another at most.
const DEPTH_MAX: usize = 16;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `4:spam`
    Text(String),
    /// `i42e`
    Integer(i64),
    /// `l…e`
    List(Vec<Value>),
    /// `d…e`, keys in order.
    Dictionary(BTreeMap<String, Value>),
}

impl Value {
    /// A dictionary.
    pub fn dictionary<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self::Dictionary(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A list of strings.
    pub fn list<const N: usize>(texts: [&str; N]) -> Self {
        Self::List(texts.into_iter().map(Self::from).collect())
    }

    /// The string under a key of a dictionary.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self {
            Self::Dictionary(entries) => match entries.get(key)? {
                Self::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Writes the value.
    pub fn encode(&self, out: &mut String) {
        let text = |text: &str, out: &mut String| *out += &format!("{}:{text}", text.len());
        match self {
            Self::Text(value) => text(value, out),
            Self::Integer(value) => *out += &format!("i{value}e"),
            Self::List(values) => {
                out.push('l');
                values.iter().for_each(|value| value.encode(out));
                out.push('e');
            }
            Self::Dictionary(entries) => {
                out.push('d');
                for (key, value) in entries {
                    text(key, out);
                    value.encode(out);
                }
                out.push('e');
            }
        }
    }

    /// Reads one value that fills `text`.
    ///
    /// # Errors
    /// Says at which byte it is not bencode.
    pub fn decode(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(DEPTH_MAX)?;
        if reader.at == text.len() {
            Ok(value)
        } else {
            Err(format!("bencode: more follows byte {}", reader.at))
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        let left = depth.checked_sub(1).ok_or("bencode: too deep")?;
        match self.peek() {
            Some(b'i') => {
                self.at += 1;
                self.until(b'e')?.parse().map(Value::Integer).map_err(|_| self.wrong("an integer"))
            }
            Some(b'l') => {
                self.at += 1;
                let mut values = Vec::new();
                while !self.ends()? {
                    values.push(self.value(left)?);
                }
                Ok(Value::List(values))
            }
            Some(b'd') => {
                self.at += 1;
                let mut entries = BTreeMap::new();
                while !self.ends()? {
                    let key = self.string()?.to_owned();
                    entries.insert(key, self.value(left)?);
                }
                Ok(Value::Dictionary(entries))
            }
            _ => self.string().map(Value::from),
        }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let length: usize = self.until(b':')?.parse().map_err(|_| self.wrong("a length"))?;
        let end = self.at.checked_add(length).ok_or_else(|| self.wrong("a length"))?;
        let text = self.text.get(self.at..end).ok_or_else(|| self.wrong("a string of that length"))?;
        self.at = end;
        Ok(text)
    }

    fn until(&mut self, mark: u8) -> Result<&'a str, String> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| byte == mark).ok_or_else(|| self.wrong("its end"))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn ends(&mut self) -> Result<bool, String> {
        let ends = self.peek().ok_or_else(|| self.wrong("its end"))? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, wanted: &str) -> String {
        format!("bencode: {wanted} is missing at byte {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let value = Value::dictionary([
            ("command", "offer".into()),
            ("flags", Value::list(["trust-address", ""])),
            ("n", Value::Integer(-7)),
            ("inner", Value::dictionary([("ü", "ö".into())])),
        ]);
        let mut text = String::new();
        value.encode(&mut text);
        assert_eq!(text, "d7:command5:offer5:flagsl13:trust-address0:e5:innerd2:ü2:öe1:ni-7ee");
        assert_eq!(Value::decode(&text), Ok(value.clone()));
        assert_eq!(value.text("command"), Some("offer"));
        assert_eq!(value.text("n"), None);
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["", "i7", "5:abc", "l", "d1:a", "di7ei7ee", "99999999999999999999:", "1:ü", "i7ei8e"] {
            assert!(Value::decode(text).is_err(), "{text}");
        }
        assert!(Value::decode(&"l".repeat(100_000)).unwrap_err().contains("deep"));
    }
}
