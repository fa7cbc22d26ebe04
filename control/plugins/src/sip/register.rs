//! `register` and `unregister`.

use bifrons_api::plugin::{HandleKey, PluginCx};
use bifrons_sip_protocol::Transport;
use bifrons_sip_ua::digest::Secret;
use bifrons_sip_ua::message::{SipUri, Uri};
use bifrons_sip_ua::ua::AccountConfig;
use serde_json::{Map, Value, json};

use super::handle::Registration;
use super::{
    ALREADY_REGISTERED, INVALID_ADDRESS, INVALID_ELEMENT, MISSING_ELEMENT, Reply, Sip, UNAVAILABLE,
    WRONG_STATE, check, headers, now_ms, of_ua,
};
use crate::params::{self, Kind, Param, PluginError, nullable, optional, required};

const PARAMS: [Param; 21] = [
    required("username", Kind::Text),
    optional("type", Kind::Text),
    optional("send_register", Kind::Boolean),
    optional("secret", Kind::Text),
    optional("ha1_secret", Kind::Text),
    optional("authuser", Kind::Text),
    optional("display_name", Kind::Text),
    optional("user_agent", Kind::Text),
    nullable("proxy", Kind::Text),
    nullable("outbound_proxy", Kind::Text),
    optional("force_udp", Kind::Boolean),
    optional("force_tcp", Kind::Boolean),
    optional("sips", Kind::Boolean),
    optional("rfc2543_cancel", Kind::Boolean),
    optional("automatic_ringing", Kind::Boolean),
    optional("register_ttl", Kind::Integer),
    optional("headers", Kind::Object),
    optional("contact_params", Kind::Object),
    optional("incoming_header_prefixes", Kind::Array),
    optional("master_id", Kind::Positive),
    optional("refresh", Kind::Boolean),
];

/// Longest address of record.
const USERNAME_BYTES_MAX: usize = 1_023;
/// Longest user part.
const USER_BYTES_MAX: usize = 255;
/// Header prefixes of an account.
const PREFIXES_MAX: usize = 64;

impl Sip {
    pub(super) fn register(
        &mut self,
        cx: &mut PluginCx<'_>,
        key: HandleKey,
        body: &Map<String, Value>,
    ) -> Reply {
        check(body, &PARAMS)?;
        let guest = params::text(body, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("guest"));
        if params::text(body, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("helper")) {
            return Err(PluginError::new(UNAVAILABLE, "Helpers are not available in this version (type)"));
        }
        if params::flag(body, "rfc2543_cancel") == Some(true) {
            let text =
                "CANCEL before a provisional response is not available in this version (rfc2543_cancel)";
            return Err(PluginError::new(UNAVAILABLE, text));
        }
        if guest && params::flag(body, "send_register") == Some(true) {
            let text = "Conflicting elements: send_register cannot be true if guest is true";
            return Err(PluginError::new(INVALID_ELEMENT, text));
        }
        let registers = !guest && params::flag(body, "send_register").unwrap_or(true);
        let (udp, tcp) = (params::flag(body, "force_udp"), params::flag(body, "force_tcp"));
        if udp == Some(true) && tcp == Some(true) {
            let text = "Conflicting elements: force_udp and force_tcp cannot both be true";
            return Err(PluginError::new(INVALID_ELEMENT, text));
        }
        let handle = self.handles.entry(key).or_default();
        let refresh = params::flag(body, "refresh") == Some(true);
        let busy = matches!(
            handle.registration,
            Registration::Registering | Registration::Registered | Registration::Unregistering
        );
        if busy && !refresh {
            let text = format!("Already registered ({})", handle.username);
            return Err(PluginError::new(ALREADY_REGISTERED, text));
        }

        let username = params::text(body, "username").unwrap_or("");
        let aor = address(username, "user", &["sip"])?;
        let user = aor.user.clone().unwrap_or_default();
        if username.len() > USERNAME_BYTES_MAX || user.is_empty() || user.len() > USER_BYTES_MAX {
            return Err(invalid_address("user", username));
        }
        let mut config = AccountConfig::new(aor);
        config.register = registers;
        if let Some(proxy) = params::text(body, "proxy") {
            config.registrar = Some(address(proxy, "proxy", &["sip", "sips"])?);
        }
        if let Some(proxy) = params::text(body, "outbound_proxy") {
            config.outbound_proxy = Some(address(proxy, "outbound_proxy", &["sip", "sips"])?);
        }
        config.secret = secret(body, guest)?;
        config.auth_user = params::text(body, "authuser").map(str::to_owned);
        config.display_name = params::text(body, "display_name").map(str::to_owned);
        config.user_agent = params::text(body, "user_agent").map(str::to_owned);
        config.expires_s = match params::number(body, "register_ttl") {
            Some(ttl) if ttl <= 0 => 3_600,
            Some(ttl) => u32::try_from(ttl).unwrap_or(u32::MAX),
            None => self.register_ttl_s,
        };
        config.headers = headers::custom(body);
        config.contact_params = texts_of(body, "contact_params");
        config.transport = match (udp, tcp, params::flag(body, "sips")) {
            (Some(true), ..) => Some(Transport::Udp),
            (_, Some(true), _) => Some(Transport::Tcp),
            (.., Some(true)) => Some(Transport::Tls),
            _ => None,
        };
        // A lost registration ends the account, as clients of this API expect.
        config.retry = false;

        handle.automatic_ringing = params::flag(body, "automatic_ringing").unwrap_or(true);
        for prefix in body.get("incoming_header_prefixes").and_then(Value::as_array).into_iter().flatten() {
            if let Some(prefix) = prefix.as_str().filter(|prefix| !prefix.is_empty())
                && handle.prefixes.len() < PREFIXES_MAX
                && !handle.prefixes.iter().any(|known| known == prefix)
            {
                handle.prefixes.push(prefix.to_owned());
            }
        }
        handle.shown = [config.auth_user.clone(), config.display_name.clone(), config.user_agent.clone()];
        let identity = username.to_owned();
        let now = now_ms(cx);
        let account = match handle.account {
            Some(account) => self.ua.update_account(now, account, config).map(|()| account),
            None => self.ua.register(now, config),
        };
        let account = account.map_err(of_ua)?;
        handle.account = Some(account);
        (handle.username, handle.identity) = (user, identity);
        self.accounts.insert(account, key);
        if registers {
            handle.registration = Registration::Registering;
            return Ok((json!({"event": "registering", "unique_id": handle.unique_id}), None));
        }
        handle.registration = Registration::Disabled;
        let (username, master_id, unique_id) = (&handle.username, handle.master_id, &handle.unique_id);
        let told = json!({
            "event": "registered", "identity": handle.identity, "type": "guest",
            "master_id": master_id, "unique_id": unique_id,
        });
        let result = json!({
            "event": "registered", "username": username, "register_sent": false,
            "master_id": master_id, "unique_id": unique_id,
        });
        cx.notify_event(Some(key), told);
        Ok((result, None))
    }

