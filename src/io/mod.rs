//! Bytes of files, moved in large pieces. A leaf: it names nothing else of the crate.

mod file;
mod memory;

pub(crate) use file::{FileReader, pieces};
pub(crate) use memory::give_back;
