//! Addresses that the system maps to a file, or to memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};

/// So many bytes from an address on, which is good until this is dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address, which any thread may use and unmap.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as above; what is at the address is the affair of whoever reads it.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first `len` bytes of a file, and not none, to be read.
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Self> {
        Self::new(len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// New memory, to be written as well.
    pub(super) fn of_memory(len: usize) -> io::Result<Self> {
        Self::new(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    #[allow(unsafe_code)]
    fn new(len: usize, access: libc::c_int, kind: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new map, at an address of the kernel's choosing, overlaps nothing; its result is checked.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?, len })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: this very map was made by `new` and is unmapped once; who takes slices of it keeps it for as long as they live.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
    }
}
