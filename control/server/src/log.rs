//! The log: one line an event on standard error, and in a file where one is configured.
//!
//! Libraries are heard from `info` up only, whatever the filter says: below that some of them quote what
//! clients sent (a WebSocket message with its API secret or SIP password).

use std::fs::OpenOptions;
use std::sync::Mutex;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Config, ConfigError};
use crate::start::Origin;

/// Starts the log.
///
/// # Errors
/// The filter makes no sense, or the file cannot be written.
pub fn start(config: &Config, origin: &Origin) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.server.log).map_err(|error| origin.error("server.log", error))?;
    let file = match &config.server.log_file {
        Some(path) => {
            let file =
                OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
                    origin.error("server.log_file", format!("{}: {error}", path.display()))
                })?;
            Some(fmt::layer().with_ansi(false).with_writer(Mutex::new(file)))
        }
        None => None,
    };
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let console = fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let log =
        tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged)).with(console).with(file);
    // Only a second start in one process finds one set; it keeps the first.
    let _ = log.try_init();
    Ok(())
}

/// Our own events at any level, those of libraries from `info` up.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("bifrons") || *metadata.level() <= Level::INFO
}
