//! `wirephoto descriptors`.

use std::io::{self, IsTerminal as _};

use super::{Failure, print};
use crate::proto::DESCRIPTORS;

pub(super) fn run() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        let message = "descriptors are no text for a terminal: send them to a file, `wirephoto descriptors > FILE`";
        return Err(Failure::Usage(message.to_owned()));
    }
    print(|out| out.write_all(DESCRIPTORS))
}
