//! How long nothing has come of what is awaited.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A limit to silence. Its timer is made when there first is one.
#[derive(Debug)]
pub struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    begun: bool,
}

impl Silence {
    /// Nothing may come for as long as `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { limit, timer: None, begun: false }
    }

    /// The limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Something came, or nothing is awaited.
    pub fn end(&mut self) {
        self.begun = false;
    }

    /// Whether it has lasted for too long. The task is woken when it has.
    pub fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.begun {
            self.begun = true;
            timer.as_mut().reset(Instant::now() + self.limit);
        }
        matches!(timer.as_mut().poll(cx), Poll::Ready(()))
    }
}
