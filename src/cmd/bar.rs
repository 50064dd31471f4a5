//! How far a transfer has come, drawn on stderr when that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::safe;
use crate::client::Progress;

/// A bar that is gone when the last of its clones is cleared.
#[derive(Clone)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar of a transfer whose size is not known yet.
    pub(super) fn new(title: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(safe(title).into_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bytes} {bytes_per_sec}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Takes the bar from the screen.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn total(&self, bytes: u64) {
        let template = "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style.progress_chars("=> "));
        }
        self.0.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn restart(&self) {
        self.0.set_position(0);
    }
}
