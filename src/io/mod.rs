//! Bytes of files and sockets, moved in large pieces, and what only the system knows. A leaf: it names nothing else of the
//! crate.

#[cfg(target_os = "linux")]
mod cached;
mod cpu;
mod file;
mod gather;
#[cfg(target_os = "linux")]
mod lend;
#[cfg(target_os = "linux")]
mod map;
#[cfg(target_os = "linux")]
mod mapping;
mod memory;
mod open_files;
mod outlet;
mod payload;
#[cfg_attr(not(target_os = "linux"), path = "no_pipe.rs")]
mod pipe;
mod shared;
#[cfg_attr(not(target_os = "linux"), path = "no_shelf.rs")]
mod shelf;
mod socket;

pub(crate) use cpu::cpu_time;
pub(crate) use file::{FileReader, pieces};
pub(crate) use gather::Gathering;
#[cfg(target_os = "linux")]
pub(crate) use lend::lent;
pub(crate) use memory::{bound_arenas, give_back, give_back_now};
pub(crate) use open_files::allow_open_files;
pub(crate) use outlet::{Outlet, WORTH_KEEPING};
pub(crate) use payload::Payload;
pub(crate) use shared::{SharedFile, same_file};
pub(crate) use shelf::{Shelf, Shelved};
pub(crate) use socket::Socket;

/// As [`pieces`]: sockets send no files here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn lent(
    file: std::sync::Arc<SharedFile>,
    range: std::ops::Range<u64>,
    _piece: u64,
    _outlet: Outlet,
) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static {
    pieces(file, range)
}
