//! The configuration of the gateway: one TOML file, every key with a default, every mistake an
//! error that names file, key and reason.
//!
//! | module | gives |
//! | --- | --- |
//! | [`schema`] | the keys, their meaning and defaults |
//! | [`check`] | what cannot be said in a type: ranges, pairs, addresses that exclude each other |
//! | [`jcfg`] | the libconfig files of Janus as a tree of text |
//! | [`janus`] | an existing Janus configuration folder as ours |

pub mod check;
pub mod janus;
pub mod jcfg;
pub mod schema;

use std::fmt;
use std::path::{Path, PathBuf};

pub use schema::Config;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file that holds the mistake.
    pub file: PathBuf,
    /// The key, as `section.key`; empty where the file as a whole cannot be read.
    pub key: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl ConfigError {
    /// An error about a key.
    pub fn new(file: &Path, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), key: key.into(), reason: reason.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.file.display(), self.reason),
            key => write!(f, "{}: {key}: {}", self.file.display(), self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads and checks a TOML file.
///
/// # Errors
/// The file cannot be read, is not TOML, has an unknown key, a value of the wrong type, or one that
/// [`check`] refuses.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| ConfigError::new(file, "", format!("cannot be read: {error}")))?;
    let config = parse(&text, file)?;
    check::check(&config, file)?;
    Ok(config)
}

/// Parses TOML text; `file` is only named in errors.
///
/// # Errors
/// As [`load`], without the checks.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let (line, key) = error.span().map_or((0, String::new()), |span| locate(text, span.start));
        let message = error.message();
        let reason = if line > 0 { format!("line {line}: {message}") } else { message.to_owned() };
        ConfigError::new(file, key, reason)
    })
}

/// Line number of a byte offset and the key that stands there, as `section.key`.
fn locate(text: &str, offset: usize) -> (usize, String) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let section = before.lines().rev().find_map(|line| {
        line.trim().strip_prefix('[')?.split(']').next().map(|name| name.trim_matches('[').to_owned())
    });
    let this = text.lines().nth(line - 1).unwrap_or("");
    let key = this.split('=').next().unwrap_or("").trim();
    let key = if this.contains('=') { key } else { "" };
    match section {
        Some(section) if !key.is_empty() => (line, format!("{section}.{key}")),
        Some(section) => (line, section),
        None => (line, key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, Path::new("bifrons.toml"))
            .and_then(|config| check::check(&config, Path::new("bifrons.toml")))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn nothing_is_a_configuration() {
        let config = parse("", Path::new("x")).unwrap();
        assert_eq!(config, Config::default());
        check::check(&config, Path::new("x")).unwrap();
    }

    #[test]
    fn an_error_names_file_key_and_reason() {
        let text = error("[http]\nenabled = true\nbase_pth = \"/x\"\n");
        assert!(text.starts_with("bifrons.toml: http.base_pth: line 3: unknown field `base_pth`"), "{text}");
        let text = error("[server]\nsession_timeout_s = \"soon\"\n");
        assert!(text.starts_with("bifrons.toml: server.session_timeout_s: line 2: invalid type"), "{text}");
        let text = error("[media]\nrtp_port_range = \"9-\"\n");
        assert!(text.contains("media.rtp_port_range") && text.contains("first-last"), "{text}");
        let text = error("[http\n");
        assert!(text.starts_with("bifrons.toml: ") && text.contains("line 1"), "{text}");
    }

    #[test]
    fn the_sample_is_complete_and_says_the_defaults() {
        let sample = include_str!("../../bifrons.sample.toml");
        let config = parse(sample, Path::new("bifrons.sample.toml")).unwrap();
        assert_eq!(config, Config::default(), "an active line of the sample is not the default");
        // Every key of the schema stands in the sample, commented out where it has no default.
        let all = toml::Value::try_from(Config::with_every_key()).unwrap();
        for (section, keys) in all.as_table().unwrap() {
            assert!(sample.contains(&format!("[{section}]")), "section {section} is missing");
            for key in keys.as_table().into_iter().flat_map(|table| table.keys()) {
                let there = sample.lines().any(|line| {
                    let line = line.trim_start_matches(['#', ' ']);
                    line.strip_prefix(key.as_str()).is_some_and(|rest| rest.trim_start().starts_with('='))
                });
                assert!(there, "{section}.{key} is missing in the sample");
            }
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let config = Config::with_every_key();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text, Path::new("x")).unwrap(), config);
    }
}
