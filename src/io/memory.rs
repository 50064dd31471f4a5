//! How much memory the allocator keeps, and for whom.

/// Bounds the arenas of memory. The threads that come first have one each, and those that come later share them with all: start
/// those first that would wait for each other.
///
/// By default glibc makes eight a core, and with transfers on many blocking threads each keeps buffers of its own. Once there
/// are more than eight it has settled on a bound: so this comes before any thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn bound_arenas(count: usize) {
    set(libc::M_ARENA_MAX, count);
}

/// Has freed memory given back from 128 KiB on, always: what grew once would keep more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    set(libc::M_TRIM_THRESHOLD, 128 << 10);
}

/// Gives back what is free where that is much: by itself only what lies at the end of an arena goes, and after many small
/// buffers, such as those of uploads that were cut off, that is little. Takes some milliseconds then.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back_now() {
    const MUCH: usize = 64 << 20;
    // SAFETY: neither takes a pointer, and both lock what they look at.
    unsafe {
        if libc::mallinfo2().fordblks > MUCH {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn set(parameter: libc::c_int, value: usize) {
    let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes plain numbers, is thread-safe since glibc 2.26, and refuses what it does not know.
    unsafe { libc::mallopt(parameter, value) };
}

/// Other allocators have habits of their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn bound_arenas(_count: usize) {}

/// As [`bound_arenas`].
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

/// As [`bound_arenas`].
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_now() {}
