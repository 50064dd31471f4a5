//! The real server over real sockets, and clients we did not write.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod bench;
mod cli;
mod clients;
#[path = "../conformance/mod.rs"]
mod conformance;
mod connect;
mod connect_client;
mod cut;
mod deadline;
mod docs;
mod errors;
mod frames;
mod harness;
mod hostile;
mod http2;
mod library;
mod listing;
mod metadata;
mod older;
mod parity;
mod photo;
mod process;
mod raw;
mod resilience;
mod rest;
mod rest_json;
mod tls;
mod tls_client;
mod truncated;
mod wires;
