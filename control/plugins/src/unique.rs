//! `unique_id` of handles.

/// A random UUID (RFC 9562 §5.4).
pub fn unique_id() -> String {
    let mut bytes = [0_u8; 16];
    // Names a handle for logs and event handlers; nothing is protected by it.
    let _ = getrandom::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn has_the_shape_of_a_uuid() {
        let id = super::unique_id();
        assert_eq!((id.len(), id.as_bytes()[14], id.matches('-').count()), (36, b'4', 4));
        assert_ne!(id, super::unique_id());
    }
}
