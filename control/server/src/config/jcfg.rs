//! The libconfig files of Janus (`*.jcfg`) as a tree of text.
//!
//! Janus keeps every scalar as text, so a quoted `"8088"` works like `8088`; so do we.

use std::fmt;

/// Deepest nesting of groups, arrays and lists.
pub const DEPTH_MAX: usize = 32;
/// Longest file, bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// A value with the line on which it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string, number or boolean, as text.
    Text(String),
    /// `{ … }`, in order.
    Group(Group),
    /// `[ … ]` or `( … )`.
    List(Vec<Value>),
}

/// A group: names with their values and lines, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group(pub Vec<Setting>);

/// One `name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Value,
    /// Its line.
    pub line: usize,
}

impl Group {
    /// The value of a name; the last one counts.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|setting| setting.name == name).map(|setting| &setting.value)
    }

    /// The group of a name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        match self.get(name) {
            Some(Value::Group(group)) => Some(group),
            _ => None,
        }
    }

    /// The text of a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Where a file is not libconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JcfgError {
    /// The line.
    pub line: usize,
    /// What was expected.
    pub reason: String,
}

impl fmt::Display for JcfgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Parses a file.
///
/// # Errors
/// The first thing that is not libconfig, with its line.
pub fn parse(text: &str) -> Result<Group, JcfgError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(JcfgError { line: 1, reason: format!("longer than {FILE_BYTES_MAX} bytes") });
    }
    let mut parser = Parser { bytes: text.as_bytes(), at: 0, line: 1 };
    let group = parser.settings(None, 0)?;
    Ok(group)
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Parser<'_> {
    fn error<T>(&self, reason: impl Into<String>) -> Result<T, JcfgError> {
        Err(JcfgError { line: self.line, reason: reason.into() })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn starts(&self, with: &[u8]) -> bool {
        self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(with))
    }

    /// White space and the three kinds of comment.
    fn skip(&mut self) -> Result<(), JcfgError> {
        loop {
            match self.peek() {
                Some(byte) if byte.is_ascii_whitespace() => {
                    self.next();
                }
                Some(b'#') => self.skip_line(),
                Some(b'/') if self.starts(b"//") => self.skip_line(),
                Some(b'/') if self.starts(b"/*") => {
                    let open = self.line;
                    while !self.starts(b"*/") {
                        if self.next().is_none() {
                            return Err(JcfgError { line: open, reason: "comment is not closed".into() });
                        }
                    }
                    self.at += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn settings(&mut self, end: Option<u8>, depth: usize) -> Result<Group, JcfgError> {
        let mut group = Group::default();
        loop {
            self.skip()?;
            match self.peek() {
                None if end.is_none() => return Ok(group),
                None => return self.error("group is not closed with }"),
                Some(byte) if Some(byte) == end => {
                    self.next();
                    return Ok(group);
                }
                Some(_) => {}
            }
            if self.starts(b"@include") {
                return self.error("@include is not supported: put the settings in this file");
            }
            let line = self.line;
            let name = self.name()?;
            self.skip()?;
            if !matches!(self.peek(), Some(b'=' | b':')) {
                return self.error(format!("`{name}` wants = or : after it"));
            }
            self.next();
            self.skip()?;
            let value = self.value(depth)?;
            group.0.push(Setting { name, value, line });
            self.skip()?;
            if matches!(self.peek(), Some(b';' | b',')) {
                self.next();
            }
        }
    }

    fn name(&mut self) -> Result<String, JcfgError> {
        let from = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"-_*.".contains(&b)) {
            self.at += 1;
        }
        match &self.bytes[from..self.at] {
            [] => self.error("a setting's name was expected"),
            name => Ok(String::from_utf8_lossy(name).into_owned()),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JcfgError> {
        if depth >= DEPTH_MAX {
            return self.error(format!("nested deeper than {DEPTH_MAX}"));
        }
        match self.peek() {
            Some(b'{') => {
                self.next();
                self.settings(Some(b'}'), depth + 1).map(Value::Group)
            }
            Some(b'[') => self.list(b']', depth),
            Some(b'(') => self.list(b')', depth),
            Some(b'"') => self.string().map(Value::Text),
            _ => {
                let from = self.at;
                while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
                    self.at += 1;
                }
                match &self.bytes[from..self.at] {
                    [] => self.error("a value was expected"),
                    word => self.scalar(&String::from_utf8_lossy(word)),
                }
            }
        }
    }

    fn scalar(&self, word: &str) -> Result<Value, JcfgError> {
        let digits = word.trim_end_matches(['L', 'l']);
        let number = digits.trim_start_matches(['+', '-']);
        if let Some(hex) = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
            return match i64::from_str_radix(hex, 16) {
                Ok(value) => Ok(Value::Text(value.to_string())),
                Err(_) => self.error(format!("`{word}` is not a number")),
            };
        }
        if !number.is_empty() && number.parse::<f64>().is_ok() {
            return Ok(Value::Text(digits.trim_start_matches('+').to_owned()));
        }
        match word.to_ascii_lowercase().as_str() {
            truth @ ("true" | "false") => Ok(Value::Text(truth.to_owned())),
            _ => self.error(format!("`{word}` is neither a number nor true or false; put text in quotes")),
        }
    }

    fn list(&mut self, end: u8, depth: usize) -> Result<Value, JcfgError> {
        self.next();
        let mut items = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                None => return self.error("list is not closed"),
                Some(byte) if byte == end => {
                    self.next();
                    return Ok(Value::List(items));
                }
                Some(b',') => {
                    self.next();
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
        }
    }

    /// A quoted string; adjacent ones are joined.
    fn string(&mut self) -> Result<String, JcfgError> {
        let mut bytes = Vec::new();
        loop {
            let open = self.line;
            self.next();
            loop {
                match self.next() {
                    None => return Err(JcfgError { line: open, reason: "string is not closed".into() }),
                    Some(b'"') => break,
                    Some(b'\\') => match self.next() {
                        Some(b'n') => bytes.push(b'\n'),
                        Some(b't') => bytes.push(b'\t'),
                        Some(b'r') => bytes.push(b'\r'),
                        Some(b'f') => bytes.push(0x0c),
                        Some(b'x') => {
                            let hex = self
                                .bytes
                                .get(self.at..self.at + 2)
                                .and_then(|h| std::str::from_utf8(h).ok());
                            let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) else {
                                return self.error("\\x wants two hexadecimal digits");
                            };
                            self.at += 2;
                            bytes.push(byte);
                        }
                        Some(other @ (b'\\' | b'"')) => bytes.push(other),
                        _ => return self.error("unknown escape in a string"),
                    },
                    Some(byte) => bytes.push(byte),
                }
            }
            let back = (self.at, self.line);
            self.skip()?;
            if self.peek() != Some(b'"') {
                (self.at, self.line) = back;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_janus_writes() {
        let text = r#"
# a comment
general: {
	http = true					// yes
	port = 8088;
	base_path = "/janus" /* the
	usual */
	secret = "a\"b" "c"
	hex = 0xFF
	big = 10L
}
nat = { ignore = "a", list = ( "x", { y = 1; } ), array = [1, 2, 3]; };
"#;
        let root = parse(text).unwrap();
        let general = root.group("general").unwrap();
        assert_eq!(general.text("http"), Some("true"));
        assert_eq!(general.text("port"), Some("8088"));
        assert_eq!(general.text("base_path"), Some("/janus"));
        assert_eq!(general.text("secret"), Some("a\"bc"));
        assert_eq!(general.text("hex"), Some("255"));
        assert_eq!(general.text("big"), Some("10"));
        assert_eq!(general.0[1].line, 5);
        let Some(Value::List(list)) = root.group("nat").unwrap().get("list") else { panic!() };
        assert_eq!(list[0], Value::Text("x".into()));
        assert!(matches!(&list[1], Value::Group(g) if g.text("y") == Some("1")));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, expected) in [
            ("a = {\nb = 1\n", "line 3: group is not closed"),
            ("a 1", "line 1: `a` wants = or :"),
            ("\n\na = hello", "line 3: `hello` is neither"),
            ("a = \"x", "line 1: string is not closed"),
            ("/* x", "line 1: comment is not closed"),
            ("= 1", "line 1: a setting's name"),
            ("a = ;", "line 1: a value was expected"),
            ("@include \"x\"", "line 1: @include"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let deep = format!("a = {}", "(".repeat(100_000));
        assert!(parse(&deep).unwrap_err().reason.contains("deeper"));
    }

    #[test]
    fn no_input_panics() {
        let alphabet = b"a=:{}[]()\",;#/*\\x0 \n@-.\xc3";
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push(alphabet[(state >> 33) as usize % alphabet.len()]);
            }
            let _ = parse(&String::from_utf8_lossy(&text));
        }
    }
}
