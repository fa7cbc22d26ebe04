//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Bifrons, a WebRTC⇄SIP media gateway that speaks the Janus JSON API.
///
/// Without a command the gateway runs in the foreground: SIGTERM or Ctrl-C drains it, a second one
/// ends it, SIGHUP reads the certificates again.
#[derive(Debug, Parser)]
#[command(name = "bifrons", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running the gateway.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run it.
    #[command(flatten)]
    pub run: Source,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct Source {
    /// Configuration file (TOML); without one the defaults apply.
    #[arg(long, short, value_name = "FILE", conflicts_with = "janus_config")]
    pub config: Option<PathBuf>,
    /// Run from the .jcfg files of an existing Janus.
    #[arg(long, value_name = "DIR")]
    pub janus_config: Option<PathBuf>,
}

/// Commands beside running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks a configuration file; names file, key and reason of the first mistake.
    CheckConfig {
        /// The TOML file.
        file: PathBuf,
    },
    /// Prints the .jcfg files of an existing Janus as one TOML file.
    ConvertConfig {
        /// The folder with janus.jcfg.
        folder: PathBuf,
    },
    /// Prints what the kernel grants, and the line that mends each shortfall.
    Doctor {
        /// Which configuration to examine for.
        #[command(flatten)]
        source: Source,
    },
    /// Runs the gateway with an embedded SIP registrar, an echo phone and a demo page.
    Demo(Demo),
}

/// Options of the demo.
#[derive(Clone, Debug, Default, Args)]
pub struct Demo {
    /// Listen on the LAN address with HTTPS and WSS (a certificate is made), for a phone.
    #[arg(long)]
    pub lan: bool,
    /// The LAN address; without it that of the default route.
    #[arg(long, value_name = "IP", requires = "lan")]
    pub lan_address: Option<IpAddr>,
    /// Register at a real registrar: account, as in sip:alice@example.com.
    #[arg(long, value_name = "URI", requires = "password")]
    pub account: Option<String>,
    /// Password of the account.
    #[arg(long, value_name = "TEXT", requires = "account")]
    pub password: Option<String>,
    /// Registrar of the account; without it the account's domain.
    #[arg(long, value_name = "URI", requires = "account")]
    pub registrar: Option<String>,
    /// First port: HTTP here, WebSocket at port + 100, as Janus has 8088 and 8188.
    #[arg(long, value_name = "PORT", default_value_t = 8088)]
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["bifrons", "--config", "a.toml"]);
        assert_eq!(cli.run.config, Some("a.toml".into()));
        assert!(Cli::try_parse_from(["bifrons", "--config", "a", "--janus-config", "b"]).is_err());
        assert!(Cli::try_parse_from(["bifrons", "demo", "--account", "sip:a@b"]).is_err(), "no password");
    }
}
