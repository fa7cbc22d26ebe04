//! The messages between the control thread and bifrons-sip, versioned.
