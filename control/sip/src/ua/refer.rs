//! Transfers (RFC 3515, RFC 3891, RFC 3892): REFER out, REFER in and the NOTIFYs about its progress.

use bifrons_sip_protocol::Origin;

use super::agent::{Purpose, Received, UserAgent, Wake};
use super::arena::{AccountId, CallId, ReferId};
use super::call::Answer;
use super::dialog::Dialog;
use super::error::UaError;
use super::event::{Details, RequestId, UaEvent};
use super::request::{Extra, add_to_request};
use super::status;
use super::uac::parse_target;
use crate::message::{Headers, Message, Method, NameAddr, Replaces, SipUri, Uri, escape};

/// How long a REFER's progress is reported at most, in milliseconds (RFC 3515 §2.4.4 leaves it to us).
const REFER_MS: u64 = 180_000;

/// A REFER that we received.
#[derive(Debug, Clone)]
pub(super) struct Refer {
    pub account: AccountId,
    pub call: Option<CallId>,
    /// Its dialog, as the call left it where there was one.
    pub dialog: Dialog,
    /// `id` of its subscription (RFC 3515 §2.4.6): the CSeq of the REFER.
    pub id: u32,
    pub expires_at: u64,
    /// The last NOTIFY is out.
    pub terminated: bool,
}

