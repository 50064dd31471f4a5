//! Bytes of files and sockets, moved in large pieces. A leaf: it names nothing else of the crate.

mod file;
mod gather;
mod memory;
mod outlet;

pub(crate) use file::{FileReader, pieces};
pub(crate) use gather::Gathering;
pub(crate) use memory::give_back;
pub(crate) use outlet::Outlet;
