//! The suite's service behind the product's own wires and guard.

mod service;

use std::sync::Arc;

use tonic::codec::CompressionEncoding::{Deflate, Gzip, Zstd};
use tower::service_fn;
use wirephoto::guard::{self, Access, Answers, Origins, Policy};
use wirephoto::wire::{Limits, Wires};

use proto::conformance_service_server::ConformanceServiceServer;
use wirephoto::wire::method::Method;

/// What the wires serve.
static TABLES: &[&[Method]] = &[proto::table::CONFORMANCE_SERVICE];

/// What build.rs made of the suite's proto.
#[allow(clippy::all, dead_code)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/tests/connectrpc.conformance.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/tests/connectrpc.conformance.v1.serde.rs"));
    pub mod table {
        include!(concat!(env!("OUT_DIR"), "/tests/connectrpc.conformance.v1.table.rs"));
    }
}

/// Every wire in front of the service.
pub fn wires(limits: Limits) -> impl Answers {
    let service = ConformanceServiceServer::new(service::Conformance)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .accept_compressed(Deflate)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
        .send_compressed(Deflate)
        .max_decoding_message_size(limits.message);
    let routes = tonic::service::Routes::new(service).prepare().into_axum_router();
    let wires = Arc::new(Wires::new(Arc::new(routes), TABLES, limits).unwrap());
    let all = service_fn(move |request| {
        let wires = Arc::clone(&wires);
        async move { Ok(wires.call(guard::spoken(&request), request).await) }
    });
    let policy = Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Write };
    guard::around(all, policy, TABLES)
}
