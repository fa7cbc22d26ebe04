//! RFC 4475: the torture messages. The valid ones are read, the invalid ones give an error that names the header.

use bifrons_sip_ua::message::{Message, Method, ParseError, RAck, Reason, SessionExpires, StartLine};

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/rfc4475/{name}.dat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Parses everything that the user agent may ask for.
fn read_all(bytes: &[u8]) -> Result<Message, ParseError> {
    let message = Message::parse(bytes)?;
    message.contacts()?;
    for name in ["Route", "Record-Route", "Path", "Service-Route"] {
        message.addresses(name)?;
    }
    for name in ["Refer-To", "Referred-By"] {
        message.address(name)?;
    }
    for name in ["WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Proxy-Authorization"] {
        message.auth(name)?;
    }
    for name in ["Expires", "Min-Expires", "Retry-After", "Max-Forwards", "RSeq"] {
        message.number(name)?;
    }
    message.typed("Reason", Reason::parse)?;
    message.typed("RAck", RAck::parse)?;
    message.typed("Session-Expires", SessionExpires::parse)?;
    Ok(message)
}

#[test]
fn valid_messages_are_read() {
    let names = [
        "wsinv",
        "intmeth",
        "esc01",
        "escnull",
        "esc02",
        "lwsdisp",
        "longreq",
        "dblreq",
        "semiuri",
        "transports",
        "mpart01",
        "unreason",
        "noreason",  // §3.1.1
        "badbranch", // §3.2.1 is about the transaction layer
        "unkscm",
        "novelsc",
        "unksm2",
        "bext01",
        "invut",
        "regaut01",
        "sdp01",
        "bcast",
        "zeromf",
        "cparam01",
        "cparam02",
        "regescrt", // §3.3
        "inv2543",  // §3.4
        "baddate",  // §3.1.2.12: a Date that nobody needs is left alone
    ];
    for name in names {
        let message = read_all(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = read_all(&message.to_bytes()).unwrap_or_else(|error| panic!("{name} again: {error}"));
        assert_eq!(
            (&message.start, &message.from, &message.to, &message.via),
            (&again.start, &again.from, &again.to, &again.via),
            "{name}"
        );
        assert_eq!(
            (message.cseq, message.call_id, message.body),
            (again.cseq, again.call_id, again.body),
            "{name}"
        );
    }
}

#[test]
fn invalid_messages_are_refused_by_header() {
    let cases = [
        ("badinv01", "Via"),
        ("clerr", "Content-Length"),
        ("ncl", "Content-Length"),
        ("scalar02", "CSeq"),
        ("scalarlg", "CSeq"),
        ("quotbal", "To"),
        ("ltgtruri", "Request-URI"),
        ("lwsruri", "start line"),
        ("lwsstart", "start line"),
        ("trws", "start line"),
        ("escruri", "Request-URI"),
        ("regbadct", "Contact"),
        ("badaspec", "To"),
        ("baddn", "From"),
        ("badvers", "start line"),
        ("mismatch01", "CSeq"),
        ("mismatch02", "CSeq"),
        ("bigcode", "start line"),
        ("insuf", "From"),
        ("multi01", "From"),
        ("mcl01", "Content-Length"),
        ("test", "start line"),
    ];
    for (name, header) in cases {
        match read_all(&bytes(name)) {
            Err(error) => assert_eq!(error.header, header, "{name}: {error}"),
            Ok(message) => panic!("{name} was read: {message:?}"),
        }
    }
}

#[test]
fn folded_and_escaped_content_is_right() {
    let message = read_all(&bytes("wsinv")).expect("wsinv");
    assert_eq!(message.to.tag(), Some("1918181833n"));
    assert_eq!(message.from.display.as_deref(), Some(r#""J Rosenberg \\\"""#));
    assert_eq!((message.cseq.number, message.via.len()), (9, 3));
    assert_eq!(message.number("Max-Forwards"), Ok(Some(68)));
    assert_eq!(message.header("NewFangledHeader"), Some("newfangled value continued newfangled value"));
    let contact = &message.contacts().expect("contacts")[0];
    assert_eq!(contact.params.get("secondparam"), Some(""));
    assert_eq!(message.body.len(), 150);

    let message = read_all(&bytes("esc01")).expect("esc01");
    assert_eq!(message.request_uri().and_then(|uri| uri.user()).as_deref(), Some("sips:user@example.com"));

    let message = read_all(&bytes("dblreq")).expect("dblreq");
    assert_eq!((message.cseq.method, message.body.len()), (Method::Register, 0));

    let message = read_all(&bytes("noreason")).expect("noreason");
    assert_eq!(message.start, StartLine::Response { status: 100, reason: String::new() });
}
