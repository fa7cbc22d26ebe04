//! `bifrons-load`: a load generator for gateways that speak the Janus API, black box: it makes calls
//! as many clients would, sends and receives their media, and looks at the server from outside.
//!
//! | module | gives |
//! | --- | --- |
//! | `calls` | how a call of each scenario is set up |
//! | `janus` | the API over a WebSocket |
//! | `uas` | a phone for SIP calls |
//! | `media` | the thread that sends and receives all packets |
//! | `client`, `codec` | one WebRTC client; what audio it sends |
//! | `place` | many calls: ramps and storms |
//! | `rtpengine`, `bencode`, `sdes` | the same in rtpengine, by its NG protocol |
//! | `engine` | the engine in this process, without a gateway |
//! | `plain` | shared plain sockets; which calls are timed |
//! | `netns` | sockets in the server's network namespace |
//! | `floor` | what the kernel alone takes for a packet |
//! | `proc`, `report` | the server from outside; what a step measured |
//! | `summary`, `plot` | one report from the steps of many servers, with pictures |
#![forbid(unsafe_code)]

mod bencode;
mod calls;
mod client;
mod codec;
mod engine;
mod floor;
mod histogram;
mod janus;
mod media;
mod netns;
mod place;
mod plain;
mod plot;
mod proc;
mod report;
mod rtpengine;
mod run;
mod sdes;
mod sdp;
mod stamp;
mod summary;
mod uas;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes calls through a Janus-compatible server or rtpengine and measures what they cost it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
// The last one counts, so that a plan can say otherwise than its default.
#[command(args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: Option<Load>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a report with tables, ratios and pictures from the JSON lines of runs.
    Report(summary::Report),
}

/// One server, one scenario.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// What a call is.
    #[arg(long)]
    scenario: calls::Scenario,
    /// WebSocket address of the server; rtpengine's NG address in its scenarios; in those of the engine, the
    /// engine's address (the port says nothing).
    #[arg(long, default_value = "127.0.0.1:8188")]
    server: SocketAddr,
    /// Process to be measured, with its children.
    #[arg(long)]
    pid: Option<u32>,
    /// Network namespace of the server, a name of `ip netns`: the floor is measured from there to here, and the
    /// engine's sockets are made there. Default: all are here.
    #[arg(long)]
    server_netns: Option<String>,
    /// Kernel threads that receive for the server: threaded NAPI of its interface. What they use is counted to it.
    #[arg(long, value_delimiter = ',')]
    server_threads: Vec<u32>,
    /// The same of the generator.
    #[arg(long, value_delimiter = ',')]
    own_threads: Vec<u32>,
    /// What the server is called in the report.
    #[arg(long, default_value = "bifrons")]
    label: String,
    /// Numbers of calls to measure at, rising.
    #[arg(long, value_delimiter = ',', default_value = "50,200,1000")]
    calls: Vec<u32>,
    /// Calls set up per second; 0: as fast as `--concurrency` allows.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Calls being set up at once.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Length of a measurement, seconds.
    #[arg(long, default_value_t = 8)]
    window: u64,
    /// Measurements a step; the one during which other programs used least is reported.
    #[arg(long, default_value_t = 1)]
    windows: u32,
    /// After each step's measurement, for so many seconds, sets calls up and ends them as fast as
    /// `--storm-concurrency` allows, and measures those that run.
    #[arg(long, default_value_t = 0)]
    storm: u64,
    /// Calls of a storm being set up or ended at once: so many that the server is never idle.
    #[arg(long, default_value_t = 128)]
    storm_concurrency: usize,
    /// Wait between the last set-up and the measurement, seconds.
    #[arg(long, default_value_t = 3)]
    settle: u64,
    /// SRTP profile that the clients offer.
    #[arg(long, default_value = "gcm")]
    profile: Profile,
    /// Audio codec of the calls.
    #[arg(long, default_value = "pcmu")]
    codec: codec::Codec,
    /// Packets of 1,200 bytes a video frame, sent at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    frame_packets: u32,
    /// Video frames a second; its period is rounded down to whole milliseconds.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    frames_per_s: u32,
    /// The generator's own address.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Handles a session.
    #[arg(long, default_value_t = 50)]
    handles_per_session: u32,
    /// Shared sockets for plain RTP.
    #[arg(long, default_value_t = 8)]
    plain_sockets: usize,
    /// Core of the generator.
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// What moves the generator's own packets.
    #[arg(long, default_value = "uring")]
    driver: DriverName,
    /// Its network interface, for `--driver xdp`.
    #[arg(long)]
    interface: Option<String>,
    /// Another address of that interface, for `--driver xdp`: it does not know when a packet arrived, so calls with
    /// their ends there go through sockets and are timed.
    #[arg(long)]
    timed_address: Option<IpAddr>,
    /// With that address: one call in so many is timed.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    timed_every: u32,
    /// The server's cores: the floor is measured on the first, and the engine of engine scenarios has a worker on each.
    #[arg(long, default_value = "0", value_delimiter = ',')]
    engine_cores: Vec<usize>,
    /// What moves the engine's packets.
    #[arg(long, default_value = "uring")]
    engine_driver: DriverName,
    /// The engine's network interface, for `--engine-driver xdp`.
    #[arg(long)]
    engine_interface: Option<String>,
    /// Ports that all RTP legs of `engine-rtp` share; 0: a port pair each. Needs so many `--plain-sockets` that no two
    /// legs on a port have one peer.
    #[arg(long, default_value_t = 0)]
    shared_ports: u8,
    /// Longest delay that the engine may add, microseconds.
    #[arg(long, default_value_t = 500)]
    engine_coalesce_us: u32,
    /// Appends one JSON line a step to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// Names of drivers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DriverName {
    /// io_uring
    Uring,
    /// recvmmsg, sendmmsg, epoll
    Mmsg,
    /// AF_XDP, with sockets beside it
    Xdp,
}

/// Names of profiles.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    /// AEAD_AES_128_GCM
    Gcm,
    /// AES_CM_128_HMAC_SHA1_80
    Cm,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (&arguments.command, &arguments.load) {
        (Some(Command::Report(report)), _) => report.write(),
        (None, Some(load)) => run::run(load),
        (None, None) => Err("--scenario: which one? See --help".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bifrons-load: {error}");
            ExitCode::FAILURE
        }
    }
}
