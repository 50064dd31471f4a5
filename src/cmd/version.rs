//! `wirephoto version`.

use super::{Failure, print};

pub(super) fn run() -> Result<(), Failure> {
    print(|out| writeln!(out, concat!("wirephoto ", env!("CARGO_PKG_VERSION"))))
}
