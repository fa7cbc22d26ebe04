//! `rtpmap`, `fmtp`, `rtcp-fb` and `extmap`.

use core::fmt;
use core::str::FromStr;

use super::{Attribute, AttributeError, Direction};

/// Encoding of a payload type (RFC 8866 §6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtpmap {
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Encoding name, compared without case.
    pub encoding: String,
    /// Clock rate, Hz.
    pub clock_rate: u32,
    /// Channels, if said.
    pub channels: Option<u16>,
}

impl Rtpmap {
    /// An encoding without a number of channels.
    pub fn new(payload_type: u8, encoding: &str, clock_rate: u32) -> Self {
        Rtpmap { payload_type, encoding: encoding.to_owned(), clock_rate, channels: None }
    }

    /// The static assignment of a payload type (RFC 3551 §6), where there is one that is still used.
    pub fn of_static(payload_type: u8) -> Option<Self> {
        let (encoding, clock_rate) = match payload_type {
            0 => ("PCMU", 8000),
            3 => ("GSM", 8000),
            4 => ("G723", 8000),
            8 => ("PCMA", 8000),
            9 => ("G722", 8000),
            10 | 11 => ("L16", 44_100),
            13 => ("CN", 8000),
            15 => ("G728", 8000),
            18 => ("G729", 8000),
            26 => ("JPEG", 90_000),
            31 => ("H261", 90_000),
            34 => ("H263", 90_000),
            _ => return None,
        };
        let channels = (payload_type == 10).then_some(2);
        Some(Rtpmap { channels, ..Rtpmap::new(payload_type, encoding, clock_rate) })
    }

    /// Same encoding name, clock rate and channels (one, if not said).
    pub fn same_codec(&self, other: &Rtpmap) -> bool {
        self.encoding.eq_ignore_ascii_case(&other.encoding)
            && self.clock_rate == other.clock_rate
            && self.channels.unwrap_or(1) == other.channels.unwrap_or(1)
    }
}

impl Attribute for Rtpmap {
    const NAME: &'static str = "rtpmap";
}

impl FromStr for Rtpmap {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let parse = || {
            let (payload_type, encoding) = text.trim().split_once(' ')?;
            let payload_type = payload_type.parse().ok().filter(|pt| *pt < 128)?;
            let mut parts = encoding.trim().split('/');
            let (encoding, clock_rate) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
            let channels = parts.next().map(str::parse).transpose().ok()?;
            (!encoding.is_empty()).then_some(Rtpmap { payload_type, encoding, clock_rate, channels })
        };
        parse()
            .ok_or_else(|| AttributeError::new(Self::NAME, text, "payload type 0-127, name/clock[/channels]"))
    }
}

impl fmt::Display for Rtpmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.payload_type, self.encoding, self.clock_rate)?;
        self.channels.map_or(Ok(()), |channels| write!(f, "/{channels}"))
    }
}

/// Format parameters (RFC 8866 §6.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fmtp {
    /// Format: for RTP the payload type.
    pub format: String,
    /// The parameters as they stand.
    pub parameters: String,
}

impl Fmtp {
    /// The format as a payload type.
    pub fn payload_type(&self) -> Option<u8> {
        self.format.parse().ok().filter(|pt| *pt < 128)
    }

    /// Value of a `name=value` parameter, names compared without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        parameters.find(|(own, _)| own.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Attribute for Fmtp {
    const NAME: &'static str = "fmtp";
}

impl FromStr for Fmtp {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let (format, parameters) = text
            .split_once(' ')
            .filter(|(format, _)| !format.is_empty())
            .ok_or_else(|| AttributeError::new(Self::NAME, text, "format, then parameters"))?;
        Ok(Fmtp { format: format.to_owned(), parameters: parameters.to_owned() })
    }
}

impl fmt::Display for Fmtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.format, self.parameters)
    }
}

/// RTCP feedback (RFC 4585 §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtcpFb {
    /// Payload type; `None` stands for `*`, all of them.
    pub payload_type: Option<u8>,
    /// Kind and parameters, e.g. `nack pli`.
    pub value: String,
}

