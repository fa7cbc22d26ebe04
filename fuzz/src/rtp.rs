//! RTP: views, edits in place, retransmission, telephone events.

use bifrons_wire::rtp::{
    AbsSendTime, AudioLevel, ExtensionMap, Header, Packet, TelephoneEvent, edit_extensions, mid, rtx_unwrap,
    rtx_wrap, set_identity, transport_sequence,
};

/// Room before the packet, as the engine's buffers have it.
const HEADROOM: usize = 96;

/// A decrypted datagram.
pub fn rtp(data: &[u8]) {
    let _ = TelephoneEvent::parse(data);
    let Ok(packet) = Packet::parse(data) else { return };
    assert_eq!(Header::parse(data), Ok(*packet.header()));
    assert_eq!(packet.payload_range().end + packet.padding_len(), data.len());
    assert_eq!(packet.csrcs().count(), usize::from(packet.header().csrc_count));
    for extension in packet.extensions() {
        let _ = (AudioLevel::parse(extension.value), AbsSendTime::parse(extension.value));
        let _ = (mid(extension.value), transport_sequence(extension.value));
        assert!(packet.extension(extension.id).is_some());
    }
    fields(data);
    edits(data, &packet);
    retransmission(data, &packet);
}

fn fields(data: &[u8]) {
    let mut copy = data.to_vec();
    let Ok(mut packet) = Packet::parse(&mut copy[..]) else { panic!("parsed before") };
    packet.set_sequence(1);
    packet.set_timestamp(2);
    packet.set_ssrc(3);
    packet.set_payload_type(4);
    let mut other = data.to_vec();
    assert!(set_identity(&mut other, 4, 1, 2, 3));
    assert_eq!(packet.bytes(), other);
    packet.set_marker(true);
    packet.payload_mut().fill(5);
    let header = *packet.header();
    assert_eq!(Header::parse(&copy), Ok(header));
}

fn edits(data: &[u8], packet: &Packet<&[u8]>) {
    let mut buffer = vec![0; HEADROOM];
    buffer.extend(data);
    let at = HEADROOM..buffer.len();
    // The packet's own first bytes decide what is changed.
    let value = &data[..usize::from(data[3] % 20).min(data.len())];
    let set = [(data[2] % 18, value), (14, &b"audio"[..])];
    for map in [ExtensionMap::KEEP, ExtensionMap::DROP, ExtensionMap::KEEP.map(1, 3).map(2, 0)] {
        let mut buffer = buffer.clone();
        let Ok(edited) = edit_extensions(&mut buffer, at.clone(), packet.header(), &map, &set) else {
            continue;
        };
        let Ok(edited) = Packet::at(&buffer, edited) else { panic!("an edited packet is one") };
        assert_eq!(edited.payload(), packet.payload());
        assert!(edited.csrcs().eq(packet.csrcs()));
        assert_eq!(edited.header().ssrc, packet.header().ssrc);
        let last = if set[0].0 == 14 { value } else { b"audio" };
        assert_eq!(edited.extension(14), Some(last));
    }
}

fn retransmission(data: &[u8], packet: &Packet<&[u8]>) {
    let mut buffer = vec![0; HEADROOM];
    buffer.extend(data);
    let at = HEADROOM..buffer.len();
    let _ = rtx_unwrap(&mut buffer.clone(), at.clone(), 96, 1);
    let Ok(wrapped) = rtx_wrap(&mut buffer, at, 97, 2, 3) else { panic!("there is room") };
    let (pt, ssrc) = (packet.header().payload_type, packet.header().ssrc);
    let Ok(back) = rtx_unwrap(&mut buffer, wrapped, pt, ssrc) else { panic!("wrapped by us") };
    let Ok(back) = Packet::at(&buffer, back) else { panic!("an unwrapped packet is one") };
    assert_eq!(back.payload(), packet.payload());
    assert_eq!(back.header().sequence, packet.header().sequence);
}
