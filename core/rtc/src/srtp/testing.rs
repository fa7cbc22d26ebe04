//! Helpers of the tests.

/// Bytes from hexadecimal digits.
pub fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2));
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// An RTP packet with `payload_len` bytes of payload.
pub fn rtp(ssrc: u32, sequence_number: u16, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend(160u32.wrapping_mul(sequence_number.into()).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload_len).map(|i| (i * 7) as u8 ^ sequence_number as u8));
    packet
}

/// A receiver report without blocks.
pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}
