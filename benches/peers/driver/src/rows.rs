//! What is measured against what, and the goals held against it.

use crate::act::{Act, OUR_FRAME};

/// What a row's figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    GigabytesPerSecond,
    KiloRequestsPerSecond,
    Milliseconds,
    Kibibytes,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::GigabytesPerSecond => "GB/s",
            Self::KiloRequestsPerSecond => "k req/s",
            Self::Milliseconds => "ms",
            Self::Kibibytes => "KiB",
        }
    }

    pub fn of(self, figure: f64) -> f64 {
        match self {
            Self::GigabytesPerSecond => figure / 1e9,
            Self::KiloRequestsPerSecond => figure / 1e3,
            Self::Milliseconds => figure * 1e3,
            Self::Kibibytes => figure / 1024.0,
        }
    }

    /// Whether more is better.
    pub fn rises(self) -> bool {
        matches!(self, Self::GigabytesPerSecond | Self::KiloRequestsPerSecond)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// Unique within its row.
    pub label: &'static str,
    pub server: &'static str,
    pub act: Act,
}

pub struct Row {
    pub key: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub contenders: Vec<Contender>,
}

const fn by(label: &'static str, server: &'static str, act: Act) -> Contender {
    Contender { label, server, act }
}

pub const NGINX: &str = "nginx";
pub const OURS: &str = "wirephoto";
const GRPC_PEERS: [&str; 7] =
    ["grpc++ zero-copy", "grpc++", "grpc-go tuned", "grpc-go", "tonic", "connectrpc segments", "connectrpc"];

pub fn rows(tls: bool) -> Vec<Row> {
    let each = |first: &[Contender], peers: &[&'static str], act| {
        let peers = if tls { &[] } else { peers };
        first.iter().copied().chain(peers.iter().map(|peer| by(peer, peer, act))).collect::<Vec<_>>()
    };
    let speed = Unit::GigabytesPerSecond;
    let nginx = by(NGINX, NGINX, Act::Http1);
    let grpc = |key, title, frame, also: &[Contender]| {
        let mut first = vec![nginx, by(OURS, OURS, Act::Grpc(frame))];
        first.extend(also);
        Row { key, title, unit: speed, contenders: each(&first, &GRPC_PEERS, Act::Grpc(frame)) }
    };
    let get = if tls { vec![] } else { vec![by("wirephoto get", OURS, Act::Get)] };
    let mut rows = vec![
        Row {
            key: "http1",
            title: "GET /i, one connection",
            unit: speed,
            contenders: vec![nginx, by(OURS, OURS, Act::Http1)],
        },
        Row {
            key: "burst",
            title: "GET /i, burst of five on new connections: makespan",
            unit: Unit::Milliseconds,
            contenders: vec![by(NGINX, NGINX, Act::Burst), by(OURS, OURS, Act::Burst)],
        },
        grpc("grpc-16k", "gRPC stream, frames of 16 KiB", 16 << 10, &[]),
        grpc("grpc-1m", "gRPC stream, frames of 1 MiB (our client's)", OUR_FRAME, &get),
        Row {
            key: "web",
            title: "gRPC-Web stream over HTTP/1.1",
            unit: speed,
            contenders: each(&[nginx, by(OURS, OURS, Act::Web)], &["connectrpc segments", "connectrpc"], Act::Web),
        },
    ];
    if tls {
        return rows;
    }
    let small = |key, title, connections| Row {
        key,
        title,
        unit: Unit::KiloRequestsPerSecond,
        contenders: [NGINX, OURS].map(|server| by(server, server, Act::SmallHttp1(connections))).to_vec(),
    };
    let far = |label, act| by(label, OURS, act);
    rows.extend([
        Row {
            key: "small-grpc",
            title: "20 KB, gRPC, 6 connections x 16 streams (nginx: HTTP/1.1, 64 connections)",
            unit: Unit::KiloRequestsPerSecond,
            contenders: each(
                &[by(NGINX, NGINX, Act::SmallHttp1(64)), by(OURS, OURS, Act::SmallGrpc)],
                &GRPC_PEERS,
                Act::SmallGrpc,
            ),
        },
        small("small-http1-6", "20 KB, GET /i, 6 connections", 6),
        small("small-http1-64", "20 KB, GET /i, 64 connections", 64),
        Row {
            key: "upload",
            title: "upload; wirephoto hashes and keeps (--fsync off), the peers only count",
            unit: speed,
            contenders: each(
                &[by("wirephoto PUT", OURS, Act::UploadPut), by(OURS, OURS, Act::UploadGrpc)],
                &["grpc++", "grpc++ zero-copy", "grpc-go tuned", "grpc-go", "tonic", "connectrpc"],
                Act::UploadGrpc,
            ),
        },
        Row {
            key: "memory",
            title: "anonymous memory for each of 50 slow readers",
            unit: Unit::Kibibytes,
            contenders: vec![
                by(NGINX, NGINX, Act::SlowHttp1),
                by("wirephoto /i", OURS, Act::SlowHttp1),
                by(OURS, OURS, Act::SlowGrpc),
                by("wirephoto gRPC-Web", OURS, Act::SlowWeb),
                by("grpc++ zero-copy", "grpc++ zero-copy", Act::SlowGrpc),
                by("grpc-go tuned", "grpc-go tuned", Act::SlowGrpc),
                by("tonic", "tonic", Act::SlowGrpc),
            ],
        },
        Row {
            key: "rtt",
            title: "one transfer on a new connection, 10 ms round trip",
            unit: Unit::Milliseconds,
            contenders: vec![
                by(NGINX, NGINX, Act::FarHttp1),
                far("wirephoto /i", Act::FarHttp1),
                far(OURS, Act::FarGrpc),
                far("wirephoto get", Act::FarGet),
            ],
        },
    ]);
    rows
}

