//! Pipes between maps of files and a socket. A pipe takes references to pages, those of many frames in one system call, and the
//! kernel sends them from where they are.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::mapping::Mapping;
use super::outlet::{Claim, WORTH_KEEPING};

/// Pages that one pipe can hold, as bytes. Users other than root have 64 MiB of them, unless the system is told otherwise.
const CAPACITY: libc::c_int = 512 << 10;
/// So many pipes are there at most, of two open files each, and so many of them are kept while nobody uses them.
const PIPES: usize = 64;
const SPARES: usize = 8;
/// Slices of one system call.
const SLICES: usize = 256;

/// Pipes that there are, and those that nobody uses.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static SPARE: Mutex<Vec<Ends>> = Mutex::new(Vec::new());

/// Bytes on their way to one socket.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// None once they are given back.
    ends: Option<Ends>,
    held: usize,
}

#[derive(Debug)]
struct Ends {
    reader: PipeReader,
    writer: PipeWriter,
    scratch: Scratch,
}

fn spare() -> MutexGuard<'static, Vec<Ends>> {
    // Whatever panicked, a list of pipes is never left half-written.
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    /// An empty pipe; none if there are enough of them, or the system gives none.
    pub(super) fn take() -> Option<Self> {
        let kept = spare().pop();
        let ends = kept.or_else(Ends::new)?;
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes the first of these bytes, as many as have room: by reference where they are mapped; others, fewer than
    /// [`WORTH_KEEPING`] each, as copies.
    ///
    /// # Errors
    /// `EFAULT` where the first of them are no longer in their file, and others where pipes do not do this.
    #[allow(unsafe_code)]
    pub(super) fn fill<'a>(&mut self, claims: impl Iterator<Item = &'a Claim>) -> io::Result<()> {
        let Some(Ends { writer, scratch, .. }) = &mut self.ends else { return Ok(()) };
        scratch.make_room()?;
        let mut slices = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; SLICES];
        let mut count = 0;
        for (slice, claim) in slices.iter_mut().zip(claims) {
            let base = if claim.file.is_some() { Some(claim.bytes.as_ptr()) } else { scratch.copy(&claim.bytes) };
            let Some(base) = base else { break };
            *slice = libc::iovec { iov_base: base.cast_mut().cast(), iov_len: claim.bytes.len() };
            count += 1;
        }
        // SAFETY: `count` slices name memory that is mapped through the call. What they name is never written afterwards: maps
        // are of blobs, which do not change, and `Scratch` writes every byte once. Pages stay for as long as the pipe or a
        // socket refers to them, whatever becomes of their addresses.
        let taken = unsafe { libc::vmsplice(writer.as_raw_fd(), slices.as_ptr(), count, libc::SPLICE_F_NONBLOCK) };
        self.held += usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }

    /// Gives the socket as much as it takes now.
    #[allow(unsafe_code)]
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let Some(Ends { reader, .. }) = &self.ends else { return Ok(0) };
        let (from, to, none) = (reader.as_raw_fd(), socket.as_raw_fd(), ptr::null_mut());
        // SAFETY: both descriptors are open for as long as they are borrowed here, and no memory is named.
        let sent = unsafe { libc::splice(from, none, to, none, self.held, libc::SPLICE_F_NONBLOCK) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        self.held -= sent;
        Ok(sent)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take_if(|_| self.held == 0) {
            let mut spare = spare();
            if spare.len() < SPARES {
                spare.push(ends);
            }
        }
    }
}

