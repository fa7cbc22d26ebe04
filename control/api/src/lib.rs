//! The Janus API: sessions, handles, transactions, JSEP, errors; the Plugin trait.
