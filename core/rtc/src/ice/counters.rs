/// What an agent has seen and done. Every reason to drop a packet has its own counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests answered with success.
    pub requests_answered: u64,
    /// Requests answered with 400: both role attributes.
    pub requests_bad: u64,
    /// Requests answered with 420.
    pub requests_unknown_attribute: u64,
    /// Requests answered with 487.
    pub requests_role_conflict: u64,
    /// Requests without USERNAME or MESSAGE-INTEGRITY.
    pub requests_unsigned: u64,
    /// Requests for a ufrag that is not, or no longer, ours.
    pub requests_unknown_username: u64,
    /// Requests with a wrong MESSAGE-INTEGRITY.
    pub requests_wrong_integrity: u64,
    /// Binding indications: keepalives, nothing to do.
    pub indications: u64,
    /// Messages with a wrong FINGERPRINT.
    pub wrong_fingerprint: u64,
    /// Messages of another method, on an unknown socket, or with an attribute that cannot be.
    pub malformed: u64,
    /// Success responses to our checks.
    pub responses_accepted: u64,
    /// Responses to no check in flight: late, repeated or invented.
    pub responses_unknown: u64,
    /// Responses without the right MESSAGE-INTEGRITY.
    pub responses_wrong_integrity: u64,
    /// Responses that came from elsewhere, or to another socket, than the check went.
    pub responses_wrong_address: u64,
    /// 487 to our checks.
    pub responses_role_conflict: u64,
    /// Other error responses to our checks.
    pub responses_error: u64,
    /// Checks begun, without retransmissions.
    pub checks_sent: u64,
    /// Retransmissions of checks.
    pub checks_retransmitted: u64,
    /// Checks that nobody answered.
    pub checks_timed_out: u64,
    /// Consent checks sent (RFC 7675).
    pub consent_sent: u64,
    /// Consent checks not answered before the next.
    pub consent_missed: u64,
    /// Nominating checks begun as controlling agent.
    pub nominations_sent: u64,
    /// Changes of the selected pair, the first included.
    pub selections: u64,
    /// Remote candidates refused, whatever the reason.
    pub candidates_ignored: u64,
    /// Sources not learned as peer-reflexive candidates: policy or bound.
    pub sources_not_learned: u64,
    /// Pairs dropped or not made because of the bound.
    pub pairs_refused: u64,
    /// ICE restarts of our side.
    pub restarts: u64,
}
