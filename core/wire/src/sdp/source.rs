//! Sources and streams: `ssrc`, `ssrc-group`, `msid`, `rid`, `simulcast`, `group`.

use core::fmt;
use core::str::FromStr;

use super::{ATTRIBUTE_LIST_MAX, Attribute, AttributeError};

/// A source attribute (RFC 5576 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssrc {
    /// Synchronization source.
    pub ssrc: u32,
    /// Name of what is said of it, e.g. `cname`; empty in the bare form `a=ssrc:1`.
    pub attribute: String,
    /// What is said.
    pub value: Option<String>,
}

impl Ssrc {
    /// `ssrc attribute:value`.
    pub fn new(ssrc: u32, attribute: &str, value: &str) -> Self {
        Ssrc { ssrc, attribute: attribute.to_owned(), value: Some(value.to_owned()) }
    }
}

impl Attribute for Ssrc {
    const NAME: &'static str = "ssrc";
}

impl FromStr for Ssrc {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let (ssrc, rest) = text.split_once(' ').unwrap_or((text, ""));
        let ssrc =
            ssrc.parse().map_err(|_| AttributeError::new(Self::NAME, text, "SSRC, then an attribute"))?;
        let (attribute, value) = match rest.split_once(':') {
            Some((attribute, value)) => (attribute, Some(value.to_owned())),
            None => (rest, None),
        };
        Ok(Ssrc { ssrc, attribute: attribute.to_owned(), value })
    }
}

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ssrc)?;
        if !self.attribute.is_empty() || self.value.is_some() {
            write!(f, " {}", self.attribute)?;
        }
        self.value.as_ref().map_or(Ok(()), |value| write!(f, ":{value}"))
    }
}

/// Sources that belong together (RFC 5576 §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsrcGroup {
    /// `FID` (RFC 5888 §8: source and its retransmissions), `SIM`, `FEC-FR` …
    pub semantics: String,
    /// The sources, in order.
    pub ssrcs: Vec<u32>,
}

impl Attribute for SsrcGroup {
    const NAME: &'static str = "ssrc-group";
}

impl FromStr for SsrcGroup {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let error = || AttributeError::new(Self::NAME, text, "semantics, then at most 64 SSRCs");
        let mut words = text.split_ascii_whitespace();
        let semantics = words.next().ok_or_else(error)?.to_owned();
        let ssrcs: Vec<u32> = words
            .take(ATTRIBUTE_LIST_MAX + 1)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| error())?;
        if ssrcs.len() > ATTRIBUTE_LIST_MAX { Err(error()) } else { Ok(SsrcGroup { semantics, ssrcs }) }
    }
}

impl fmt::Display for SsrcGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.semantics)?;
        self.ssrcs.iter().try_for_each(|ssrc| write!(f, " {ssrc}"))
    }
}

/// Media stream and track (RFC 8830 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msid {
    /// Stream, `-` for none.
    pub stream: String,
    /// Track.
    pub track: Option<String>,
}

impl Attribute for Msid {
    const NAME: &'static str = "msid";
}

impl FromStr for Msid {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let words: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
        let (stream, track) = match words[..] {
            [stream] => (stream, None),
            [stream, track] => (stream, Some(track.to_owned())),
            _ => return Err(AttributeError::new(Self::NAME, text, "stream and track")),
        };
        Ok(Msid { stream: stream.to_owned(), track })
    }
}

impl fmt::Display for Msid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stream)?;
        self.track.as_ref().map_or(Ok(()), |track| write!(f, " {track}"))
    }
}

/// Direction of a restriction (RFC 8851 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RidDirection {
    /// The writer sends it.
    Send,
    /// The writer receives it.
    Recv,
}

/// An RTP stream identifier with its restrictions (RFC 8851 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rid {
    /// Identifier.
    pub id: String,
    /// Direction.
    pub direction: RidDirection,
    /// Restrictions as they stand.
    pub restrictions: Option<String>,
}

impl Attribute for Rid {
    const NAME: &'static str = "rid";
}

impl FromStr for Rid {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let mut words = text.splitn(3, ' ');
        let (id, direction, restrictions) = (words.next(), words.next(), words.next());
        let direction = match direction {
            Some("send") => Some(RidDirection::Send),
            Some("recv") => Some(RidDirection::Recv),
            _ => None,
        };
        match (id, direction) {
            (Some(id), Some(direction)) if !id.is_empty() => {
                Ok(Rid { id: id.to_owned(), direction, restrictions: restrictions.map(str::to_owned) })
            }
            _ => Err(AttributeError::new(Self::NAME, text, "id, then send or recv")),
        }
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.direction == RidDirection::Send { "send" } else { "recv" };
        write!(f, "{} {direction}", self.id)?;
        self.restrictions.as_ref().map_or(Ok(()), |restrictions| write!(f, " {restrictions}"))
    }
}

/// One stream of a simulcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulcastStream {
    /// Its [`Rid`]s, best first.
    pub rids: Vec<SimulcastRid>,
}

/// A [`Rid`] within a simulcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulcastRid {
    /// Identifier.
    pub id: String,
    /// Begins paused (`~`).
    pub paused: bool,
}

