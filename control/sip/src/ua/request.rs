use bifrons_sip_protocol::FlowId;

use crate::message::{Headers, Method, ParseError};

/// A request that we write; kept while its transaction lives, to be sent again with credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutRequest {
    pub method: Method,
    pub uri: String,
    pub from: String,
    pub from_tag: String,
    pub to: String,
    pub to_tag: Option<String>,
    pub call_id: String,
    pub cseq: u32,
    pub routes: Vec<String>,
    pub contact: Option<String>,
    /// Everything else, the application's own headers last.
    pub headers: Headers,
    /// Credentials by header name.
    pub auth: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub user_agent: String,
    pub next_hop: String,
    pub ident: String,
    pub flow: Option<FlowId>,
}

/// Headers that the user agent writes itself in requests: an application's are refused.
const OWN_IN_REQUESTS: [&str; 12] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Content-Length",
    "Max-Forwards",
    "Record-Route",
    "Contact",
    "Route",
    "Authorization",
    "Proxy-Authorization",
];
/// The same in answers.
const OWN_IN_ANSWERS: [&str; 9] =
    ["Via", "From", "To", "Call-ID", "CSeq", "Content-Length", "Record-Route", "RSeq", "Require"];

/// An application's headers.
pub(super) type Extra<'a> = &'a [(String, String)];

/// Adds an application's headers to a request.
pub(super) fn add_to_request(headers: &mut Headers, extra: Extra<'_>) -> Result<(), ParseError> {
    add(headers, extra, &OWN_IN_REQUESTS)
}

/// Adds an application's headers to an answer.
pub(super) fn add_to_answer(headers: &mut Headers, extra: Extra<'_>) -> Result<(), ParseError> {
    add(headers, extra, &OWN_IN_ANSWERS)
}

fn add(headers: &mut Headers, extra: Extra<'_>, own: &[&str]) -> Result<(), ParseError> {
    for (name, value) in extra {
        if own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(ParseError::new(name, crate::message::ErrorKind::Repeated));
        }
        headers.try_push(name, value)?;
    }
    Ok(())
}

impl OutRequest {
    /// The whole request but its Via.
    pub fn text(&self) -> Vec<u8> {
        let mut headers = Headers::default();
        headers.push("Max-Forwards", "70");
        for route in &self.routes {
            headers.push("Route", route);
        }
        headers.push("From", format!("{};tag={}", self.from, self.from_tag));
        headers.push(
            "To",
            self.to_tag.as_ref().map_or_else(|| self.to.clone(), |tag| format!("{};tag={tag}", self.to)),
        );
        headers.push("Call-ID", &self.call_id);
        headers.push("CSeq", format!("{} {}", self.cseq, self.method));
        if let Some(contact) = &self.contact {
            headers.push("Contact", contact);
        }
        for (name, value) in &self.auth {
            headers.push(*name, value);
        }
        if !self.user_agent.is_empty() {
            headers.push("User-Agent", &self.user_agent);
        }
        let mut out =
            format!("{} {} SIP/2.0\r\n", self.method, self.uri.replace(['\r', '\n', '\0', ' '], ""))
                .into_bytes();
        headers.write(&mut out);
        self.headers.write(&mut out);
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    /// Sets a body with its type.
    pub fn set_body(&mut self, content_type: &str, body: Vec<u8>) -> Result<(), ParseError> {
        if !body.is_empty() {
            self.headers.try_push("Content-Type", content_type)?;
            self.body = body;
        }
        Ok(())
    }
}
