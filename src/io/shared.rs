//! An open file that is read and sent by many at once.

use std::fs::{File, Metadata};
use std::ops::Deref;

#[cfg(target_os = "linux")]
use super::cached::Cached;
#[cfg(target_os = "linux")]
use super::map::Spare;

/// An open file of so many bytes, which never change; with it stays what sending it again can use.
#[derive(Debug)]
pub(crate) struct SharedFile {
    file: File,
    len: u64,
    #[cfg(target_os = "linux")]
    pub(super) spare: Spare,
    #[cfg(target_os = "linux")]
    pub(super) cached: Cached,
}

impl SharedFile {
    /// A file that has `len` bytes.
    pub(crate) fn new(file: File, len: u64) -> Self {
        Self {
            file,
            len,
            #[cfg(target_os = "linux")]
            spare: Spare::default(),
            #[cfg(target_os = "linux")]
            cached: Cached::default(),
        }
    }

    /// Bytes that the file had when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file still has a name, and as many bytes.
    #[cfg(unix)]
    pub(crate) fn is_whole(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0 && metadata.len() == self.len)
    }

    /// Nobody can tell whether it still has a name here.
    #[cfg(not(unix))]
    pub(crate) fn is_whole(&self) -> bool {
        false
    }
}

/// Whether two are one file.
#[cfg(unix)]
pub(crate) fn same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Nobody can tell here.
#[cfg(not(unix))]
pub(crate) fn same_file(_: &Metadata, _: &Metadata) -> bool {
    true
}

impl Deref for SharedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::file::tests::file_of;
    use super::*;

    #[test]
    fn a_file_that_was_cut_or_removed_is_not_whole() {
        let (file, _) = file_of(100);
        let shared = SharedFile::new(file.reopen().unwrap(), 100);
        assert!(shared.is_whole());
        file.as_file().set_len(99).unwrap();
        assert!(!shared.is_whole());
        file.as_file().set_len(100).unwrap();
        assert!(shared.is_whole());
        drop(file);
        assert!(!shared.is_whole());
    }
}
