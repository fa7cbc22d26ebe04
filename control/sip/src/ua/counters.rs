//! What the user agent counts.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of the user agent since its start.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// All, by name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}
counters! {
    /// Requests and answers that could not be parsed.
    malformed,
    /// Answers and ACKs that fit nothing we know.
    unmatched,
    /// Requests outside a dialog from addresses that may not send any (403).
    refused_source,
    /// Requests outside a dialog for nobody we know (404).
    refused_user,
    /// Accounts looked at to find whom requests outside a dialog are for.
    accounts_compared,
    /// Requests in a dialog that does not exist (481).
    refused_dialog,
    /// Challenges of others than the account's registrar or proxy, not answered.
    refused_challenges,
    /// Requests of ours that `bifrons-sip` did not do.
    refused_by_sip,
    /// Limits hit (503, 486 or an error to the application).
    limits,
    /// Calls that were made or received.
    calls,
    /// REGISTER requests sent.
    registers,
}