impl UserAgent {
    /// REFER in a call: to `target`, which shall replace the call `replaces` (attended transfer).
    /// [`UaEvent::Answered`] has the answer, [`UaEvent::Notify`] the progress.
    ///
    /// # Errors
    /// [`UaError`]: nothing was sent.
    pub fn refer(
        &mut self,
        call: CallId,
        target: &str,
        replaces: Option<CallId>,
        headers: Extra<'_>,
    ) -> Result<RequestId, UaError> {
        let mut refer_to = NameAddr::new(parse_target(target)?);
        if let Some(other) = replaces {
            let dialog = &self.calls.get(other).ok_or(UaError::NoCall)?.dialog;
            // As the transfer target will see the dialog: its own tag is to-tag (RFC 3891 §3).
            let replaces = Replaces {
                call_id: dialog.call_id.clone(),
                to_tag: dialog.remote_tag.clone().ok_or(UaError::State("no dialog"))?,
                from_tag: dialog.local_tag.clone(),
                early_only: false,
            };
            if let Uri::Sip(uri) = &mut refer_to.uri {
                uri.headers = Some(format!("Replaces={}", escape(&replaces.to_string())));
            }
        }
        let (account, mut request) = self.dialog_request(call, Method::Refer)?;
        request.headers.push("Refer-To", refer_to.to_string());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Referred-By")) {
            request.headers.push("Referred-By", request.from.clone());
        }
        add_to_request(&mut request.headers, headers)?;
        self.send_for_application(account, Some(call), request)
    }

    pub(super) fn refer_received(
        &mut self,
        now_ms: u64,
        account: AccountId,
        call: Option<CallId>,
        received: Received<'_>,
    ) {
        let Received { server, origin, request, parts } = received;
        let refer_to = match request.address("Refer-To") {
            Ok(Some(refer_to)) => refer_to,
            _ => {
                self.respond_status(server, 400, &[]);
                return;
            }
        };
        let made = match call.and_then(|id| self.calls.get(id)) {
            Some(call) => Ok(call.dialog.clone()),
            None => self.refer_dialog(account, origin, &request),
        };
        let Ok(dialog) = made else {
            self.respond_status(server, 400, &[]);
            return;
        };
        let (tag, contact) = (dialog.local_tag.clone(), dialog.contact.clone());
        let key = (dialog.call_id.clone(), tag.clone());
        let expires_at = now_ms + REFER_MS;
        let refer = Refer { account, call, dialog, id: request.cseq.number, expires_at, terminated: false };
        let Ok(id) = self.refers.insert(refer) else {
            self.counters.limits += 1;
            self.respond_status(server, 503, &[("Retry-After", "5")]);
            return;
        };
        if call.is_none() {
            self.refer_dialogs.insert(key, id);
        }
        self.set_timer(Wake::Refer(id), None, Some(expires_at));
        let mut headers = Headers::default();
        headers.push("Contact", contact);
        let answer =
            Answer { status: 202, reason: status::phrase(202).to_owned(), headers, body: Vec::new() };
        self.respond(server, &tag, answer, None);
        // RFC 3515 §2.4.4: the first NOTIFY comes at once.
        self.notify(now_ms, id, 100, "Trying", false);
        let (target, replaces_text) = match &refer_to.uri {
            Uri::Sip(uri) => {
                (Uri::Sip(SipUri { headers: None, ..uri.clone() }).to_string(), uri.header("Replaces"))
            }
            other => (other.to_string(), None),
        };
        let details = Details::of(&request, Some(origin.source), parts);
        self.events.push_back(UaEvent::Refer {
            refer: id,
            account,
            call,
            refer_to: target,
            replaces: replaces_text.as_deref().and_then(|text| Replaces::parse(text).ok()),
            replaces_text,
            referred_by: request
                .header("Referred-By")
                .map_or_else(|| request.from.uri.to_string(), str::to_owned),
            details,
        });
    }

    fn refer_dialog(
        &mut self,
        account: AccountId,
        origin: &Origin,
        request: &Message,
    ) -> Result<Dialog, UaError> {
        let (tag, user) = (self.random.token(8), self.random.token(8));
        let account = self.accounts.get(account).ok_or(UaError::NoAccount)?;
        let (ident, contact) = self.contact_over(account, origin.transport, &user)?;
        Ok(Dialog::from_request(request, tag, contact.to_string(), ident)?)
    }

    /// Tells the sender of a REFER how it goes; a final status (200 and above) ends it.
    ///
    /// # Errors
    /// [`UaError::NoRefer`] if it has ended.
    pub fn refer_progress(
        &mut self,
        now_ms: u64,
        id: ReferId,
        status: u16,
        reason: &str,
    ) -> Result<(), UaError> {
        if !(100..700).contains(&status) {
            return Err(UaError::State("not a status"));
        }
        if self.refers.get(id).is_none_or(|refer| refer.terminated) {
            return Err(UaError::NoRefer);
        }
        let reason = if reason.is_empty() { status::phrase(status) } else { reason };
        self.notify(now_ms, id, status, reason, status >= 200);
        Ok(())
    }

    fn notify(&mut self, now_ms: u64, id: ReferId, status: u16, reason: &str, last: bool) {
        let user_agent = self.config.user_agent.clone();
        let Some(refer) = self.refers.get_mut(id) else { return };
        let left_s = refer.expires_at.saturating_sub(now_ms) / 1_000;
        refer.terminated = last;
        // While the call lives, its dialog counts the requests.
        let dialog = match refer.call.and_then(|call| self.calls.get_mut(call)) {
            Some(call) => &mut call.dialog,
            None => &mut refer.dialog,
        };
        let mut request = dialog.request(Method::Notify, None, &user_agent);
        request.headers.push("Event", format!("refer;id={}", refer.id));
        let state = if last {
            String::from("terminated;reason=noresource")
        } else {
            format!("active;expires={left_s}")
        };
        request.headers.push("Subscription-State", state);
        let reason = reason.replace(['\r', '\n', '\0'], " ");
        let body = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
        let sent = request
            .set_body("message/sipfrag;version=2.0", body)
            .map_err(UaError::from)
            .and_then(|()| self.send(Purpose::Progress(id), request));
        if sent.is_err() && last {
            self.drop_refer(id);
        }
    }

    pub(super) fn progress_answered(&mut self, id: ReferId) {
        if self.refers.get(id).is_some_and(|refer| refer.terminated) {
            self.drop_refer(id);
        }
    }

    /// Nobody told the end: the subscription runs out.
    pub(super) fn refer_timeout(&mut self, now_ms: u64, id: ReferId) {
        match self.refers.get(id).map(|refer| refer.terminated) {
            Some(false) => {
                self.notify(now_ms, id, 408, "Request Timeout", true);
                let at = now_ms + self.transaction_ms() + 2_000;
                if let Some(refer) = self.refers.get_mut(id) {
                    refer.expires_at = at;
                    self.set_timer(Wake::Refer(id), None, Some(at));
                }
            }
            Some(true) => self.drop_refer(id),
            None => {}
        }
    }

    pub(super) fn drop_refer(&mut self, id: ReferId) {
        if let Some(refer) = self.refers.remove(id) {
            self.set_timer(Wake::Refer(id), Some(refer.expires_at), None);
            self.refer_dialogs.remove(&(refer.dialog.call_id, refer.dialog.local_tag));
        }
    }

    /// A call is over; the REFERs in its dialog go on without it (RFC 5057).
    pub(super) fn refers_without_call(&mut self, call: CallId, dialog: &Dialog) {
        let orphans: Vec<ReferId> =
            self.refers.iter().filter(|(_, refer)| refer.call == Some(call)).map(|(id, _)| id).collect();
        for id in orphans {
            if let Some(refer) = self.refers.get_mut(id) {
                refer.call = None;
                refer.dialog = dialog.clone();
                self.refer_dialogs.insert((dialog.call_id.clone(), dialog.local_tag.clone()), id);
            }
        }
    }

    /// The CSeq for another try of a NOTIFY.
    pub(super) fn refer_cseq(&mut self, id: ReferId) -> Option<u32> {
        let refer = self.refers.get_mut(id)?;
        let dialog = match refer.call.and_then(|call| self.calls.get_mut(call)) {
            Some(call) => &mut call.dialog,
            None => &mut refer.dialog,
        };
        dialog.local_cseq += 1;
        Some(dialog.local_cseq)
    }

    /// A call by what Replaces says of it: an INVITE that we received names our tag as to-tag.
    pub fn find_call(&self, replaces: &Replaces) -> Option<CallId> {
        let key = (replaces.call_id.clone(), replaces.to_tag.clone());
        let id = self.dialogs.get(&key).copied()?;
        let call = self.calls.get(id)?;
        let fits = call.dialog.remote_tag.as_deref() == Some(replaces.from_tag.as_str());
        (fits && !(replaces.early_only && call.is_established())).then_some(id)
    }

    /// A call of an account by its SIP Call-ID.
    pub fn call_by_call_id(&self, account: AccountId, call_id: &str) -> Option<CallId> {
        self.calls.iter().find(|(_, c)| c.account == account && c.dialog.call_id == call_id).map(|(id, _)| id)
    }

    /// The SIP Call-ID of a call.
    pub fn call_id(&self, call: CallId) -> Option<&str> {
        self.calls.get(call).map(|call| call.dialog.call_id.as_str())
    }
}
