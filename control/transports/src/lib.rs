//! HTTP(S) and WebSocket(S) to the JSON API, on one thread.
//!
//! A server program makes the core and the engine, and then only wires:
//!
//! ```no_run
//! # use std::time::Instant;
//! # use bifrons_transports::*;
//! # async fn run(api: bifrons_api::Api, media: Box<dyn bifrons_engine::Media>, wakers: Wakers) {
//! // In a current-thread runtime, within a LocalSet. `wakers` was made before the plugins, which have
//! // `wakers.plugin(index)`. The engine's `notice_handle()` goes to `Gateway::watch_notices`.
//! let gateway = Gateway::new(api, media, wakers, Instant::now(), 256);
//! let listen = "127.0.0.1:8088".parse().unwrap();
//! let bound = bind(&[Endpoint { protocol: Protocol::Http, listen, tls: None }]).await.unwrap();
//! let (stop, stopped) = tokio::sync::watch::channel(false);
//! let loop_of_control = gateway.clone();
//! tokio::task::spawn_local(async move { loop_of_control.run(None).await });
//! let counters = bound.serve(gateway.clone(), Settings::default(), stopped).await;
//! # drop((stop, counters));
//! # }
//! ```
//!
//! | module | gives |
//! | --- | --- |
//! | [`Gateway`] | the control thread's state; [`Gateway::with`] calls the core |
//! | [`Wakers`] | other threads' way to it |
//! | [`bind`], [`Bound::serve`] | endpoints |
//! | [`Settings`], [`TransportLimits`], [`access`] | what is allowed |
//! | [`Certificates`] | TLS, exchanged without dropping a connection |
#![forbid(unsafe_code)]

pub mod access;

mod config;
mod gateway;
mod http;
mod hub;
mod listener;
mod static_files;
mod tls;
mod wakers;
mod websocket;

pub use config::{Endpoint, Protocol, Settings, TransportLimits};
pub use gateway::Gateway;
pub use hub::HubCounters;
pub use listener::{BindError, Bound, TransportCounters, bind};
pub use static_files::StaticFiles;
pub use tls::{CertificateError, Certificates};
pub use wakers::Wakers;
