use super::text;
use super::{
    AuthValue, CSeq, ErrorKind, HEADERS_MAX, Headers, LINE_BYTES_MAX, LIST_VALUES_MAX, MESSAGE_BYTES_MAX,
    Method, NameAddr, ParseError, Uri, Via,
};

/// The first line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartLine {
    /// A request.
    Request {
        /// Its method.
        method: Method,
        /// Its Request-URI.
        uri: Uri,
    },
    /// A response.
    Response {
        /// 100 to 699.
        status: u16,
        /// Reason phrase, possibly empty.
        reason: String,
    },
}

/// A SIP message: what every message has, parsed; the rest as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request or status line.
    pub start: StartLine,
    /// All headers in their order, those parsed below included.
    pub headers: Headers,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq.
    pub cseq: CSeq,
    /// Via values, the topmost first; never empty.
    pub via: Vec<Via>,
    /// The body, cut at Content-Length.
    pub body: Vec<u8>,
}

impl Message {
    /// Parses one message, as it came in a datagram or out of a stream's framing.
    ///
    /// Line ends are CRLF; a bare LF is taken as well. Empty lines in front are skipped (RFC 3261 §7.5). Bytes
    /// behind Content-Length are dropped (§18.3). Header values that are not UTF-8 get replacement characters.
    ///
    /// # Errors
    /// [`ParseError`] names the header and what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(ParseError::new("message", ErrorKind::TooLong));
        }
        let (lines, body) = unfold(bytes)?;
        let mut lines = lines.into_iter();
        let start = lines.next().ok_or_else(|| ParseError::new("start line", ErrorKind::Missing))?;
        let start = StartLine::parse(&start)?;
        let mut headers = Headers::default();
        for line in lines {
            headers.parse_line(&line)?;
        }
        Self::from_parts(start, headers, body)
    }

    /// A message from its pieces: parses what every message must have.
    fn from_parts(start: StartLine, headers: Headers, body: &[u8]) -> Result<Self, ParseError> {
        fn one<T>(
            headers: &Headers,
            name: &str,
            parse: fn(&str) -> Result<T, ErrorKind>,
        ) -> Result<T, ParseError> {
            let value = headers.single(name)?.ok_or_else(|| ParseError::new(name, ErrorKind::Missing))?;
            parse(value).map_err(|kind| ParseError::new(name, kind))
        }
        let from = one(&headers, "From", NameAddr::parse)?;
        let to = one(&headers, "To", NameAddr::parse)?;
        let cseq = one(&headers, "CSeq", CSeq::parse)?;
        let call_id = one(&headers, "Call-ID", |value| {
            let bad = value.is_empty() || value.bytes().any(|b| b <= b' ' || b == 0x7f);
            if bad { Err(ErrorKind::Syntax) } else { Ok(value.to_owned()) }
        })?;
        let via = typed_list(&headers, "Via", Via::parse)?;
        if via.is_empty() {
            return Err(ParseError::new("Via", ErrorKind::Missing));
        }
        if let StartLine::Request { method, .. } = &start
            && *method != cseq.method
        {
            return Err(ParseError::new("CSeq", ErrorKind::Mismatch));
        }
        let body = match content_length(&headers)? {
            None => body,
            Some(length) => {
                body.get(..length).ok_or_else(|| ParseError::new("Content-Length", ErrorKind::Truncated))?
            }
        };
        Ok(Self { start, headers, from, to, call_id, cseq, via, body: body.to_vec() })
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Response { status, .. } => Some(status),
            StartLine::Request { .. } => None,
        }
    }

    /// The reason phrase of a response; empty in a request.
    pub fn reason_phrase(&self) -> &str {
        match &self.start {
            StartLine::Response { reason, .. } => reason,
            StartLine::Request { .. } => "",
        }
    }

    /// The Request-URI of a request.
    pub fn request_uri(&self) -> Option<&Uri> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// The first value of a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The Contact values. `*` of a REGISTER gives none: ask [`Message::contact_is_star`].
    pub fn contacts(&self) -> Result<Vec<NameAddr>, ParseError> {
        if self.contact_is_star() {
            return Ok(Vec::new());
        }
        typed_list(&self.headers, "Contact", NameAddr::parse)
    }

    /// True if Contact is `*` (RFC 3261 §10.2.2).
    pub fn contact_is_star(&self) -> bool {
        self.header("Contact") == Some("*")
    }

    /// The values of Route, Record-Route, Path, Service-Route or another list of addresses.
    pub fn addresses(&self, name: &str) -> Result<Vec<NameAddr>, ParseError> {
        typed_list(&self.headers, name, NameAddr::parse)
    }

    /// One address header (Refer-To, Referred-By).
    pub fn address(&self, name: &str) -> Result<Option<NameAddr>, ParseError> {
        self.typed(name, NameAddr::parse)
    }

    /// The challenges of WWW-Authenticate or Proxy-Authenticate, or the credentials of (Proxy-)Authorization.
    pub fn auth(&self, name: &str) -> Result<Vec<AuthValue>, ParseError> {
        let mut values = Vec::new();
        for line in self.headers.all(name) {
            if values.len() >= LIST_VALUES_MAX {
                return Err(ParseError::new(name, ErrorKind::TooLong));
            }
            values.push(AuthValue::parse(line).map_err(|kind| ParseError::new(name, kind))?);
        }
        Ok(values)
    }

    /// A header with a grammar of its own that stands at most once.
    pub fn typed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, ErrorKind>,
    ) -> Result<Option<T>, ParseError> {
        let value = self.headers.single(name)?;
        value.map(|value| parse(value).map_err(|kind| ParseError::new(name, kind))).transpose()
    }

    /// A header that is a number of seconds or a sequence number (Expires, Min-Expires, RSeq, Max-Forwards);
    /// parameters and comments behind it are ignored.
    pub fn number(&self, name: &str) -> Result<Option<u32>, ParseError> {
        self.typed(name, |value| {
            let end = value.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
            let (digits, rest) = value.split_at(end);
            let rest = text::trim(rest);
            if !rest.is_empty() && !rest.starts_with([';', '(']) {
                return Err(ErrorKind::Syntax);
            }
            text::number(digits)
        })
    }

    /// The Content-Type without its parameters, in lower case.
    pub fn content_type(&self) -> Option<String> {
        let value = self.header("Content-Type")?;
        Some(text::trim(value.split(';').next().unwrap_or(value)).to_ascii_lowercase())
    }

    /// The message as it goes on the wire. Content-Length is written from the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        write_message(&self.start, &self.headers, &self.body)
    }
}

