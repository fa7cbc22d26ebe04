//! Ethernet frames with UDP in them, as a network device gives them.

use bifrons_wire::frame::{Link, head, parse};

/// Room before a datagram, as in a driver's buffer.
const HEADROOM: usize = 96;

/// A frame; what is read of it is written again and read back.
pub fn frame(data: &[u8]) {
    let Some(parsed) = parse(data, 0, data.len()) else { return };
    let payload = &data[parsed.start..parsed.start + parsed.len];
    let link = Link { destination_mac: [2; 6], source_mac: [4; 6] };
    let mut bytes = [&[0; HEADROOM][..], payload].concat();
    let at = head(&mut bytes, HEADROOM, payload.len(), &link, parsed.source, parsed.destination)
        .expect("it fitted into a frame before");
    assert_eq!(bytes[at..at + 12], [2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4]);
    assert_eq!(&bytes[HEADROOM..], payload);
    let again = parse(&bytes, at, bytes.len() - at).expect("what was written is right");
    assert_eq!((again.start, again.len), (HEADROOM, parsed.len));
    assert_eq!((again.source, again.destination), (parsed.source, parsed.destination));
}
