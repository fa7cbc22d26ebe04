//! The lines of the session or of one m-line.

use core::fmt;
use core::str::FromStr;

use super::error::quote;
use super::{Attribute, AttributeError, Bandwidth, Connection};

/// One line that is not `m=`.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Its letter.
    pub kind: char,
    /// What stands after `=`.
    pub value: String,
}

impl Line {
    /// A line. Line ends within `value` are left out: no value can add a line of its own.
    pub fn new(kind: char, value: &str) -> Self {
        let value = if value.contains(['\r', '\n', '\0']) {
            value.replace(['\r', '\n', '\0'], "")
        } else {
            value.to_owned()
        };
        Line { kind, value }
    }

    /// An `a=` line of this name; without a value it is a flag.
    pub fn attribute(name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => Line::new('a', &format!("{name}:{value}")),
            None => Line::new('a', name),
        }
    }

    /// Name and value, if this is an `a=` line; a flag has no value.
    pub fn name_value(&self) -> Option<(&str, Option<&str>)> {
        if self.kind != 'a' {
            return None;
        }
        Some(match self.value.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (&self.value, None),
        })
    }

    fn is_named(&self, name: &str) -> bool {
        self.name_value().is_some_and(|(own, _)| own.eq_ignore_ascii_case(name))
    }
}

/// As [`fmt::Display`], without keys and passwords and cut to a length fit for a log.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.to_string()))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.value)
    }
}

/// Direction of media (RFC 8866 §6.7), from the view of whoever wrote the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sends and receives; the default.
    SendRecv,
    /// Sends only.
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// From whether it sends and whether it receives.
    pub fn from_flags(send: bool, recv: bool) -> Self {
        match (send, recv) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// It sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// It receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same from the other end's view.
    #[must_use]
    pub fn reversed(self) -> Self {
        Direction::from_flags(self.receives(), self.sends())
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Direction {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        use Direction::*;
        let found = [SendRecv, SendOnly, RecvOnly, Inactive].into_iter();
        found
            .into_iter()
            .find(|direction| direction.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| AttributeError::new("direction", text, "sendrecv, sendonly, recvonly or inactive"))
    }
}

/// Lines of the session or of one m-line, in order. Attribute names are compared without case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The lines, to be read and changed freely.
    pub lines: Vec<Line>,
}

impl Section {
    /// Value of the first line with this letter.
    pub fn line(&self, kind: char) -> Option<&str> {
        self.lines.iter().find(|line| line.kind == kind).map(|line| line.value.as_str())
    }

    /// Replaces the first line with this letter and removes its other ones; a new line goes to the letter's
    /// place in the order of RFC 8866 §5.
    pub fn set_line(&mut self, kind: char, value: &str) {
        let line = Line::new(kind, value);
        let at = self.lines.iter().position(|line| line.kind == kind);
        self.lines.retain(|line| line.kind != kind);
        let at = at.unwrap_or_else(|| {
            let rank = |kind| "vosiuepcbtrzka".find(kind).unwrap_or(usize::MAX);
            self.lines.iter().position(|line| rank(line.kind) > rank(kind)).unwrap_or(self.lines.len())
        });
        self.lines.insert(at, line);
    }

    /// Removes every line with this letter.
    pub fn remove_lines(&mut self, kind: char) {
        self.lines.retain(|line| line.kind != kind);
    }

