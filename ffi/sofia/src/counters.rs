//! The program's own counters.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Since the start of the process.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $name: u64,)* }

        impl Counters {
            /// Names and values.
            pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}
counters! {
    /// Requests given to control.
    requests_received,
    /// Requests of control sent, ACK and CANCEL included.
    requests_sent,
    /// Answers given to control.
    responses_received,
    /// Answers that the stack made itself, given to control.
    responses_internal,
    /// Answers of control sent.
    responses_sent,
    /// Final answers without a transaction, given to control.
    stray_responses,
    /// ACKs that matched nothing.
    stray_acks,
    /// Requests answered 503 because control is behind.
    refused_queue,
    /// Requests answered 503 because too many transactions live.
    refused_limit,
    /// Requests answered 503 while draining.
    refused_drain,
    /// Requests over connections answered 400 or 413 for their multipart body.
    refused_multipart,
    /// Requests of which control could not be told because they are too large, answered 413.
    refused_size,
    /// Requests from blocked sources over connections; these were closed.
    refused_source,
    /// Connections closed because there are too many, in all or from one source.
    refused_flows,
    /// Messages for control that were lost because it is far behind.
    queue_lost,
    /// Traces that were lost because control is behind.
    traces_lost,
    /// Messages of control of another generation.
    generation_dropped,
    /// Messages of control that were refused.
    messages_refused,
    /// Server transactions that control did not answer in time.
    unanswered,
}
