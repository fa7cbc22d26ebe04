//! The `bifrons` program.
//!
//! | module | gives |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`config`] | the configuration, and Janus' own as ours |
//! | [`start`] | the configuration in the words of the parts |
//! | [`run`] | the gateway from start to end |
//! | [`sip`], [`sip_process`] | the SIP side and its `bifrons-sip` |
//! | [`log`], [`signals`] | what they say |
//! | [`demo`] | `bifrons demo` |
//! | [`doctor`] | what the kernel granted |
//! | [`net`] | addresses of this machine |
//! | [`sip_program`] | where `bifrons-sip` is |
#![forbid(unsafe_code)]

mod cli;
mod config;
mod counted;
mod demo;
mod doctor;
mod log;
mod net;
mod run;
mod signals;
mod sip;
mod sip_process;
mod sip_program;
mod start;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, Source};
use config::{Config, ConfigError};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::CheckConfig { file }) => check_config(&file),
        Some(Command::ConvertConfig { folder }) => convert_config(&folder),
        Some(Command::Doctor { source }) => examine(&source),
        Some(Command::Demo(options)) => run_demo(&options),
        None => run_gateway(&cli.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bifrons: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn check_config(file: &Path) -> Done {
    config::load(file)?;
    println!("{}: good", file.display());
    Ok(())
}

fn convert_config(folder: &Path) -> Done {
    let converted = config::janus::load(folder)?;
    println!("# From the Janus configuration in {}", folder.display());
    if let Some(warning) = converted.warning() {
        println!("# {warning}");
    }
    print!("{}", toml::to_string(&converted.config)?);
    Ok(())
}

fn examine(source: &Source) -> Done {
    let config = configuration(source)?;
    let findings = doctor::examine(&config);
    findings.iter().for_each(|finding| println!("{finding}"));
    if findings.iter().any(|finding| finding.verdict == doctor::Verdict::Bad) {
        return Err("it cannot run like that".into());
    }
    Ok(())
}

fn run_gateway(source: &Source) -> Done {
    let config = configuration(source)?;
    let file = source.config.clone().or_else(|| source.janus_config.clone());
    let origin = start::Origin { file: file.unwrap_or_else(|| "defaults".into()) };
    log::start(&config, &origin)?;
    Ok(run::run(&config, &origin, None)?)
}

fn run_demo(options: &cli::Demo) -> Done {
    let demo = demo::plan(options)?;
    let origin = start::Origin { file: "demo".into() };
    log::start(&demo.config, &origin)?;
    Ok(run::run(&demo.config, &origin, Some(&demo))?)
}

/// The configuration that the command line names. Janus settings without effect are told on stderr.
fn configuration(source: &Source) -> Result<Config, ConfigError> {
    match (&source.config, &source.janus_config) {
        (Some(file), _) => config::load(file),
        (None, Some(folder)) => {
            let converted = config::janus::load(folder)?;
            if let Some(warning) = converted.warning() {
                eprintln!("bifrons: {warning}");
            }
            Ok(converted.config)
        }
        (None, None) => Ok(Config::default()),
    }
}
