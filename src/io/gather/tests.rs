//! Sockets that stall, trickle and break at every byte.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use super::*;
use crate::io::SharedFile;
use crate::io::file::tests::file_of;
use crate::io::outlet::{Origin, WORTH_KEEPING};
#[cfg(target_os = "linux")]
use crate::io::{Shelf, file::tests::shared, map};

/// What a socket does to the bytes that are written to it.
#[derive(Debug, Clone, Copy)]
enum Flow {
    Free,
    /// Takes so many at a time, and stalls before each.
    Trickle(usize),
    /// Stalls once, after so many.
    Stall(usize),
    /// Breaks after so many.
    Cut(usize),
}

struct Faucet {
    socket: DuplexStream,
    flow: Flow,
    sent: Arc<AtomicUsize>,
    /// Times that it sent from a pipe.
    piped: Arc<AtomicUsize>,
    stalled: bool,
}

impl Faucet {
    fn new(socket: DuplexStream, flow: Flow, sent: &Arc<AtomicUsize>) -> Self {
        Self { socket, flow, sent: Arc::clone(sent), piped: Arc::default(), stalled: false }
    }
}

impl Faucet {
    /// Bytes that are taken now, at most.
    fn poll_allowance(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let sent = self.sent.load(Ordering::Relaxed);
        let (allowance, stalls) = match self.flow {
            Flow::Free => (usize::MAX, false),
            Flow::Trickle(count) => (count, true),
            Flow::Stall(at) if sent < at => (at - sent, false),
            Flow::Stall(at) => (usize::MAX, sent == at),
            Flow::Cut(at) if sent < at => (at - sent, false),
            Flow::Cut(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        if stalls && !std::mem::replace(&mut self.stalled, true) {
            let waker = cx.waker().clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                waker.wake();
            });
            return Poll::Pending;
        }
        self.stalled = false;
        Poll::Ready(Ok(allowance))
    }
}

impl Socket for Faucet {
    fn takes_pipes(&self) -> bool {
        true
    }

    #[cfg(target_os = "linux")]
    fn poll_send_pipe(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_allowance(cx))?;
        self.piped.fetch_add(1, Ordering::Relaxed);
        let bytes = pipe.read(count);
        let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &bytes))?;
        assert_eq!(sent, bytes.len());
        self.sent.fetch_add(sent, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, offset)?;
        Pin::new(self).poll_write(cx, &bytes)
    }
}

impl AsyncRead for Faucet {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Faucet {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_allowance(cx))?.min(bytes.len());
        let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &bytes[..count]))?;
        self.sent.fetch_add(sent, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut allowance = ready!(self.poll_allowance(cx))?;
        let mut taken = Vec::new();
        for slice in slices {
            let count = allowance.min(slice.len());
            allowance -= count;
            taken.extend_from_slice(&slice[..count]);
        }
        let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &taken))?;
        self.sent.fetch_add(sent, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

fn answer() -> Vec<Bytes> {
    vec![Bytes::from_static(b"a little"), vec![1; WORTH_KEEPING + 7].into(), vec![2; 99].into()]
}

/// Two requests over one connection and what the client got, with the bytes that the server sent.
async fn exchange(flow: Flow) -> (Result<(), h2::Error>, usize) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let sent = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet::default();
    let faucet = Faucet::new(far, flow, &sent);
    let mut socket = Gathering::new(faucet, outlet.clone());
    socket.gather();
    let server = tokio::spawn(async move {
        let mut connection = h2::server::handshake(socket).await?;
        while let Some(request) = connection.accept().await {
            let (_, mut respond) = request?;
            let mut stream = respond.send_response(http::Response::new(()), false)?;
            for piece in answer() {
                stream.send_data(outlet.lend(piece).bytes, false)?;
            }
            stream.send_trailers(http::HeaderMap::new())?;
        }
        Ok::<_, h2::Error>(())
    });
    let client = async {
        let (mut send, connection) = h2::client::handshake(near).await?;
        let connection = tokio::spawn(connection);
        for _ in 0..2 {
            send = send.ready().await?;
            let request = http::Request::get("http://a/").body(()).unwrap();
            let mut body = send.send_request(request, true)?.0.await?.into_body();
            let mut got = Vec::new();
            while let Some(piece) = body.data().await {
                got.extend_from_slice(&piece?);
            }
            body.trailers().await?;
            assert!(got == answer().concat(), "{flow:?}: {} bytes", got.len());
        }
        drop(send);
        connection.await.unwrap()
    };
    let hangs = |_| panic!("{flow:?}: it hangs after {} bytes", sent.load(Ordering::Relaxed));
    let outcome = timeout(Duration::from_secs(60), client).await.unwrap_or_else(hangs);
    let served = timeout(Duration::from_secs(60), server).await.unwrap_or_else(|_| panic!("{flow:?}: it stays"));
    let served = served.unwrap();
    assert!(outcome.is_err() || served.is_ok(), "{flow:?}: {served:?}");
    (outcome, sent.load(Ordering::Relaxed))
}

