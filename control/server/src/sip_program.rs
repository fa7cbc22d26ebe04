//! Where the `bifrons-sip` program is.

use std::path::PathBuf;

use crate::config::Config;

/// The configured program, else the one beside this program.
///
/// # Errors
/// There is no such file; the text says where it was looked for.
pub fn find(config: &Config) -> Result<PathBuf, String> {
    let path = match &config.sip.program {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .map_err(|error| format!("the folder of this program is not known: {error}"))?
            .with_file_name("bifrons-sip"),
    };
    if path.is_file() { Ok(path) } else { Err(format!("{} does not exist", path.display())) }
}
