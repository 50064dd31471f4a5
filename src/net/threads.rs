//! The threads that connections live on: each stays on one, where no other has to be woken for it.

use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Threads for what blocks, of all of them together.
const BLOCKING: usize = 512;
/// Each has so many at least.
const BLOCKING_EACH: usize = 32;
/// How often it is looked whether what connections left behind has ended.
const GLANCE: Duration = Duration::from_millis(10);

/// Threads for connections. Clones are the same threads; with the last one they end, as soon as their tasks have.
#[derive(Clone)]
pub struct Threads(Arc<[Thread]>);

struct Thread {
    runtime: Handle,
    connections: TaskTracker,
    /// Dropped, it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Threads {
    /// As many as cores.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let blocking = (BLOCKING / count).max(BLOCKING_EACH);
        Ok(Self((0..count).map(|_| Thread::start(blocking)).collect::<io::Result<_>>()?))
    }

    /// Tasks alive on them: connections, and what was begun for their requests.
    pub fn tasks(&self) -> usize {
        self.0.iter().map(|thread| thread.runtime.metrics().num_alive_tasks()).sum()
    }

    /// Connections there are.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().map(|thread| thread.connections.len()).sum()
    }

    /// Serves a connection on the thread that has the fewest.
    pub(super) fn serve<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let fewest = self.0.iter().min_by_key(|thread| thread.connections.len()).ok_or(io::ErrorKind::NotFound)?;
        let stream = stream.into_std()?;
        let stream = {
            let _within = fewest.runtime.enter();
            TcpStream::from_std(stream)?
        };
        fewest.connections.spawn_on(serve(stream), &fewest.runtime);
        Ok(())
    }

    /// Takes no more connections, and waits for those there are.
    pub(super) async fn close(&self) {
        join_all(self.0.iter().map(|thread| {
            thread.connections.close();
            thread.connections.wait()
        }))
        .await;
    }

    /// As [`Self::close`], and waits for what they left behind.
    pub(super) async fn end(&self) {
        self.close().await;
        while self.tasks() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

impl Thread {
    /// One that has begun: what it takes of memory first decides what it shares.
    fn start(blocking: usize) -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("connections".to_owned()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().max_blocking_threads(blocking).build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let _ = tell.send(Ok(runtime.handle().clone()));
            runtime.block_on(async {
                let _ = stopped.await;
                // What outlives its connection, such as an upload that is being taken away.
                while Handle::current().metrics().num_alive_tasks() > 0 {
                    tokio::time::sleep(GLANCE).await;
                }
            });
        })?;
        let runtime = told.recv().map_err(io::Error::other)??;
        Ok(Self { runtime, connections: TaskTracker::new(), _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn each_connection_goes_where_there_are_fewest_and_stays_there() {
        let threads = Threads::start().unwrap();
        let count = threads.0.len();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for _ in 0..2 * count {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let told = told.clone();
            let serve = async move |stream: TcpStream| {
                let before = thread::current().id();
                stream.readable().await.unwrap();
                told.send((before, thread::current().id())).unwrap();
            };
            threads.serve(listener.accept().await.unwrap().0, serve).unwrap();
        }
        assert_eq!(threads.connections(), 2 * count);
        drop(clients);
        tokio::time::timeout(Duration::from_secs(20), threads.end()).await.unwrap();
        drop(told);
        let mut served = std::collections::HashMap::new();
        while let Some((before, after)) = heard.recv().await {
            assert_eq!(before, after);
            *served.entry(before).or_insert(0) += 1;
        }
        assert_eq!(served.into_values().collect::<Vec<_>>(), vec![2; count]);
    }

    #[tokio::test]
    async fn what_was_begun_is_ended_before_the_thread() {
        let threads = Threads::start().unwrap();
        let (go, gone) = oneshot::channel::<()>();
        let (told, heard) = oneshot::channel();
        threads.0[0].runtime.spawn(async move {
            let _ = gone.await;
            tokio::time::sleep(2 * GLANCE).await;
            told.send(()).unwrap();
        });
        drop(threads);
        go.send(()).unwrap();
        heard.await.unwrap();
    }
}
