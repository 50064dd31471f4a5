//! Bytes of files, moved in large pieces. A leaf: it names nothing else of the crate.

mod file;

pub(crate) use file::{FileReader, pieces};
