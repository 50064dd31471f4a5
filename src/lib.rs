//! Wirephoto: an image server that speaks every wire from one proto.
//!
//! Modules depend downwards only:
//!
//! ```text
//! main -> cmd -> {server, bench -> client, client}
//! server -> {guard, wire, raw, service, page, net} -> image -> store -> io
//! ```
//!
//! `io` is for whoever moves bytes. `wire` never names `image`; below `service` and `raw` there is no HTTP and no RPC. A
//! test reads the imports and holds them to this.

pub mod bench;
pub mod cli;
pub mod client;
pub mod cmd;
pub mod config;
pub mod error;
pub mod guard;
pub mod image;
mod io;
pub mod net;
mod page;
pub mod proto;
pub mod raw;
pub mod server;
pub mod service;
pub mod silence;
pub mod store;
pub mod well_known;
pub mod wire;
