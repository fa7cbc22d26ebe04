//! `bifrons demo`: the gateway with a page to call from, and somebody to call.
//!
//! | module | gives |
//! | --- | --- |
//! | [`phones`] | a registrar and an echo phone, on a `bifrons-sip` of their own |
//! | [`echo`] | what the echo phone does with media |
//! | [`page`] | the page and its configuration |
//! | [`certificate`] | the certificate of `--lan` |

pub mod certificate;
pub mod echo;
pub mod page;
pub mod phones;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use bifrons_transports::StaticFiles;
use serde_json::{Value, json};

use crate::cli;
use crate::config::Config;
use crate::config::schema::{SipListen, SipTransport};
use crate::net;
use crate::run::RunError;

/// SIP ports are looked for from here on: 5060 is left to whatever uses it.
const SIP_PORTS: std::ops::Range<u16> = 5070..5170;
/// Users of the embedded registrar: name and display name.
const USERS: [(&str, &str); 2] = [("alice", "Alice"), ("bob", "Bob")];
/// HTTPS and WSS, counted from the first port as Janus' defaults are: 8088, 8089, 8188, 8989.
const HTTPS: u16 = 1;
const WS: u16 = 100;
const WSS: u16 = 901;
/// A page that lost its connection can come back for so long, seconds.
const RECLAIM_S: u64 = 30;

/// A demo that was thought out and not started.
pub struct Demo {
    /// How the gateway runs.
    pub config: Config,
    /// The page.
    pub files: StaticFiles,
    /// The registrar with its users and their secrets; none with a real account.
    pub registrar: Option<Registrar>,
    /// What the user is told when it runs.
    pub greeting: String,
}

/// The embedded registrar.
pub struct Registrar {
    /// Where it listens, UDP and TCP.
    pub listen: SocketAddr,
    /// Names and secrets.
    pub users: Vec<(String, String)>,
}

/// Thinks out a demo.
///
/// # Errors
/// No certificate can be made, a port does not fit, or an account makes no sense.
pub fn plan(options: &cli::Demo) -> Result<Demo, RunError> {
    let fail = |text: String| RunError::Start(text);
    let port = |distance: u16| {
        options.port.checked_add(distance).ok_or_else(|| fail(format!("--port {}: too high", options.port)))
    };
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let lan = options.lan.then(|| options.lan_address.unwrap_or_else(net::default_address));
    if lan.is_some_and(|address| address.is_loopback()) {
        return Err(fail(
            "--lan: this machine has no address but loopback; name one by --lan-address".into(),
        ));
    }
    let outside = if options.account.is_some() { net::default_address() } else { loopback };
    let (media, sip) =
        (lan.unwrap_or(outside), if options.account.is_some() { lan.unwrap_or(outside) } else { loopback });

    let mut config = Config::default();
    config.server.name = "Bifrons demo".into();
    config.server.log = "warn".into();
    config.server.reclaim_session_timeout_s = RECLAIM_S;
    config.server.drain_timeout_s = 0;
    config.http.listen = vec![SocketAddr::new(loopback, port(0)?)];
    config.websocket.listen = vec![SocketAddr::new(loopback, port(WS)?)];
    config.media.addresses = vec![media];
    let mut ports = SIP_PORTS;
    let own = SocketAddr::new(sip, free_port(sip, &mut ports)?);
    let point = |transport| SipListen { ident: "sip".into(), transport, address: own };
    config.sip.listen = vec![point(SipTransport::Udp), point(SipTransport::Tcp)];
    let (mut http, mut ws) =
        (format!("http://{}", config.http.listen[0]), format!("ws://{}", config.websocket.listen[0]));
    if let Some(address) = lan {
        let files = certificate::for_address(address)
            .map_err(|error| fail(format!("--lan: the certificate cannot be made: {error}")))?;
        (config.tls.certificate, config.tls.key) = (Some(files.certificate), Some(files.key));
        config.http.listen_tls = vec![SocketAddr::new(address, port(HTTPS)?)];
        config.websocket.listen_tls = vec![SocketAddr::new(address, port(WSS)?)];
        http = format!("https://{}", config.http.listen_tls[0]);
        ws = format!("wss://{}", config.websocket.listen_tls[0]);
    }

    let (registrar, sip_page) = match &options.account {
        Some(account) => (None, real_account(options, account)?),
        None => {
            let listen = SocketAddr::new(sip, free_port(sip, &mut ports)?);
            let users = USERS.iter().map(|(name, _)| Ok(((*name).to_owned(), secret()?)));
            let users: Vec<(String, String)> = users.collect::<Result<_, RunError>>()?;
            let page = embedded(listen, &users);
            (Some(Registrar { listen, users }), page)
        }
    };
    let page = json!({"http": format!("{http}{}", config.http.base_path), "ws": ws, "sip": sip_page});
    let greeting = greeting(&http, &page, own, registrar.as_ref(), lan.is_some());
    Ok(Demo { files: page::files(&page), config, registrar, greeting })
}

