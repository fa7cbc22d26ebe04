//! The SIP user agent: messages, dialogs, registrations, digest, as plain data.