/// A row and one of its contenders.
pub type Place = (&'static str, &'static str);

pub enum Figure {
    /// One place's figure by another's of the same row, in pairs of one round.
    Ratio(Place, &'static str),
    /// The same of the server's CPU seconds per GB.
    Cpu(Place, &'static str),
    /// A place's own figure, in its row's unit.
    Level(Place),
}

pub struct Goal {
    /// The goal's row.
    pub row: &'static str,
    pub what: &'static str,
    pub figure: Figure,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

impl Goal {
    /// Whose figure it is.
    pub fn place(&self) -> Place {
        let (Figure::Ratio(place, _) | Figure::Cpu(place, _) | Figure::Level(place)) = self.figure;
        place
    }
}

pub fn goals(tls: bool) -> Vec<Goal> {
    use Figure::{Cpu, Level, Ratio};
    let least = |row, what, figure, bound| Goal { row, what, figure, at_least: Some(bound), at_most: None };
    let most = |row, what, figure, bound| Goal { row, what, figure, at_least: None, at_most: Some(bound) };
    if tls {
        return Vec::new();
    }
    let http1 = "GET /i against nginx sendfile";
    let stock = "gRPC stream to a stock client (16 KiB frames)";
    let ours = "gRPC stream to our client";
    let web = "gRPC-Web stream over HTTP/1.1";
    let small = "20 KB images, gRPC 6 connections x 16 streams";
    let small_http = "20 KB images, GET /i keep-alive";
    let upload = "upload by gRPC with sha256 and crc32c, --fsync off";
    let memory = "anonymous memory per slow reader, 50 at once";
    let far = "one transfer at 10 ms RTT, our client";
    vec![
        least(http1, "throughput, x nginx", Ratio(("http1", OURS), NGINX), 0.95),
        most(http1, "server CPU, x nginx", Cpu(("http1", OURS), NGINX), 1.1),
        most(http1, "burst of five: makespan, x nginx", Ratio(("burst", OURS), NGINX), 0.85),
        least(stock, "x grpc++ zero-copy", Ratio(("grpc-16k", OURS), "grpc++ zero-copy"), 0.9),
        least(stock, "x grpc-go tuned", Ratio(("grpc-16k", OURS), "grpc-go tuned"), 1.0),
        least(stock, "x tonic", Ratio(("grpc-16k", OURS), "tonic"), 3.0),
        most(stock, "server CPU, x tonic", Cpu(("grpc-16k", OURS), "tonic"), 0.25),
        least(ours, "byte counter, x grpc++ zero-copy", Ratio(("grpc-1m", OURS), "grpc++ zero-copy"), 1.0),
        least(ours, "byte counter, x nginx", Ratio(("grpc-1m", OURS), NGINX), 0.9),
        least(
            ours,
            "wirephoto get -o /dev/null, x grpc++ zero-copy",
            Ratio(("grpc-1m", "wirephoto get"), "grpc++ zero-copy"),
            1.0,
        ),
        least(ours, "wirephoto get -o /dev/null, x nginx", Ratio(("grpc-1m", "wirephoto get"), NGINX), 0.9),
        least(web, "x nginx", Ratio(("web", OURS), NGINX), 0.9),
        least(web, "x connectrpc segments", Ratio(("web", OURS), "connectrpc segments"), 1.0),
        least(small, "x grpc-go tuned", Ratio(("small-grpc", OURS), "grpc-go tuned"), 1.5),
        least(small, "x nginx, HTTP/1.1 at 64 connections", Ratio(("small-grpc", OURS), NGINX), 0.85),
        least(small_http, "6 connections, x nginx", Ratio(("small-http1-6", OURS), NGINX), 0.75),
        least(small_http, "64 connections, x nginx", Ratio(("small-http1-64", OURS), NGINX), 0.75),
        least(upload, "x grpc++ without hashing", Ratio(("upload", OURS), "grpc++"), 1.0),
        least(upload, "PUT, x gRPC", Ratio(("upload", "wirephoto PUT"), OURS), 1.0),
        most(memory, "GET /i, KiB", Level(("memory", "wirephoto /i")), 64.0),
        most(memory, "gRPC, KiB", Level(("memory", OURS)), 64.0),
        most(memory, "gRPC-Web, KiB", Level(("memory", "wirephoto gRPC-Web")), 64.0),
        most(far, "byte counter, x GET /i", Ratio(("rtt", OURS), "wirephoto /i"), 2.2),
        most(far, "wirephoto get, x GET /i", Ratio(("rtt", "wirephoto get"), "wirephoto /i"), 2.2),
    ]
}