/// Writes a message; a Content-Length among the headers is replaced by the body's.
pub fn write_message(start: &StartLine, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + body.len());
    match start {
        StartLine::Request { method, uri } => {
            out.extend_from_slice(format!("{method} {uri} SIP/2.0\r\n").as_bytes());
        }
        StartLine::Response { status, reason } => {
            let reason = reason.replace(['\r', '\n', '\0'], " ");
            out.extend_from_slice(format!("SIP/2.0 {status} {reason}\r\n").as_bytes());
        }
    }
    for header in headers.iter().filter(|h| !h.name.eq_ignore_ascii_case("Content-Length")) {
        header.write(&mut out);
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

impl StartLine {
    fn parse(line: &str) -> Result<Self, ParseError> {
        let error = |kind| ParseError::new("start line", kind);
        if let Some(rest) = line.strip_prefix("SIP/2.0 ") {
            let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let status: u16 = text::number(status).map_err(error)?;
            if status.checked_sub(100).is_none_or(|above| above >= 600) {
                return Err(error(ErrorKind::Range));
            }
            return Ok(Self::Response { status, reason: reason.to_owned() });
        }
        let mut parts = line.split(' ');
        let (Some(method), Some(uri), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error(ErrorKind::Syntax));
        };
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            let is_version = version.get(..4).is_some_and(|v| v.eq_ignore_ascii_case("SIP/"));
            return Err(error(if is_version { ErrorKind::Version } else { ErrorKind::Syntax }));
        }
        let method = Method::parse(method).ok_or_else(|| error(ErrorKind::Syntax))?;
        let uri = Uri::parse(uri).map_err(|kind| ParseError::new("Request-URI", kind))?;
        // Headers may not stand in a Request-URI (RFC 3261 §19.1.1).
        if uri.as_sip().is_some_and(|uri| uri.headers.is_some()) {
            return Err(ParseError::new("Request-URI", ErrorKind::Syntax));
        }
        Ok(Self::Request { method, uri })
    }
}

/// Splits a message into its unfolded lines (start line first) and what follows the empty line.
fn unfold(bytes: &[u8]) -> Result<(Vec<String>, &[u8]), ParseError> {
    let too_long = || ParseError::new("message", ErrorKind::TooLong);
    let mut lines: Vec<String> = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| {
            // Without the empty line nobody knows where the headers end.
            ParseError::new("message", ErrorKind::Truncated)
        })?;
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\r') {
            return Err(ParseError::new("message", ErrorKind::Syntax));
        }
        if line.is_empty() {
            if lines.is_empty() {
                continue;
            }
            return Ok((lines, rest));
        }
        let text = String::from_utf8_lossy(line);
        let folds = text.starts_with([' ', '\t']);
        match lines.len() {
            count if count > HEADERS_MAX + 1 => return Err(too_long()),
            // A start line cannot be folded, and cannot begin with a space.
            0 | 1 if folds => return Err(ParseError::new("start line", ErrorKind::Syntax)),
            _ => {}
        }
        let length = match lines.last_mut().filter(|_| folds) {
            Some(last) => {
                last.push(' ');
                last.push_str(text::trim(&text));
                last.len()
            }
            None => {
                lines.push(text.into_owned());
                line.len()
            }
        };
        if length > LINE_BYTES_MAX {
            return Err(too_long());
        }
    }
}

fn typed_list<T>(
    headers: &Headers,
    name: &str,
    parse: fn(&str) -> Result<T, ErrorKind>,
) -> Result<Vec<T>, ParseError> {
    headers.list(name)?.into_iter().map(|v| parse(v).map_err(|kind| ParseError::new(name, kind))).collect()
}

/// Content-Length; several that agree are taken, several that differ are smuggling (RFC 4475 §3.3.9).
fn content_length(headers: &Headers) -> Result<Option<usize>, ParseError> {
    let name = "Content-Length";
    let mut length = None;
    for line in headers.all(name) {
        let value: usize = text::number(line).map_err(|kind| ParseError::new(name, kind))?;
        if length.is_some_and(|before| before != value) {
            return Err(ParseError::new(name, ErrorKind::Repeated));
        }
        length = Some(value);
    }
    Ok(length)
}