/// Simulcast (RFC 8853 §5.1), also in the draft's form `send rid=h;m;l`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulcast {
    /// Streams that the writer sends.
    pub send: Vec<SimulcastStream>,
    /// Streams that the writer receives.
    pub recv: Vec<SimulcastStream>,
    /// Written in the draft's form, with `rid=`.
    pub legacy: bool,
}

impl Attribute for Simulcast {
    const NAME: &'static str = "simulcast";
}

impl FromStr for Simulcast {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let error = || AttributeError::new(Self::NAME, text, "send or recv, then a list of rids");
        let mut simulcast = Simulcast::default();
        let mut words = text.split_ascii_whitespace();
        while let Some(direction) = words.next() {
            let list = words.next().ok_or_else(error)?;
            let (legacy, list) = match list.strip_prefix("rid=") {
                Some(list) => (true, list),
                None => (false, list),
            };
            simulcast.legacy |= legacy;
            if list.split([';', ',']).count() > ATTRIBUTE_LIST_MAX {
                return Err(error());
            }
            let streams = list.split(';').map(stream).collect::<Option<_>>().ok_or_else(error)?;
            match direction {
                "send" if simulcast.send.is_empty() => simulcast.send = streams,
                "recv" if simulcast.recv.is_empty() => simulcast.recv = streams,
                _ => return Err(error()),
            }
        }
        if simulcast.send.is_empty() && simulcast.recv.is_empty() { Err(error()) } else { Ok(simulcast) }
    }
}

fn stream(text: &str) -> Option<SimulcastStream> {
    let rids = text.split(',').map(|rid| {
        let (paused, id) = rid.strip_prefix('~').map_or((false, rid), |id| (true, id));
        (!id.is_empty()).then(|| SimulcastRid { id: id.to_owned(), paused })
    });
    Some(SimulcastStream { rids: rids.collect::<Option<_>>()? })
}

impl fmt::Display for Simulcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (direction, streams) in [("send", &self.send), ("recv", &self.recv)] {
            if streams.is_empty() {
                continue;
            }
            write!(f, "{gap}{direction} {}", if self.legacy { "rid=" } else { "" })?;
            gap = " ";
            for (i, stream) in streams.iter().enumerate() {
                f.write_str(if i > 0 { ";" } else { "" })?;
                for (i, rid) in stream.rids.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    write!(f, "{}{}", if rid.paused { "~" } else { "" }, rid.id)?;
                }
            }
        }
        Ok(())
    }
}

/// Group of m-lines (RFC 5888 §5), `BUNDLE` (RFC 9143) above all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `BUNDLE`, `LS`, `FID` …
    pub semantics: String,
    /// Their mids.
    pub mids: Vec<String>,
}

impl Attribute for Group {
    const NAME: &'static str = "group";
}

impl FromStr for Group {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let error = || AttributeError::new(Self::NAME, text, "semantics, then at most 64 mids");
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        let semantics = words.next().ok_or_else(error)?;
        let mids: Vec<String> = words.take(ATTRIBUTE_LIST_MAX + 1).collect();
        if mids.len() > ATTRIBUTE_LIST_MAX { Err(error()) } else { Ok(Group { semantics, mids }) }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.semantics)?;
        self.mids.iter().try_for_each(|mid| write!(f, " {mid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<T: Attribute>(values: &[&str]) {
        for value in values {
            assert_eq!(&T::from_value(value).unwrap().to_string(), value);
        }
    }

    fn refused<T: Attribute + fmt::Debug>(values: &[&str]) {
        for value in values {
            assert!(T::from_value(value).is_err(), "{value}");
        }
    }

    #[test]
    fn well_formed_values_round_trip() {
        round_trips::<Ssrc>(&["1", "4294967295 cname:a:b", "1 flag", "2 msid:s t"]);
        round_trips::<SsrcGroup>(&["FID 1 2", "SIM 1 2 3", "FID"]);
        round_trips::<Msid>(&["- t", "s", "{a} {b}"]);
        round_trips::<Rid>(&["h send", "1 recv pt=97;max-width=1280;max-height=720"]);
        round_trips::<Simulcast>(&["send h;m;l", "recv 1,~4;2;3", "send rid=h;~m", "send 1;2 recv 3"]);
        round_trips::<Group>(&["BUNDLE 0 1 audio", "BUNDLE"]);
    }

    #[test]
    fn malformed_values_are_refused() {
        refused::<Ssrc>(&["", "x cname:y", "4294967296 cname:y"]);
        refused::<SsrcGroup>(&["", "FID x", &format!("FID{}", " 1".repeat(65))]);
        refused::<Msid>(&["", "a b c"]);
        refused::<Rid>(&["", "h", "h both", " send"]);
        refused::<Simulcast>(&["", "send", "both 1", "send 1;;2", "send 1 send 2", "send ~"]);
        refused::<Simulcast>(&[&format!("send 1{}", ";1".repeat(64))]);
        refused::<Group>(&["", &format!("BUNDLE{}", " x".repeat(65))]);
    }
}