#[tokio::test]
async fn bytes_arrive_however_slowly_they_are_taken() {
    let (outcome, total) = exchange(Flow::Free).await;
    outcome.unwrap();
    for count in 1..total {
        exchange(Flow::Stall(count)).await.0.unwrap();
    }
    for count in (1..40).chain((40..total).step_by(101)) {
        exchange(Flow::Trickle(count)).await.0.unwrap();
    }
}

/// Bytes of the file that is sent in parts.
const PARTS: u64 = 3000;

/// Two parts of a file as HTTP/1.1 writes them, with `end` behind each, and what the client got, with the bytes that the server
/// sent.
async fn parts(flow: Flow, end: &'static [u8]) -> (io::Result<()>, Vec<u8>, usize) {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let sent = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet::default();
    let (file, content) = file_of(PARTS);
    // In memory is something else: what comes out was read from the file.
    let file = SharedFile::new(file.into_file(), content.len() as u64);
    let map = outlet.lend_map(vec![255; content.len()].into(), Arc::new(Origin::new(Arc::new(file))), 0);
    let faucet = Faucet::new(far, flow, &sent);
    let mut socket = Gathering::new(faucet, outlet);
    let server = tokio::spawn(async move {
        for part in [map.slice(..2500), map.slice(2500..)] {
            let mut slices = [&b"a head"[..], &part, end].map(IoSlice::new);
            let mut slices = if end.is_empty() { &mut slices[..2] } else { &mut slices[..] };
            while !slices.is_empty() {
                let count = socket.write_vectored(slices).await?;
                IoSlice::advance_slices(&mut slices, count);
            }
            // The first flush is put off, and whoever was told so comes again.
            socket.flush().await?;
            socket.flush().await?;
        }
        socket.shutdown().await
    });
    let mut got = Vec::new();
    let _ = timeout(Duration::from_secs(60), near.read_to_end(&mut got)).await.expect("it hangs");
    (server.await.unwrap(), got, sent.load(Ordering::Relaxed))
}

#[tokio::test]
async fn what_is_around_a_file_arrives_in_its_order() {
    let (_, content) = file_of(PARTS);
    // A chunk has an end; a whole answer has none, and goes another way.
    for end in [&b"\r\n"[..], b""] {
        let whole = [b"a head", &content[..2500], end, b"a head", &content[2500..], end].concat();
        let (outcome, expected, total) = parts(Flow::Free, end).await;
        outcome.unwrap();
        assert!(expected == whole && total == whole.len());
        for flow in (1..total).map(Flow::Stall).chain((1..40).map(Flow::Trickle)) {
            let (outcome, got, _) = parts(flow, end).await;
            outcome.unwrap();
            assert!(got == whole, "{flow:?}");
        }
        for count in 0..total {
            let (outcome, got, sent) = parts(Flow::Cut(count), end).await;
            assert!(outcome.is_err() && sent == count && got == whole[..count], "{count}");
        }
    }
}

/// Frames of this many bytes, so many of them.
#[cfg(target_os = "linux")]
const FRAMES: (usize, usize) = (16 << 10, 5);

