//! How far transfers have come, a bar each, drawn on stderr when that is a terminal.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::safe;
use crate::client::Progress;

/// The bars of the transfers that run, below each other.
#[derive(Clone, Default)]
pub(super) struct Bars(MultiProgress);

impl Bars {
    /// A bar of a transfer whose size is not known yet.
    pub(super) fn add(&self, title: &str) -> Bar {
        let bar = self.0.add(ProgressBar::new_spinner().with_message(safe(title).into_owned()));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {decimal_bytes} {decimal_bytes_per_sec}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar { bar, bars: self.0.clone() }
    }

    /// What `write` writes to the terminal stands above the bars.
    pub(super) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

/// A bar that is gone when one of its clones is cleared.
#[derive(Clone)]
pub(super) struct Bar {
    bar: ProgressBar,
    bars: MultiProgress,
}

impl Bar {
    /// Takes the bar from the screen.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

impl Progress for Bar {
    fn total(&self, bytes: u64) {
        let template = "{spinner} {msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn restart(&self) {
        self.bar.set_position(0);
    }
}
