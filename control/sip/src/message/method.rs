use std::fmt;

/// A request's method. Methods are case-sensitive (RFC 3261 §7.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Info,
    Message,
    Refer,
    Notify,
    Subscribe,
    Prack,
    Update,
    Publish,
    /// Any other token.
    Other(String),
}

const KNOWN: [(&str, Method); 14] = [
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("REGISTER", Method::Register),
    ("OPTIONS", Method::Options),
    ("INFO", Method::Info),
    ("MESSAGE", Method::Message),
    ("REFER", Method::Refer),
    ("NOTIFY", Method::Notify),
    ("SUBSCRIBE", Method::Subscribe),
    ("PRACK", Method::Prack),
    ("UPDATE", Method::Update),
    ("PUBLISH", Method::Publish),
];

impl Method {
    /// Parses a method token; `None` if it is not a token.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, method)) = KNOWN.iter().find(|(name, _)| *name == text) {
            return Some(method.clone());
        }
        super::is_token(text).then(|| Self::Other(text.to_owned()))
    }

    /// The method as written on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => KNOWN.iter().find(|(_, method)| method == known).map_or("", |(name, _)| name),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
