use std::collections::HashMap;

use crate::message::{Message, NameAddr, ParseError, Uri};

/// Most Contacts of one user.
pub(super) const CONTACTS_MAX: usize = 10;
/// Shortest and longest Expires that is granted, in seconds; without a wish, the longest.
pub(super) const EXPIRES_S: (u32, u32) = (60, 3_600);

/// Where users can be reached (RFC 3261 §10.3).
#[derive(Debug, Clone, Default)]
pub(super) struct Bindings(HashMap<String, Vec<Binding>>);

#[derive(Debug, Clone)]
struct Binding {
    uri: Uri,
    call_id: String,
    cseq: u32,
    expires_at: u64,
}

/// Why a REGISTER is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// 400.
    Malformed,
    /// 423 with Min-Expires.
    TooBrief,
    /// 500: older than what is known (RFC 3261 §10.3, step 7).
    OutOfOrder,
    /// 403: too many Contacts.
    Limit,
}

impl From<ParseError> for Refused {
    fn from(_: ParseError) -> Self {
        Self::Malformed
    }
}

impl Bindings {
    /// Takes an authenticated REGISTER: all of it or nothing.
    pub fn register(&mut self, now_ms: u64, user: &str, request: &Message) -> Result<(), Refused> {
        let mut list = self.0.remove(user).unwrap_or_default();
        list.retain(|binding| binding.expires_at > now_ms);
        let outcome = Self::change(now_ms, list.clone(), request);
        let list = outcome.as_ref().map_or(list, Clone::clone);
        if !list.is_empty() {
            self.0.insert(user.to_owned(), list);
        }
        outcome.map(|_| ())
    }

    fn change(now_ms: u64, mut list: Vec<Binding>, request: &Message) -> Result<Vec<Binding>, Refused> {
        let header = request.number("Expires")?;
        let in_order =
            |binding: &Binding| binding.call_id != request.call_id || binding.cseq < request.cseq.number;
        if request.contact_is_star() {
            if header != Some(0) {
                return Err(Refused::Malformed);
            }
            if !list.iter().all(in_order) {
                return Err(Refused::OutOfOrder);
            }
            return Ok(Vec::new());
        }
        for contact in request.contacts()? {
            let param = match contact.params.get("expires") {
                Some(text) => Some(text.parse().map_err(|_| Refused::Malformed)?),
                None => None,
            };
            let wish: u32 = param.or(header).unwrap_or(EXPIRES_S.1);
            if (1..EXPIRES_S.0).contains(&wish) {
                return Err(Refused::TooBrief);
            }
            let same = |binding: &Binding| binding.uri == contact.uri;
            if list.iter().any(|binding| same(binding) && !in_order(binding)) {
                return Err(Refused::OutOfOrder);
            }
            list.retain(|binding| !same(binding));
            if wish == 0 {
                continue;
            }
            if list.len() >= CONTACTS_MAX {
                return Err(Refused::Limit);
            }
            list.push(Binding {
                uri: contact.uri,
                call_id: request.call_id.clone(),
                cseq: request.cseq.number,
                expires_at: now_ms + u64::from(wish.min(EXPIRES_S.1)) * 1_000,
            });
        }
        Ok(list)
    }

    /// The Contact values of a user for the 200.
    pub fn contacts(&self, now_ms: u64, user: &str) -> Vec<String> {
        let live = self.0.get(user).into_iter().flatten().filter(|binding| binding.expires_at > now_ms);
        live.map(|binding| {
            let left_s = (binding.expires_at - now_ms).div_ceil(1_000);
            NameAddr::new(binding.uri.clone()).with_param("expires", &left_s.to_string()).to_string()
        })
        .collect()
    }

    /// Where a user was last registered from.
    pub fn target(&self, now_ms: u64, user: &str) -> Option<String> {
        let list = self.0.get(user)?;
        list.iter().rev().find(|binding| binding.expires_at > now_ms).map(|binding| binding.uri.to_string())
    }
}
