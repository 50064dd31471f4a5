//! Many parts of mapped files, and what is between them, on their way to a socket by two system calls: a pipe takes references
//! to their pages (`vmsplice`), and the socket takes them from there (`splice`). The kernel copies none of it.

#[cfg(target_os = "linux")]
pub(super) use linux::Pipe;

/// Elsewhere there is none to be had.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) enum Pipe {}

#[cfg(not(target_os = "linux"))]
impl Pipe {
    pub(super) fn of<'a>(_claims: impl Iterator<Item = &'a super::outlet::Claim>) -> std::io::Result<Option<Self>> {
        Ok(None)
    }

    pub(super) fn held(&self) -> usize {
        match *self {}
    }

    pub(super) fn put_back(self) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
    use std::ptr::{self, NonNull};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::outlet::Claim;

    /// A pipe has room for a part of a page for each of the pages in so many bytes. Unprivileged users may have as much.
    const ROOM: libc::c_int = 1 << 20;
    /// Parts of one call, at most.
    const PARTS: usize = 256;
    /// Bytes between parts of files that a pipe takes, until the kernel is left with them.
    const BETWEEN: usize = 8 << 10;
    /// Each takes two descriptors; unprivileged users may have this many of [`ROOM`].
    const MOST: usize = 64;

    static ALL: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        /// An empty one that nobody uses.
        static SPARE: Cell<Option<Pipe>> = const { Cell::new(None) };
    }

    /// Bytes on their way.
    #[derive(Debug)]
    pub(crate) struct Pipe {
        held: usize,
        between: Between,
        end: OwnedFd,
        beginning: OwnedFd,
        _counted: Counted,
    }

    impl Pipe {
        /// A pipe with as many of `claims` as it has room for. Those that are of no file are copied. None if there is no pipe to
        /// be had, or room for the first of them.
        ///
        /// # Errors
        /// `EFAULT` where the file of the first claim has nothing there.
        pub(crate) fn of<'a>(claims: impl Iterator<Item = &'a Claim>) -> io::Result<Option<Self>> {
            let Some(mut pipe) = SPARE.take().or_else(|| Self::new().ok()) else { return Ok(None) };
            match pipe.fill(claims) {
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => return Err(error),
                held => pipe.held = held.unwrap_or(0),
            }
            Ok((pipe.held > 0).then_some(pipe))
        }

        #[allow(unsafe_code)]
        fn new() -> io::Result<Self> {
            let counted = Counted::of(&ALL).ok_or(io::ErrorKind::QuotaExceeded)?;
            let mut ends = [0; 2];
            // SAFETY: `ends` is an array of two, as the call wants.
            checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
            // SAFETY: both are open, and nobody else's.
            let [end, beginning] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
            // SAFETY: the descriptor is open, and the command takes a number.
            checked(unsafe { libc::fcntl(beginning.as_raw_fd(), libc::F_SETPIPE_SZ, ROOM) })?;
            Ok(Self { held: 0, between: Between::new()?, end, beginning, _counted: counted })
        }

        /// Takes the first of `claims`, and says how many bytes that are.
        #[allow(unsafe_code)]
        fn fill<'a>(&mut self, claims: impl Iterator<Item = &'a Claim>) -> io::Result<usize> {
            let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; PARTS];
            let mut count = 0;
            for (part, claim) in parts.iter_mut().zip(claims) {
                let base = match claim.file {
                    Some(_) => claim.bytes.as_ptr().cast_mut(),
                    None => match self.between.copy(&claim.bytes) {
                        Some(copy) => copy,
                        None if count > 0 => break,
                        None => {
                            self.between.renew()?;
                            self.between.copy(&claim.bytes).ok_or(io::ErrorKind::QuotaExceeded)?
                        }
                    },
                };
                *part = libc::iovec { iov_base: base.cast(), iov_len: claim.bytes.len() };
                count += 1;
            }
            let beginning = self.beginning.as_raw_fd();
            // SAFETY: `count` parts were set above, each to memory that is mapped through the call. Of what they name the
            // kernel keeps the pages for as long as it needs them: those of a file, as `sendfile` does, and those of
            // `between`, where nothing is written over.
            let held = unsafe { libc::vmsplice(beginning, parts.as_ptr(), count, libc::SPLICE_F_NONBLOCK) };
            usize::try_from(held).map_err(|_| io::Error::last_os_error())
        }

        /// Bytes that are still in it.
        pub(crate) fn held(&self) -> usize {
            self.held
        }

        /// Gives `socket`, or another pipe, as many bytes as it takes now, and at most `count`.
        #[allow(unsafe_code)]
        pub(crate) fn drain(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
            let (from, to, count) = (self.end.as_raw_fd(), socket.as_raw_fd(), count.min(self.held));
            // SAFETY: both descriptors are open for as long as they are borrowed; neither has an offset.
            let sent =
                unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), count, libc::SPLICE_F_NONBLOCK) };
            let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
            self.held -= sent;
            Ok(sent)
        }

        /// Lets others use it, if it is empty.
        pub(crate) fn put_back(self) {
            if self.held == 0 {
                SPARE.set(Some(self));
            }
        }
    }

    /// Memory for what is between parts of files. The kernel reads it later, until the peer has it: nothing is written over.
    #[derive(Debug)]
    struct Between {
        base: NonNull<u8>,
        used: usize,
    }

    // SAFETY: it is an address that stays good until it is dropped, which any thread may do.
    #[allow(unsafe_code)]
    unsafe impl Send for Between {}

    impl Between {
        #[allow(unsafe_code)]
        fn new() -> io::Result<Self> {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new map, at an address of the kernel's choosing, overlaps nothing; its result is checked.
            let base = unsafe { libc::mmap(ptr::null_mut(), BETWEEN, access, kind, -1, 0) };
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?, used: 0 })
        }

        /// Leaves its pages to whoever still reads them: what is written next is in new ones.
        #[allow(unsafe_code)]
        fn renew(&mut self) -> io::Result<()> {
            // SAFETY: these pages are all of this map, which is private, and no reference is to what is in them.
            checked(unsafe { libc::madvise(self.base.as_ptr().cast(), BETWEEN, libc::MADV_DONTNEED) })?;
            self.used = 0;
            Ok(())
        }

        /// Where a copy of the bytes is, if there was room for it.
        #[allow(unsafe_code)]
        fn copy(&mut self, bytes: &[u8]) -> Option<*mut u8> {
            if BETWEEN - self.used < bytes.len() {
                return None;
            }
            // SAFETY: from `used` on there is room for the bytes, and no reference is to it.
            let copy = unsafe { self.base.as_ptr().add(self.used) };
            // SAFETY: as above; `bytes` are elsewhere.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len()) };
            self.used += bytes.len();
            Some(copy)
        }
    }

    impl Drop for Between {
        #[allow(unsafe_code)]
        fn drop(&mut self) {
            // SAFETY: this very map was made by `new`, and is unmapped once.
            unsafe {
                libc::munmap(self.base.as_ptr().cast(), BETWEEN);
            }
        }
    }

    /// One of at most [`MOST`].
    #[derive(Debug)]
    struct Counted(&'static AtomicUsize);

    impl Counted {
        fn of(all: &'static AtomicUsize) -> Option<Self> {
            let counted = Self(all);
            (all.fetch_add(1, Ordering::Relaxed) < MOST).then_some(counted)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn checked(result: libc::c_int) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    #[cfg(test)]
    mod tests {
        use std::io::{PipeReader, PipeWriter, Read as _};
        use std::os::fd::AsFd as _;
        use std::sync::Arc;
        use std::thread;

        use bytes::Bytes;

        use super::super::super::file::tests::file_of;
        use super::super::super::map::Idle;
        use super::super::super::outlet::{Origin, Outlet};
        use super::*;

        const LEN: u64 = 3 << 20;
        const FRAME: usize = 16 << 10;

        /// A file, parts of it as HTTP/2 sends them, each behind a head, and all of that in one.
        fn frames() -> (tempfile::NamedTempFile, Vec<Claim>, Vec<u8>) {
            let (file, bytes) = file_of(LEN);
            let open = Arc::new(file.reopen().unwrap());
            let outlet = Outlet::default();
            let map =
                outlet.lend_map(Arc::new(Idle::default()).lease(&open, LEN).unwrap(), Arc::new(Origin::new(open)), 0);
            let (mut claims, mut all) = (Vec::new(), Vec::new());
            for (at, part) in bytes.chunks(FRAME).enumerate() {
                let head = vec![at as u8; 9 + at];
                all.extend_from_slice(&head);
                all.extend_from_slice(part);
                claims.push(Bytes::from(head).into());
                claims.push(outlet.claim(&map[at * FRAME..][..part.len()]).unwrap());
            }
            (file, claims, all)
        }

        fn filled(claims: &[Claim]) -> Pipe {
            Pipe::of(claims.iter()).unwrap().unwrap()
        }

        fn drain(pipe: &mut Pipe, to: &PipeWriter, most: usize) {
            while pipe.held() > 0 {
                match pipe.drain(to.as_fd(), most) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                    sent => assert!((1..=most).contains(&sent.unwrap())),
                }
            }
        }

        fn read(mut from: PipeReader) -> thread::JoinHandle<Vec<u8>> {
            thread::spawn(move || {
                let mut got = Vec::new();
                from.read_to_end(&mut got).unwrap();
                got
            })
        }

        #[test]
        fn all_arrives_in_its_order() {
            let (_file, claims, expected) = frames();
            for most in [1000, FRAME, usize::MAX] {
                let (from, to) = io::pipe().unwrap();
                let reader = read(from);
                let mut left = claims.clone();
                while !left.is_empty() {
                    let mut pipe = filled(&left);
                    let mut off = pipe.held();
                    drain(&mut pipe, &to, most);
                    pipe.put_back();
                    left.retain_mut(|claim| {
                        let count = off.min(claim.bytes.len());
                        claim.advance(count);
                        off -= count;
                        !claim.bytes.is_empty()
                    });
                }
                drop(to);
                assert!(reader.join().unwrap() == expected, "{most} at a time");
            }
        }

        #[test]
        fn what_was_taken_over_is_not_written_over() {
            let (from, to) = io::pipe().unwrap();
            let mut pipe = filled(&[Bytes::from(vec![1; BETWEEN / 2 + 1]).into()]);
            drain(&mut pipe, &to, usize::MAX);
            // Each of these wants the room of the one before.
            for byte in 2..5 {
                let (far, near) = io::pipe().unwrap();
                let room = pipe.between.used;
                assert_eq!(pipe.fill([Bytes::from(vec![byte; BETWEEN / 2 + 1]).into()].iter()).unwrap(), room);
                pipe.held = room;
                drain(&mut pipe, &near, usize::MAX);
                drop(near);
                assert_eq!(read(far).join().unwrap(), vec![byte; room]);
            }
            drop(to);
            assert_eq!(read(from).join().unwrap(), vec![1; BETWEEN / 2 + 1]);
        }

        #[test]
        fn what_is_missing_is_told() {
            let (file, claims, _) = frames();
            // The page in which the file ends is there.
            file.as_file().set_len(2 * FRAME as u64 + 5).unwrap();
            let pipe = filled(&claims);
            let whole = 9 + FRAME + 10 + FRAME + 11;
            assert_eq!(pipe.held(), whole + 4096);
            let missing = Pipe::of(claims[7..].iter()).unwrap_err();
            assert_eq!(missing.raw_os_error(), Some(libc::EFAULT));
        }

        #[test]
        fn pipes_are_few() {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let mut all: Vec<_> = (0..MOST).map(|_| Counted::of(&COUNT).unwrap()).collect();
            assert!(Counted::of(&COUNT).is_none());
            all.pop();
            assert!(Counted::of(&COUNT).is_some());
        }
    }
}