/// Small frames of a file for a peer that takes them as they come: what happened, what the client got, and how often a pipe sent.
#[cfg(target_os = "linux")]
async fn small_frames(flow: Flow, file: &Arc<SharedFile>) -> (io::Result<()>, Vec<u8>, usize) {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let (sent, outlet) = (Arc::default(), Outlet::default());
    let map = outlet.lend_map(map::lease(file).unwrap(), Arc::new(Origin::new(Arc::clone(file))), 0);
    let faucet = Faucet::new(far, flow, &sent);
    let piped = Arc::clone(&faucet.piped);
    let mut socket = Gathering::new(faucet, outlet);
    socket.gather();
    socket.run = SWIFT;
    let write = async {
        for number in 0..FRAMES.1 {
            let start = number * FRAMES.0;
            socket.write_all(format!("head {number}").as_bytes()).await?;
            socket.write_all(&map[start..start + FRAMES.0]).await?;
        }
        socket.flush().await?;
        socket.flush().await?;
        socket.shutdown().await
    };
    // What left the pipe has to find room in the duplex, whatever the task has done already.
    let write = tokio::task::unconstrained(write);
    let outcome = timeout(Duration::from_secs(60), write).await.unwrap_or_else(|_| panic!("{flow:?}: it hangs"));
    drop(socket);
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    (outcome, got, piped.load(Ordering::Relaxed))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn small_frames_go_by_a_pipe_however_they_are_taken() {
    let (file, content) = file_of((FRAMES.0 * FRAMES.1) as u64);
    let file = shared(&file);
    let whole: Vec<u8> = (content.chunks(FRAMES.0).enumerate())
        .flat_map(|(number, frame)| [format!("head {number}").as_bytes(), frame].concat())
        .collect();
    let (outcome, got, piped) = small_frames(Flow::Free, &file).await;
    outcome.unwrap();
    assert!(got == whole && piped == 1, "{} bytes in {piped}", got.len());
    // About each head, and here and there.
    let near = |head: usize| (head * (FRAMES.0 + 6)).saturating_sub(8)..head * (FRAMES.0 + 6) + 16;
    let places: Vec<usize> = (1..FRAMES.1).flat_map(near).chain((1..whole.len()).step_by(997)).collect();
    for flow in places.iter().copied().map(Flow::Stall).chain([64, 4099, 20_000].map(Flow::Trickle)) {
        let (outcome, got, piped) = small_frames(flow, &file).await;
        outcome.unwrap();
        assert!(got == whole && piped > 0, "{flow:?}");
    }
    for count in places {
        let (outcome, got, _) = small_frames(Flow::Cut(count), &file).await;
        assert!(outcome.is_err() && got == whole[..count], "{count}");
    }
}

/// Takes nothing.
#[cfg(target_os = "linux")]
struct Full;

#[cfg(target_os = "linux")]
impl Socket for Full {
    fn takes_pipes(&self) -> bool {
        true
    }

    fn poll_send_pipe(&mut self, _cx: &mut Context<'_>, _pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

#[cfg(target_os = "linux")]
impl AsyncRead for Full {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[cfg(target_os = "linux")]
impl AsyncWrite for Full {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, _bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_stops_reading_keeps_no_pipe() {
    let (file, content) = file_of(FRAMES.0 as u64 * 4);
    let (file, outlet) = (shared(&file), Outlet::default());
    let map = outlet.lend_map(map::lease(&file).unwrap(), Arc::new(Origin::new(file)), 0);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut socket = Gathering::new(Full, outlet);
    socket.gather();
    socket.run = SWIFT;
    for frame in map.chunks(FRAMES.0) {
        assert!(Pin::new(&mut socket).poll_write(&mut cx, frame).is_ready());
    }
    let mut reads = |socket: &mut Gathering<Full>| {
        assert!(Pin::new(socket).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 8])).is_pending());
    };
    reads(&mut socket);
    assert_eq!(socket.pipe.as_ref().map(Pipe::held), Some(content.len()));
    std::thread::sleep(STALL);
    reads(&mut socket);
    assert!(socket.pipe.is_none() && socket.len == content.len());
}

#[tokio::test]
async fn a_cut_at_any_byte_ends_both_sides() {
    let (_, total) = exchange(Flow::Free).await;
    for count in 0..total {
        let (outcome, sent) = exchange(Flow::Cut(count)).await;
        assert_eq!(sent, count);
        // What follows the last answer may be lost: the client has all it asked for.
        assert!(outcome.is_err() || count > total - 64, "{count} of {total}");
    }
}

/// Takes everything at once, and counts the calls.
#[derive(Default)]
struct Counter {
    calls: Vec<usize>,
    /// Calls that said that more follows.
    begun: usize,
    corked: bool,
}

impl Socket for Counter {
    fn set_cork(&mut self, cork: bool) {
        self.corked = cork;
    }

    fn poll_begin(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.begun += 1;
        Pin::new(self).poll_write_vectored(cx, slices)
    }

    fn poll_send_file(
        &mut self,
        _cx: &mut Context<'_>,
        _file: &File,
        _offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.calls.push(len);
        Poll::Ready(Ok(len))
    }
}

impl AsyncRead for Counter {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Counter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = slices.iter().map(|slice| slice.len()).sum();
        self.calls.push(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn write(socket: &mut Gathering<Counter>, cx: &mut Context<'_>, bytes: &[u8]) {
    assert!(matches!(Pin::new(socket).poll_write(cx, bytes), Poll::Ready(Ok(count)) if count == bytes.len()));
}

#[test]
fn a_flush_put_off_wakes_and_reading_sends() {
    let (waker, woken) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    let mut socket = Gathering::new(Counter::default(), Outlet::default());
    socket.gather();
    for turn in 1..=3 {
        write(&mut socket, &mut cx, b"frame");
        assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready());
        assert_eq!((woken.load(Ordering::Relaxed), socket.socket.calls.len()), (turn, 0));
    }
    assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready());
    assert_eq!(socket.socket.calls, [15]);
    write(&mut socket, &mut cx, b"more");
    let mut space = [0; 8];
    assert!(Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut space)).is_pending());
    assert_eq!(socket.socket.calls, [15, 4]);
}