    pub(super) fn unregister(&mut self, cx: &mut PluginCx<'_>, key: HandleKey) -> Reply {
        let handle = self.handles.get_mut(&key);
        if handle.as_ref().is_none_or(|handle| handle.account.is_none()) {
            return Err(PluginError::new(WRONG_STATE, "Wrong state (register first)"));
        }
        let registered = handle.filter(|handle| handle.registration == Registration::Registered);
        let Some((handle, account)) =
            registered.and_then(|handle| handle.account.map(|account| (handle, account)))
        else {
            return Err(PluginError::new(WRONG_STATE, "Wrong state (not registered)"));
        };
        self.ua.unregister(now_ms(cx), account).map_err(of_ua)?;
        handle.registration = Registration::Unregistering;
        Ok((json!({"event": "unregistering"}), None))
    }
}

/// The credentials: exactly one secret unless the account is a guest.
fn secret(body: &Map<String, Value>, guest: bool) -> Result<Option<Secret>, PluginError> {
    match (params::text(body, "secret"), params::text(body, "ha1_secret")) {
        (Some(_), Some(_)) => {
            let text = "Conflicting elements specified (secret and ha1_secret)";
            Err(PluginError::new(INVALID_ELEMENT, text))
        }
        (Some(password), None) => Ok(Some(Secret::Password(password.to_owned()))),
        (None, Some(ha1)) => Ok(Some(Secret::Ha1(ha1.to_owned()))),
        (None, None) if guest => Ok(None),
        (None, None) => Err(PluginError::new(MISSING_ELEMENT, "Missing element (secret or ha1_secret)")),
    }
}

/// The credentials of a `call`, which replace the stored ones.
pub(super) fn new_secret(body: &Map<String, Value>) -> Result<Option<Secret>, PluginError> {
    secret(body, true)
}

fn invalid_address(what: &str, text: &str) -> PluginError {
    // The newline is part of the text that clients know.
    PluginError::new(INVALID_ADDRESS, format!("Invalid {what} address {text}\n"))
}

/// Parses an address whose scheme is one of `schemes`.
pub(super) fn address(text: &str, what: &str, schemes: &[&str]) -> Result<SipUri, PluginError> {
    let scheme = text.split(':').next().unwrap_or("");
    let allowed = schemes.iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed));
    match Uri::parse(text) {
        Ok(Uri::Sip(uri)) if allowed && !uri.host.is_empty() => Ok(uri),
        _ => Err(invalid_address(what, text)),
    }
}

/// The text members of an object.
fn texts_of(body: &Map<String, Value>, name: &str) -> Vec<(String, String)> {
    let entries = body.get(name).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
