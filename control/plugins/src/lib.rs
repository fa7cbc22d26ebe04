//! The plugins: echotest, nosip, sip.