#[test]
fn what_waits_is_bounded() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut socket = Gathering::new(Counter::default(), Outlet::default());
    socket.gather();
    let frame = vec![0; 16 << 10];
    for _ in 0..200 {
        write(&mut socket, &mut cx, &frame);
        assert!(socket.len <= LIMIT);
    }
    assert_eq!(socket.socket.calls, [LIMIT; 3]);
}

#[test]
fn packets_are_full_until_a_flush_is_not_put_off() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut socket = Gathering::new(Counter::default(), Outlet::default());
    socket.gather();
    let frame = vec![0; 16 << 10];
    for _ in 0..64 {
        write(&mut socket, &mut cx, &frame);
    }
    for (sent, corked) in [(LIMIT, true), (LIMIT, true), (LIMIT, false)] {
        assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready());
        assert_eq!((socket.socket.calls.iter().sum::<usize>(), socket.socket.corked), (sent, corked));
    }
    write(&mut socket, &mut cx, b"a small answer");
    for _ in 0..2 {
        assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready());
        assert!(!socket.socket.corked);
    }
    assert_eq!(socket.socket.calls.last(), Some(&14));
}

#[test]
fn before_it_gathers_it_is_the_socket() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut socket = Gathering::new(Counter::default(), Outlet::default());
    write(&mut socket, &mut cx, b"HTTP/1.1");
    assert_eq!(socket.socket.calls, [8]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_small_answer_is_sent_with_its_head_at_once() {
    let (waker, woken) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    let outlet = Outlet::default();
    let part = Shelf::default().keep(vec![7; 20_000].into()).lend(0..20_000, Some(&outlet));
    let mut socket = Gathering::new(Counter::default(), outlet);
    for answers in 1..=2 {
        let slices = [IoSlice::new(b"a head"), IoSlice::new(&part)];
        assert!(matches!(Pin::new(&mut socket).poll_write_vectored(&mut cx, &slices), Poll::Ready(Ok(20_006))));
        assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready());
        assert_eq!((&socket.socket.calls, woken.load(Ordering::Relaxed)), (&[6, 20_000].repeat(answers), 0));
        assert_eq!((socket.socket.begun, socket.socket.corked), (answers, false));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_begins_waits_for_what_follows() {
    let (near, mut far) = connected().await;
    let near = near.into_std().unwrap();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut waited = 0;
    far.writable().await.unwrap();
    for _ in 0..20 {
        assert!(matches!(far.poll_begin(&mut cx, &[IoSlice::new(b"a head")]), Poll::Ready(Ok(6))));
        // The kernel waits for 200 ms at most, and this thread may.
        waited += usize::from(near.peek(&mut [0; 6]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        assert!(matches!(Pin::new(&mut far).poll_write(&mut cx, b" and more"), Poll::Ready(Ok(9))));
        near.set_nonblocking(false).unwrap();
        let mut got = [0; 15];
        io::Read::read_exact(&mut &near, &mut got).unwrap();
        near.set_nonblocking(true).unwrap();
        assert_eq!(&got, b"a head and more");
    }
    assert!(waited > 0);
}

/// A socket refers to memory long after it took it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_socket_took_stays_whatever_comes_after_it() {
    let (mut near, far) = connected().await;
    let image = |seed: usize| -> Bytes { (0..20_000).map(|at| ((at + seed) % 251) as u8).collect() };
    let shelf = Shelf::default();
    let outlet = Outlet::default();
    let mut socket = Gathering::new(far, outlet.clone());
    let mut expected = Vec::new();
    for seed in 0..100 {
        let part = shelf.keep(image(seed)).lend(0..20_000, Some(&outlet));
        if seed < 5 {
            let count = socket.write_vectored(&[IoSlice::new(b"a head"), IoSlice::new(&part)]).await.unwrap();
            assert_eq!(count, 20_006);
            expected.extend([&b"a head"[..], &part].concat());
        }
    }
    drop((shelf, outlet, socket));
    let others = Shelf::default();
    let _others: Vec<_> = (100..500).map(|seed| others.keep(image(seed))).collect();
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert!(got == expected);
}

/// Both ends of a connection.
#[cfg(target_os = "linux")]
async fn connected() -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

struct Count(AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Count {
    type Target = AtomicUsize;

    fn deref(&self) -> &AtomicUsize {
        &self.0
    }
}

fn counting_waker() -> (std::task::Waker, Arc<Count>) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (Arc::clone(&count).into(), count)
}
