//! Bytes of files, moved in large pieces, and what only the system knows. A leaf: it names nothing else of the crate.

mod cpu;
mod file;
mod memory;

pub(crate) use cpu::cpu_time;
pub(crate) use file::{FileReader, pieces};
pub(crate) use memory::give_back;