    /// Names and values of all attributes.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.lines.iter().filter_map(Line::name_value)
    }

    /// Value of the first attribute of this name; the empty text for a flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Values of all attributes of this name, in order.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or(""))
    }

    /// There is an attribute of this name.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// Position in `lines` of the first attribute of this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.is_named(name))
    }

    /// Appends an attribute.
    pub fn push_attribute(&mut self, name: &str, value: &str) {
        self.lines.push(Line::attribute(name, Some(value)));
    }

    /// Appends an attribute without a value.
    pub fn push_flag(&mut self, name: &str) {
        self.lines.push(Line::attribute(name, None));
    }

    /// Inserts an attribute at a position in `lines`; a position past the end appends.
    pub fn insert_attribute(&mut self, at: usize, name: &str, value: Option<&str>) {
        self.lines.insert(at.min(self.lines.len()), Line::attribute(name, value));
    }

    /// Replaces the first attribute of this name in its place and removes its other ones; appends where there
    /// is none.
    pub fn set_attribute(&mut self, name: &str, value: Option<&str>) {
        let at = self.position(name).unwrap_or(self.lines.len());
        self.remove_attributes(&[name]);
        self.insert_attribute(at, name, value);
    }

    /// Removes every attribute with one of these names; gives their number.
    pub fn remove_attributes(&mut self, names: &[&str]) -> usize {
        self.retain_attributes(|name, _| !names.iter().any(|other| name.eq_ignore_ascii_case(other)))
    }

    /// Keeps the attributes for which `keep` says so, and all other lines; gives the number removed.
    pub fn retain_attributes(&mut self, mut keep: impl FnMut(&str, Option<&str>) -> bool) -> usize {
        let before = self.lines.len();
        self.lines.retain(|line| line.name_value().is_none_or(|(name, value)| keep(name, value)));
        before - self.lines.len()
    }

    /// The first attribute of a type.
    pub fn get<T: Attribute>(&self) -> Option<Result<T, AttributeError>> {
        self.attribute(T::NAME).map(T::from_value)
    }

    /// All attributes of a type, in order.
    pub fn all<T: Attribute>(&self) -> impl Iterator<Item = Result<T, AttributeError>> {
        self.values(T::NAME).map(T::from_value)
    }

    /// All well-formed attributes of a type, in order.
    pub fn valid<T: Attribute>(&self) -> impl Iterator<Item = T> {
        self.all().filter_map(Result::ok)
    }

    /// Appends a typed attribute.
    pub fn push<T: Attribute>(&mut self, attribute: &T) {
        self.push_attribute(T::NAME, &attribute.to_string());
    }

    /// Sets a typed attribute as [`Section::set_attribute`] does.
    pub fn set<T: Attribute>(&mut self, attribute: &T) {
        self.set_attribute(T::NAME, Some(&attribute.to_string()));
    }

    /// Direction, if an attribute says so.
    pub fn direction(&self) -> Option<Direction> {
        self.attributes().find_map(|(name, value)| value.is_none().then(|| name.parse().ok()).flatten())
    }

    /// Replaces the direction in its place, or appends it.
    pub fn set_direction(&mut self, direction: Direction) {
        let is_direction = |line: &Line| line.kind == 'a' && line.value.parse::<Direction>().is_ok();
        let at = self.lines.iter().position(is_direction).unwrap_or(self.lines.len());
        self.lines.retain(|line| !is_direction(line));
        self.insert_attribute(at, direction.as_str(), None);
    }

    /// Connection data (RFC 8866 §5.7), if there is a well-formed `c=`.
    pub fn connection(&self) -> Option<Connection> {
        self.line('c')?.parse().ok()
    }

    /// Replaces or adds `c=`.
    pub fn set_connection(&mut self, connection: &Connection) {
        self.set_line('c', &connection.to_string());
    }

    /// Bandwidths (RFC 8866 §5.8).
    pub fn bandwidths(&self) -> impl Iterator<Item = Bandwidth> {
        self.lines.iter().filter(|line| line.kind == 'b').filter_map(|line| line.value.parse().ok())
    }

    /// Replaces all bandwidths by this one.
    pub fn set_bandwidth(&mut self, bandwidth: &Bandwidth) {
        self.set_line('b', &bandwidth.to_string());
    }

    /// Identification tag (RFC 5888 §4).
    pub fn mid(&self) -> Option<&str> {
        self.attribute("mid").filter(|mid| !mid.is_empty())
    }

    /// ICE user name fragment and password (RFC 8839 §5.4), if both are there.
    pub fn ice_credentials(&self) -> Option<(&str, &str)> {
        self.attribute("ice-ufrag").zip(self.attribute("ice-pwd"))
    }

    /// An ICE option is named (RFC 8839 §5.6), e.g. `trickle`.
    pub fn has_ice_option(&self, option: &str) -> bool {
        self.values("ice-options").flat_map(str::split_ascii_whitespace).any(|named| named == option)
    }

    /// The number that an attribute is: `ptime`, `maxptime`, `sctp-port`, `max-message-size`. Milliseconds
    /// with a fraction are rounded down.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.attribute(name)?.trim().split('.').next()?.parse().ok()
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| write!(f, "{line}\r\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(lines: &str) -> Section {
        let lines = lines.split('|').map(|line| Line::new(line.chars().next().unwrap(), &line[2..]));
        Section { lines: lines.collect() }
    }

    #[test]
    fn finds_and_edits_attributes() {
        let mut s = section("c=IN IP4 1.1.1.1|a=mid:0|a=Foo:1|a=foo:2|a=rtcp-mux|a=sendonly");
        assert_eq!(s.values("foo").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((s.attribute("rtcp-mux"), s.has("rtcp"), s.mid()), (Some(""), false, Some("0")));
        s.set_attribute("FOO", Some("3"));
        assert_eq!(s.remove_attributes(&["rtcp-mux", "none"]), 1);
        s.insert_attribute(1, "first", None);
        s.set_direction(Direction::Inactive);
        assert_eq!(s, section("c=IN IP4 1.1.1.1|a=first|a=mid:0|a=FOO:3|a=inactive"));
    }

    #[test]
    fn lines_go_to_their_place() {
        let mut s = section("v=0|s=-|t=0 0|a=x");
        s.set_line('c', "IN IP4 1.1.1.1");
        s.set_line('b', "AS:64");
        s.set_line('o', "- 1 1 IN IP4 1.1.1.1");
        s.set_line('b', "AS:65");
        assert_eq!(s, section("v=0|o=- 1 1 IN IP4 1.1.1.1|s=-|c=IN IP4 1.1.1.1|b=AS:65|t=0 0|a=x"));
    }

    #[test]
    fn a_value_cannot_add_a_line() {
        let mut s = Section::default();
        s.push_attribute("x", "1\r\na=evil");
        assert_eq!(s.to_string(), "a=x:1a=evil\r\n");
    }

    #[test]
    fn debug_hides_secrets() {
        let s = section("a=crypto:1 AES inline:KEY|a=ice-pwd:SECRET|a=x:SHOWN");
        let debug = format!("{s:?}");
        assert!(!debug.contains("KEY") && !debug.contains("SECRET") && debug.contains("SHOWN"), "{debug}");
    }

    #[test]
    fn directions() {
        for d in [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive] {
            assert_eq!(d.as_str().parse(), Ok(d));
            assert_eq!(d.reversed().reversed(), d);
            assert_eq!(Direction::from_flags(d.sends(), d.receives()), d);
        }
        assert_eq!(section("a=SendOnly:x|a=recvonly").direction(), Some(Direction::RecvOnly));
        assert_eq!(section("a=ptime:20.5|a=ice-options:ice2 trickle").number("ptime"), Some(20));
        assert!(section("a=ice-options:ice2 trickle").has_ice_option("trickle"));
    }
}
