/// Counters of the user agent since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests and answers that could not be parsed.
    pub malformed: u64,
    /// Answers and ACKs that fit nothing we know.
    pub unmatched: u64,
    /// Requests outside a dialog from addresses that may not send any (403).
    pub refused_source: u64,
    /// Requests outside a dialog for nobody we know (404).
    pub refused_user: u64,
    /// Accounts looked at to find whom requests outside a dialog are for.
    pub accounts_compared: u64,
    /// Requests in a dialog that does not exist (481).
    pub refused_dialog: u64,
    /// Challenges of others than the account's registrar or proxy, not answered.
    pub refused_challenges: u64,
    /// Requests of ours that `bifrons-sip` did not do.
    pub refused_by_sip: u64,
    /// Limits hit (503, 486 or an error to the application).
    pub limits: u64,
    /// Calls that were made or received.
    pub calls: u64,
    /// REGISTER requests sent.
    pub registers: u64,
}