impl Attribute for RtcpFb {
    const NAME: &'static str = "rtcp-fb";
}

impl FromStr for RtcpFb {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let parse = || {
            let (payload_type, value) = text.split_once(' ')?;
            let payload_type = match payload_type {
                "*" => None,
                number => Some(number.parse().ok().filter(|pt| *pt < 128)?),
            };
            Some(RtcpFb { payload_type, value: value.to_owned() })
        };
        parse()
            .ok_or_else(|| AttributeError::new(Self::NAME, text, "payload type or *, then a feedback kind"))
    }
}

impl fmt::Display for RtcpFb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.payload_type {
            Some(payload_type) => write!(f, "{payload_type} {}", self.value),
            None => write!(f, "* {}", self.value),
        }
    }
}

/// Header extension (RFC 8285 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extmap {
    /// Local identifier: 1..=255 in use, up to 4095 while offered.
    pub id: u16,
    /// Direction, if said.
    pub direction: Option<Direction>,
    /// What the extension is.
    pub uri: String,
    /// Its own parameters.
    pub attributes: Option<String>,
}

impl Attribute for Extmap {
    const NAME: &'static str = "extmap";
}

impl FromStr for Extmap {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let parse = || {
            let (id, rest) = text.split_once(' ')?;
            let (id, direction) = match id.split_once('/') {
                Some((id, direction)) => (id, Some(direction.parse().ok()?)),
                None => (id, None),
            };
            let (uri, attributes) = match rest.split_once(' ') {
                Some((uri, attributes)) => (uri, Some(attributes.to_owned())),
                None => (rest, None),
            };
            let id = id.parse().ok().filter(|id| (1..4096).contains(id))?;
            (!uri.is_empty()).then_some(Extmap { id, direction, uri: uri.to_owned(), attributes })
        };
        parse().ok_or_else(|| AttributeError::new(Self::NAME, text, "id[/direction], URI and attributes"))
    }
}

impl fmt::Display for Extmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if let Some(direction) = self.direction {
            write!(f, "/{direction}")?;
        }
        write!(f, " {}", self.uri)?;
        self.attributes.as_ref().map_or(Ok(()), |attributes| write!(f, " {attributes}"))
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

    #[test]
    fn well_formed_values_round_trip() {
        round_trips::<Rtpmap>(&["0 PCMU/8000", "111 opus/48000/2", "127 x/1"]);
        round_trips::<Fmtp>(&["101 0-15", "t38 x", "96 apt=97", "97  spaced"]);
        round_trips::<RtcpFb>(&["* nack", "96 goog-remb", "96 nack pli"]);
        round_trips::<Extmap>(&["1 urn:x", "2/sendonly urn:y a b", "4095 u"]);
    }

    #[test]
    fn malformed_values_are_refused() {
        for bad in ["", "0", "0 PCMU", "128 x/8000", "-1 x/8000", "0 /8000", "0 x/99999999999", "0 x/8000/z"]
        {
            assert!(Rtpmap::from_value(bad).is_err(), "{bad}");
        }
        assert!(Fmtp::from_value("96").is_err());
        for bad in ["nack", "128 nack", "x nack"] {
            assert!(RtcpFb::from_value(bad).is_err(), "{bad}");
        }
        for bad in ["1", "0 urn:x", "4096 urn:x", "1/both urn:x", "1 "] {
            assert!(Extmap::from_value(bad).is_err(), "{bad}");
        }
        let error = Rtpmap::from_value("300 x/1").unwrap_err().to_string();
        assert_eq!(error, "Invalid rtpmap: expected payload type 0-127, name/clock[/channels] (300 x/1)");
    }

    #[test]
    fn same_codecs() {
        let opus: Rtpmap = "111 opus/48000/2".parse().unwrap();
        assert!(opus.same_codec(&"96 OPUS/48000/2".parse().unwrap()));
        assert!(!opus.same_codec(&"96 opus/48000".parse().unwrap()));
        assert!(Rtpmap::of_static(0).unwrap().same_codec(&"0 pcmu/8000/1".parse().unwrap()));
    }
}
