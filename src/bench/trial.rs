//! Experiments for claims that no scenario settles, as the client process does them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::join_all;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::connect::Connector;
use super::endpoint;
use super::fetch::Fetcher;
use super::load::micros;
use super::worker::{Setup, connect};
use crate::proto::wirephoto::v1::{ChecksummedData, DownloadImageResponse, Image};

/// An experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Trial {
    /// So many connections opened at once.
    Open(usize),
    /// A new client that fetches one small image.
    First,
    /// The smallest call, by so many loops over one channel, for milliseconds.
    Calls(usize, u64),
    /// So many streams open at once over one channel.
    Streams(usize),
    /// A small call beside so many downloads of the same connection that nobody reads.
    Unread(usize),
    /// A large image from the benchmark's own endpoint in messages of so many bytes.
    Pieces(u64),
    /// The same in one message.
    Whole,
    /// Messages as protobuf and as JSON.
    Serialise,
}

/// What an experiment gave: figures by name, each one value.
pub(super) type Found = BTreeMap<String, f64>;

/// A call that has not ended after this is blocked.
pub(super) const BLOCKED: Duration = Duration::from_secs(1);

fn found<const N: usize>(figures: [(&str, f64); N]) -> Found {
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Makes it once.
pub(super) async fn run(trial: Trial, setup: &Setup, fetcher: &Fetcher) -> Result<Found, String> {
    let large = || setup.subjects.large.first().ok_or("no image to fetch");
    let small = || setup.subjects.small.first().ok_or("no image to fetch");
    match trial {
        Trial::Open(count) => {
            let connector = Connector::new(setup.address, setup.certificate.as_deref(), setup.tls)?;
            let begun = Instant::now();
            let opened = join_all((0..count).map(|_| connector.open())).await;
            let us = micros(begun.elapsed());
            for one in opened {
                one.map_err(|error| error.to_string())?;
            }
            Ok(found([("us", us)]))
        }
        Trial::First => {
            let begun = Instant::now();
            let fresh = connect(setup).await?;
            fresh.fetch(small()?, |_| {}).await?;
            Ok(found([("us", micros(begun.elapsed()))]))
        }
        Trial::Calls(loops, for_ms) => calls(fetcher, &small()?.id, loops, Duration::from_millis(for_ms)).await,
        Trial::Streams(count) => {
            let channel = fetcher.channel()?;
            let name = format!("images/{}", small()?.id);
            let streams = (0..count).map(|_| async {
                let stream = channel.many();
                let stream = timeout(BLOCKED, stream).await.ok()?.ok()?;
                let answered = timeout(BLOCKED, stream.download(&name, |_| {})).await.ok()?.is_ok();
                answered.then_some(stream)
            });
            // All that were answered are held until the last has been tried.
            let open = join_all(streams).await.into_iter().flatten().count();
            Ok(found([("open", open as f64)]))
        }
        Trial::Unread(readers) => {
            // A connection of its own, which is spoilt by this.
            let fresh = connect(setup).await?;
            let name = format!("images/{}", large()?.id);
            let mut held = Vec::new();
            for _ in 0..readers {
                if let Ok(unread) = timeout(BLOCKED, fresh.channel()?.unread(&name)).await {
                    held.push(unread?);
                }
            }
            // What they may send, they have sent.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let begun = Instant::now();
            let call = timeout(BLOCKED, fresh.fetch(small()?, |_| {})).await;
            let us = micros(begun.elapsed());
            drop(held);
            if let Ok(call) = call {
                call?;
            }
            Ok(found([("us", us)]))
        }
        Trial::Pieces(size) => {
            let subject = large()?;
            let (mut bytes, begun) = (0, Instant::now());
            let size = i64::try_from(size).map_err(|_| "no message is so large")?;
            let channel = fetcher.channel()?;
            channel.pieces(endpoint::PIECES, &subject.id, size, |piece| bytes += piece.len() as u64).await?;
            all_came(bytes, subject.size, begun)
        }
        Trial::Whole => {
            let (subject, begun) = (large()?, Instant::now());
            let bytes = fetcher.channel()?.whole(endpoint::WHOLE, &subject.id).await?.len() as u64;
            all_came(bytes, subject.size, begun)
        }
        Trial::Serialise => serialise(),
    }
}

fn all_came(bytes: u64, size: u64, begun: Instant) -> Result<Found, String> {
    if bytes != size {
        return Err(format!("{bytes} of {size} bytes came"));
    }
    Ok(found([("us", micros(begun.elapsed())), ("bytes", bytes as f64)]))
}

async fn calls(fetcher: &Fetcher, id: &str, loops: usize, time: Duration) -> Result<Found, String> {
    let channel = fetcher.channel()?;
    let name = format!("images/{id}");
    let begun = Instant::now();
    // Tasks, so that all cores call.
    let loops = (0..loops).map(|_| {
        let (channel, name) = (channel.clone(), name.clone());
        tokio::spawn(async move {
            let mut calls = 0_u64;
            while begun.elapsed() < time {
                channel.get(&name).await?;
                calls += 1;
            }
            Ok::<_, String>(calls)
        })
    });
    let mut calls = 0;
    for one in join_all(loops).await {
        calls += one.map_err(|error| error.to_string())??;
    }
    Ok(found([("per_second", calls as f64 / begun.elapsed().as_secs_f64())]))
}

/// A record of an image, and a message of a megabyte of one: each as protobuf and as JSON.
fn serialise() -> Result<Found, String> {
    let image = Image {
        name: "images/harbour-at-dusk.jpg".into(),
        etag: "0190f3c2-7b1e".into(),
        size_bytes: 60_000_000,
        media_type: "image/jpeg".into(),
        width: 5_148,
        height: 3_885,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        crc32c: 0x1234_5678,
        generation: 7,
        display_name: "Harbour at dusk".into(),
        orientation: 1,
        frame_count: 1,
        ..Image::default()
    };
    let data: Bytes =
        (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into();
    let message = DownloadImageResponse {
        chunk: Some(ChecksummedData { data: data.clone(), crc32c: None }),
        ..Default::default()
    };
    let json = |value: &Image| serde_json::to_vec(value).map_err(|error| error.to_string());
    let record_proto = image.encode_to_vec();
    let record_json = json(&image)?;
    // The piece by the fastest means there are: base64 straight into the line.
    let piece_proto = message.encode_to_vec();
    let piece_json = line(&data);

    Ok(found([
        ("record-speed", time(|| json(&image).map_or(0, |json| json.len())) / time(|| image.encode_to_vec().len())),
        ("record-size", record_json.len() as f64 / record_proto.len() as f64),
        ("piece-speed", time(|| line(&data).len()) / time(|| message.encode_to_vec().len())),
        ("piece-size", piece_json.len() as f64 / piece_proto.len() as f64),
    ]))
}

fn line(data: &[u8]) -> String {
    let mut line = String::with_capacity(data.len() * 4 / 3 + 64);
    line.push_str("{\"chunk\":{\"data\":\"");
    BASE64_STANDARD.encode_string(data, &mut line);
    line.push_str("\"}}\n");
    line
}

/// Seconds that one run of `work` takes, over 20 ms of them.
fn time(mut work: impl FnMut() -> usize) -> f64 {
    let (begun, mut runs) = (Instant::now(), 0_u32);
    while begun.elapsed() < Duration::from_millis(20) {
        black_box(work());
        runs += 1;
    }
    begun.elapsed().as_secs_f64() / f64::from(runs.max(1))
}