impl Ends {
    #[allow(unsafe_code)]
    fn new() -> Option<Self> {
        COUNT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < PIPES).then_some(count + 1)).ok()?;
        let made = io::pipe().and_then(|(reader, writer)| Ok((reader, writer, Scratch::new()?)));
        let Ok((reader, writer, scratch)) = made else {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let ends = Self { reader, writer, scratch };
        // SAFETY: an open descriptor and a number.
        let size = unsafe { libc::fcntl(ends.writer.as_raw_fd(), libc::F_SETPIPE_SZ, CAPACITY) };
        (size >= CAPACITY).then_some(ends)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Memory in which each byte is written once, since what refers to its pages keeps them for as long as it wants.
#[derive(Debug)]
struct Scratch {
    memory: Mapping,
    used: usize,
}

const SCRATCH: usize = 64 << 10;

impl Scratch {
    fn new() -> io::Result<Self> {
        Ok(Self { memory: Mapping::of_memory(SCRATCH)?, used: 0 })
    }

    /// Room for [`WORTH_KEEPING`] bytes at least.
    fn make_room(&mut self) -> io::Result<()> {
        if SCRATCH - self.used < WORTH_KEEPING {
            *self = Self::new()?;
        }
        Ok(())
    }

    /// Where a copy of these bytes is; none if they have no room.
    #[allow(unsafe_code)]
    fn copy(&mut self, bytes: &[u8]) -> Option<*const u8> {
        if bytes.len() > SCRATCH - self.used {
            return None;
        }
        // SAFETY: so many bytes from there on are mapped, and nothing else names them yet.
        let copy = unsafe {
            let copy = self.memory.base().add(self.used);
            ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
            copy
        };
        self.used += bytes.len();
        Some(copy)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::file::tests::{file_of, shared};
    use super::super::map;
    use super::super::outlet::{Origin, Outlet};
    use super::*;

    impl Pipe {
        /// The first bytes, at most so many, as a socket would get them.
        pub(in crate::io) fn read(&mut self, most: usize) -> Vec<u8> {
            let mut bytes = vec![0; most.min(self.held)];
            self.ends.as_mut().unwrap().reader.read_exact(&mut bytes).unwrap();
            self.held -= bytes.len();
            bytes
        }
    }

    fn empty() -> Pipe {
        Pipe::take().unwrap()
    }

    /// Heads and mapped parts by turns, and the bytes that they are.
    fn frames(count: usize) -> (tempfile::NamedTempFile, Vec<Claim>, Vec<u8>) {
        const FRAME: usize = 16 << 10;
        let (file, content) = file_of((count * FRAME) as u64);
        let (outlet, origin) = (Outlet::default(), Arc::new(Origin::new(shared(&file))));
        let map = outlet.lend_map(map::lease(&origin.file).unwrap(), origin, 0);
        let (mut claims, mut bytes) = (Vec::new(), Vec::new());
        for frame in 0..count {
            let (head, start) = (format!("head {frame}"), frame * FRAME);
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(&content[start..start + FRAME]);
            claims.push(Claim::from(Bytes::from(head)));
            claims.push(outlet.claim(&map[start..start + FRAME]).unwrap());
        }
        (file, claims, bytes)
    }

    #[test]
    fn a_pipe_gives_what_it_took_in_order() {
        let (_file, claims, bytes) = frames(10);
        for most in [1 << 20, 1000, 16_391] {
            let mut pipe = empty();
            pipe.fill(claims.iter()).unwrap();
            assert_eq!(pipe.held(), bytes.len());
            let mut got = Vec::new();
            while pipe.held() > 0 {
                got.extend(pipe.read(most));
            }
            assert!(got == bytes, "{most}");
        }
    }

    #[test]
    fn what_has_no_room_is_left() {
        let (_file, claims, bytes) = frames(60);
        let mut pipe = empty();
        pipe.fill(claims.iter()).unwrap();
        assert!((CAPACITY as usize / 2..=CAPACITY as usize).contains(&pipe.held()), "{}", pipe.held());
        let held = pipe.held();
        assert!(pipe.read(held) == bytes[..held]);
    }

    #[test]
    fn copies_are_never_written_again() {
        let texts: Vec<Bytes> = (0..200_u8).map(|byte| vec![byte; 997].into()).collect();
        let mut pipe = empty();
        // The last of these copies find no room in the memory of the first ones, which are still waiting.
        for some in texts.chunks(80) {
            for text in some {
                pipe.fill([Claim::from(text.clone())].iter()).unwrap();
            }
            assert!(pipe.read(usize::MAX) == some.concat());
        }
    }

    #[test]
    fn what_is_gone_from_its_file_is_a_fault() {
        let (file, claims, bytes) = frames(4);
        file.as_file().set_len(20 << 10).unwrap();
        let mut pipe = empty();
        pipe.fill(claims.iter()).unwrap();
        let held = pipe.held();
        assert!((16 << 10..28 << 10).contains(&held), "{held}");
        assert!(pipe.read(16 << 10)[..] == bytes[..16 << 10]);
        let error = empty().fill(claims[5..].iter()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }

    #[test]
    fn only_empty_pipes_are_used_again() {
        let mut pipe = empty();
        pipe.fill([Claim::from(Bytes::from_static(b"of another"))].iter()).unwrap();
        drop(pipe);
        let mut pipes: Vec<Pipe> = (0..SPARES + 2).map(|_| empty()).collect();
        for pipe in &mut pipes {
            pipe.fill([Claim::from(Bytes::from_static(b"its own"))].iter()).unwrap();
            assert_eq!(pipe.read(100), b"its own");
        }
    }
}
