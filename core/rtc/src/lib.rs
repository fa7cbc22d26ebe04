//! One leg's protocols, sans-IO: ICE, DTLS, SRTP, RTP stream state.
