//! How the allocator gives memory back.

/// Bytes that an arena may keep at its end, and the least that is asked of the system by itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 4 << 20;

/// Keeps freed buffers from piling up, and those of a transfer from being given back and asked for again with every
/// message: as many arenas as cores, each trimmed from 4 MiB on.
///
/// By default glibc makes eight arenas a core, and with transfers on many blocking threads each keeps buffers of its own.
/// Memory above the threshold of `mmap` comes from the system, which clears it page by page.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes plain numbers, is thread-safe since glibc 2.26, and refuses what it does not know.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
    }
}

/// Other allocators have habits of their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
