use super::request::OutRequest;
use crate::message::{Headers, Message, Method, NameAddr, ParseError, Uri};

/// A dialog (RFC 3261 §12) as plain data: enough to go on with it in another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialog {
    pub call_id: String,
    /// Our address with display name, without tag.
    pub local: String,
    pub local_tag: String,
    /// The peer's address without tag.
    pub remote: String,
    /// None until the first answer with a tag.
    pub remote_tag: Option<String>,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    /// Route values in the order in which requests take them.
    pub routes: Vec<String>,
    /// Remote target: the peer's Contact URI.
    pub target: String,
    /// Our Contact value.
    pub contact: String,
    pub ident: String,
    /// The peer started the call.
    pub is_uas: bool,
}

impl Dialog {
    /// The dialog of a request that we received and answer with `local_tag` (RFC 3261 §12.1.1).
    pub fn from_request(
        request: &Message,
        local_tag: String,
        contact: String,
        ident: String,
    ) -> Result<Self, ParseError> {
        let target = request.contacts()?.into_iter().next();
        let routes = request.addresses("Record-Route")?;
        Ok(Self {
            call_id: request.call_id.clone(),
            local: NameAddr::new(request.to.uri.clone()).to_string(),
            local_tag,
            remote: NameAddr::new(request.from.uri.clone()).to_string(),
            remote_tag: request.from.tag().map(str::to_owned),
            local_cseq: 0,
            remote_cseq: Some(request.cseq.number),
            routes: routes.iter().map(NameAddr::to_string).collect(),
            target: target.map_or_else(|| request.from.uri.to_string(), |contact| contact.uri.to_string()),
            contact,
            ident,
            is_uas: true,
        })
    }

    /// The dialog that an answer to `request` makes or confirms (RFC 3261 §12.1.2, §13.2.2.4).
    pub fn from_response(request: &OutRequest, response: &Message) -> Self {
        let mut dialog = Self {
            call_id: request.call_id.clone(),
            local: request.from.clone(),
            local_tag: request.from_tag.clone(),
            remote: request.to.clone(),
            remote_tag: response.to.tag().map(str::to_owned),
            local_cseq: request.cseq,
            remote_cseq: None,
            routes: Vec::new(),
            target: request.uri.clone(),
            contact: request.contact.clone().unwrap_or_default(),
            ident: request.ident.clone(),
            is_uas: false,
        };
        dialog.confirm(response);
        dialog
    }

    /// Takes route set and target of an answer to our INVITE. A route set that cannot be read is left as it was.
    pub fn confirm(&mut self, response: &Message) {
        if let Ok(mut routes) = response.addresses("Record-Route") {
            routes.reverse();
            self.routes = routes.iter().map(NameAddr::to_string).collect();
        }
        self.refresh_target(response);
    }

    /// Target refresh (RFC 3261 §12.2): the Contact of a re-INVITE, UPDATE or its 2xx.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(contacts) = message.contacts()
            && let Some(contact) = contacts.first()
        {
            self.target = contact.uri.to_string();
        }
    }

    /// A request in the dialog with the next CSeq; ACK takes that of its INVITE instead.
    pub fn request(&mut self, method: Method, ack_of: Option<u32>, user_agent: &str) -> OutRequest {
        let cseq = match ack_of {
            Some(cseq) => cseq,
            None => {
                self.local_cseq = self.local_cseq.wrapping_add(1) & 0x7fff_ffff;
                self.local_cseq
            }
        };
        // A strict router wants itself as Request-URI and the target last (RFC 3261 §12.2.1.1).
        let mut routes = self.routes.clone();
        let mut uri = self.target.clone();
        let first = routes.first().and_then(|first| NameAddr::parse(first).ok());
        if let Some(Uri::Sip(strict)) =
            first.map(|first| first.uri).filter(|uri| uri.as_sip().is_some_and(|u| !u.is_loose_route()))
        {
            routes.remove(0);
            routes.push(format!("<{uri}>"));
            uri = strict.to_string();
        }
        let has_contact = matches!(
            method,
            Method::Invite | Method::Update | Method::Refer | Method::Subscribe | Method::Notify
        );
        OutRequest {
            contact: has_contact.then(|| self.contact.clone()),
            method,
            uri,
            from: self.local.clone(),
            from_tag: self.local_tag.clone(),
            to: self.remote.clone(),
            to_tag: self.remote_tag.clone(),
            call_id: self.call_id.clone(),
            cseq,
            routes,
            headers: Headers::default(),
            auth: Vec::new(),
            body: Vec::new(),
            user_agent: user_agent.to_owned(),
            next_hop: String::new(),
            ident: self.ident.clone(),
            flow: None,
        }
    }

    /// Checks the CSeq of a request in the dialog and takes it (RFC 3261 §12.2.2).
    pub fn take_cseq(&mut self, number: u32) -> bool {
        let in_order = self.remote_cseq.is_none_or(|last| number > last);
        if in_order {
            self.remote_cseq = Some(number);
        }
        in_order
    }
}