/// What the page is told of the embedded registrar.
fn embedded(listen: SocketAddr, users: &[(String, String)]) -> Value {
    let accounts: Vec<Value> = users
        .iter()
        .zip(USERS)
        .map(|((user, secret), (_, display))| json!({"user": user, "secret": secret, "display": display}))
        .collect();
    json!({
        "registrar": format!("sip:{listen}"),
        "accounts": accounts,
        "echo": format!("sip:{}@{listen}", phones::ECHO),
        "callback": format!("sip:{}@{listen}", phones::CALLBACK),
    })
}

/// What the page is told of an account at a real registrar.
fn real_account(options: &cli::Demo, account: &str) -> Result<Value, RunError> {
    let wrong = || RunError::Start(format!("--account {account}: write sip:user@domain"));
    let rest = account.strip_prefix("sip:").or_else(|| account.strip_prefix("sips:")).unwrap_or(account);
    let (user, domain) = rest.split_once('@').ok_or_else(wrong)?;
    if user.is_empty() || domain.is_empty() {
        return Err(wrong());
    }
    let registrar = options.registrar.clone().unwrap_or_else(|| format!("sip:{domain}"));
    Ok(json!({
        "registrar": registrar,
        "accounts": [{"user": user, "domain": domain, "secret": options.password, "display": user}],
    }))
}

/// A port that neither UDP nor TCP uses, the first of `ports` that is left.
fn free_port(address: IpAddr, ports: &mut std::ops::Range<u16>) -> Result<u16, RunError> {
    ports
        .find(|port| UdpSocket::bind((address, *port)).is_ok() && TcpListener::bind((address, *port)).is_ok())
        .ok_or_else(|| {
            RunError::Start(format!("no SIP port from {} on is free at {address}", SIP_PORTS.start))
        })
}

/// A secret for one run.
fn secret() -> Result<String, RunError> {
    let number = getrandom::u64().map_err(|error| RunError::Start(format!("random numbers: {error}")))?;
    Ok(format!("{number:016x}"))
}

fn greeting(http: &str, page: &Value, own: SocketAddr, registrar: Option<&Registrar>, lan: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![
        format!("Bifrons demo: open  {http}{}", page::PATH),
        String::new(),
        format!("  API        {}  {}", text(&page["http"]), text(&page["ws"])),
    ];
    match registrar {
        Some(registrar) => lines.extend([
            format!(
                "  SIP        gateway at {own}, registrar at {} (UDP, TCP; 5060 is left alone)",
                registrar.listen
            ),
            "  accounts   alice and bob; the page knows their secrets".into(),
            format!("  echo       {}: answers, and you hear yourself", text(&page["sip"]["echo"])),
            format!("  call back  {}: hangs up, then calls you", text(&page["sip"]["callback"])),
            String::new(),
            "The page registers as Alice: click \"Hear yourself\". Open it a second time as Bob and call"
                .into(),
            format!("sip:bob@{} from the first. The echo test needs no telephone at all.", registrar.listen),
        ]),
        None => lines.extend([
            format!("  SIP        gateway at {own}"),
            format!("  account    at {}; the page registers it", text(&page["sip"]["registrar"])),
        ]),
    }
    if lan {
        lines.extend([
            String::new(),
            "The certificate is self-made: the browser asks once whether to trust it; if the page then stays".into(),
            "unconnected, choose \"HTTP long poll\" there. Everyone in this network can use it while it runs.".into(),
        ]);
    }
    lines.push("Ctrl-C ends everything.".into());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_with_the_ports_of_janus() {
        let demo = plan(&cli::Demo { port: 8088, ..cli::Demo::default() }).unwrap();
        assert_eq!(demo.config.http.listen, ["127.0.0.1:8088".parse().unwrap()]);
        assert_eq!(demo.config.websocket.listen, ["127.0.0.1:8188".parse().unwrap()]);
        assert!(demo.config.http.listen_tls.is_empty());
        let registrar = demo.registrar.unwrap();
        let own = &demo.config.sip.listen[0].address;
        assert!(registrar.listen.port() != own.port() && own.port() != 5060);
        assert_ne!(registrar.users[0].1, registrar.users[1].1, "a secret each");
        assert!(demo.greeting.contains("http://127.0.0.1:8088/demo/"), "{}", demo.greeting);
        crate::config::check::check(&demo.config, std::path::Path::new("demo")).unwrap();
    }

    #[test]
    fn an_account_of_its_own() {
        let options = cli::Demo {
            port: 8088,
            account: Some("sip:carol@example.com".into()),
            password: Some("secret".into()),
            ..cli::Demo::default()
        };
        let sip = real_account(&options, "sip:carol@example.com").unwrap();
        assert_eq!(sip["registrar"], "sip:example.com");
        assert_eq!(sip["accounts"][0]["user"], "carol");
        assert!(real_account(&options, "carol").is_err());
        let options = cli::Demo { registrar: Some("sip:192.0.2.1:5080".into()), ..options };
        assert_eq!(real_account(&options, "carol@example.com").unwrap()["registrar"], "sip:192.0.2.1:5080");
    }

    #[test]
    fn ports_that_do_not_fit() {
        assert!(plan(&cli::Demo { port: 65_500, ..cli::Demo::default() }).is_err());
    }
}
