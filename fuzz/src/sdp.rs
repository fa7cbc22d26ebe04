//! SDP: parsing, exact writing, typed attributes, edits.

use bifrons_wire::sdp::{
    Attribute, Candidate, Crypto, Direction, Extmap, Fingerprint, Fmtp, Group, Msid, Rid, Rtcp, RtcpFb,
    Rtpmap, Sdp, Section, Setup, Simulcast, Ssrc, SsrcGroup,
};

/// An SDP from a browser or a telephone.
pub fn sdp(data: &[u8]) {
    let sdp = match Sdp::parse_bytes(data) {
        Ok(sdp) => sdp,
        Err(error) => {
            assert!(error.to_string().len() < 1200, "an error quotes little");
            return;
        }
    };
    let text = sdp.to_string();
    // Bytes that are not UTF-8 become three; a line end becomes two, an m-line's port is written anew.
    assert!(text.len() <= 4 * data.len() + 64);
    if text.len() <= bifrons_wire::sdp::SDP_LEN_MAX
        && let Ok(again) = Sdp::parse(&text)
    {
        assert_eq!(again, sdp);
        assert_eq!(again.to_string(), text);
    }
    let _ = (sdp.origin(), sdp.session_name(), format!("{sdp:?}").len());
    read(&sdp.session);
    for media in &sdp.media {
        read(&media.section);
        let _ = (sdp.connection(media), sdp.direction(media), sdp.get::<Setup>(media));
        for payload_type in media.payload_types() {
            assert!(payload_type < 128);
            let _ = (media.rtpmap(payload_type), media.fmtp(payload_type), media.rtcp_fb(payload_type));
        }
    }
    edit(sdp);
}

fn read(section: &Section) {
    round_trip::<Candidate>(section);
    round_trip::<Crypto>(section);
    round_trip::<Extmap>(section);
    round_trip::<Fingerprint>(section);
    round_trip::<Fmtp>(section);
    round_trip::<Group>(section);
    round_trip::<Msid>(section);
    round_trip::<Rid>(section);
    round_trip::<Rtcp>(section);
    round_trip::<RtcpFb>(section);
    round_trip::<Rtpmap>(section);
    round_trip::<Setup>(section);
    round_trip::<Simulcast>(section);
    round_trip::<Ssrc>(section);
    round_trip::<SsrcGroup>(section);
    for bandwidth in section.bandwidths() {
        assert_eq!(bandwidth.to_string().parse(), Ok(bandwidth));
    }
    if let Some(connection) = section.connection() {
        assert_eq!(connection.to_string().parse(), Ok(connection));
    }
    let _ = (section.direction(), section.mid(), section.ice_credentials(), section.number("ptime"));
    let _ = section.has_ice_option("trickle");
}

/// What a typed attribute writes, it reads back as itself.
fn round_trip<T: Attribute>(section: &Section) {
    for value in section.valid::<T>() {
        let text = value.to_string();
        match T::from_value(&text) {
            Ok(again) => assert_eq!(again.to_string(), text),
            Err(error) => panic!("{error}: {text}"),
        }
    }
}

fn edit(mut sdp: Sdp) {
    for section in sdp.sections_mut() {
        section.remove_attributes(&["candidate", "crypto", "ice-ufrag", "ice-pwd"]);
        assert!(!section.has("crypto") && !section.has("candidate"));
        section.set_attribute("mid", Some("x\r\na=injected"));
        assert_eq!(section.values("mid").count(), 1);
        section.set_direction(Direction::Inactive);
        assert_eq!(section.direction(), Some(Direction::Inactive));
        assert!(!section.has("injected"));
    }
    for media in &mut sdp.media {
        let before = media.payload_types();
        media.renumber_payload_types(|payload_type| payload_type ^ 1);
        let after: Vec<u8> = before.iter().map(|payload_type| payload_type ^ 1).collect();
        assert_eq!(media.payload_types(), after);
        media.remove_payload_types(|payload_type| payload_type % 2 == 0);
        assert!(media.payload_types().iter().all(|payload_type| payload_type % 2 == 1));
        media.set_payload_types(&[0, 8]);
        assert_eq!(media.payload_types(), [0, 8]);
    }
}
