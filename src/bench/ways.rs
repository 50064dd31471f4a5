//! The ways to fetch an image that are measured, as data.

use serde::{Deserialize, Serialize};

/// A way to fetch an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// HTTP/1.1, a new connection for each request.
    H1New,
    /// HTTP/1.1 over kept connections.
    H1Pool,
    /// HTTP/2, one connection.
    H2,
    /// gRPC, a new channel for each call.
    GrpcNew,
    /// gRPC, one channel with the windows the protocol begins with.
    #[serde(rename = "grpc-64k")]
    Grpc64k,
    /// gRPC, one channel as the library makes it.
    GrpcDefault,
    /// gRPC, one channel with large windows and frames.
    GrpcTuned,
    /// gRPC, a pool of such channels.
    GrpcPool,
    /// gRPC, every image over one bidirectional stream.
    GrpcBidi,
    /// gRPC, the whole image in one message.
    GrpcUnary,
    /// gRPC-Web over kept HTTP/1.1 connections.
    GrpcWeb,
    /// Connect over kept HTTP/1.1 connections.
    Connect,
    /// JSON with base64 inside, over kept HTTP/1.1 connections.
    Json,
}

/// Channels of [`Way::GrpcPool`].
pub(super) const POOL: usize = 4;

impl Way {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 13] = [
        Self::H1New,
        Self::H1Pool,
        Self::H2,
        Self::GrpcNew,
        Self::Grpc64k,
        Self::GrpcDefault,
        Self::GrpcTuned,
        Self::GrpcPool,
        Self::GrpcBidi,
        Self::GrpcUnary,
        Self::GrpcWeb,
        Self::Connect,
        Self::Json,
    ];

    /// Its name on the command line and in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Self::H1New => "h1-new",
            Self::H1Pool => "h1-pool",
            Self::H2 => "h2",
            Self::GrpcNew => "grpc-new",
            Self::Grpc64k => "grpc-64k",
            Self::GrpcDefault => "grpc-default",
            Self::GrpcTuned => "grpc-tuned",
            Self::GrpcPool => "grpc-pool",
            Self::GrpcBidi => "grpc-bidi",
            Self::GrpcUnary => "grpc-unary",
            Self::GrpcWeb => "grpc-web",
            Self::Connect => "connect",
            Self::Json => "json",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::H1New => "HTTP/1.1, a new connection each",
            Self::H1Pool => "HTTP/1.1, connections kept",
            Self::H2 => "HTTP/2, one connection, large windows",
            Self::GrpcNew => "gRPC, a new channel each",
            Self::Grpc64k => "gRPC, one channel, 64 KiB windows",
            Self::GrpcDefault => "gRPC, one channel, library defaults",
            Self::GrpcTuned => "gRPC, one channel, tuned",
            Self::GrpcPool => "gRPC, four tuned channels",
            Self::GrpcBidi => "gRPC, one bidirectional stream",
            Self::GrpcUnary => "gRPC, one unary message (benchmark's own endpoint)",
            Self::GrpcWeb => "gRPC-Web, connections kept",
            Self::Connect => "Connect, connections kept",
            Self::Json => "JSON with base64, connections kept",
        }
    }

    /// Whether the benchmark's own endpoint answers it: the product offers no such call.
    pub(super) fn is_endpoints(self) -> bool {
        self == Self::GrpcUnary
    }
}
