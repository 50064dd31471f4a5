//! How the allocator gives memory back.

/// Keeps freed buffers from piling up: as many arenas as cores, each trimmed from 128 KiB on.
///
/// By default glibc makes eight arenas a core, and with transfers on many blocking threads each keeps buffers of its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes plain numbers, is thread-safe since glibc 2.26, and refuses what it does not know.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// Other allocators have habits of their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
