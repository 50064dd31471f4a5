//! The digests of an upload, made while it streams in, and held against what the sender says they are.

use bytes::Bytes;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::task::{self, JoinHandle};

use super::Checksums;
use crate::error::{Error, Reason, Result};

/// Fewer bytes than this are hashed where they are: a hop to another thread would take longer.
const INLINE: usize = 32 * 1024;

/// The running digests.
#[derive(Debug, Clone)]
struct Digests {
    sha256: Sha256,
    sha512: Option<Sha512>,
    crc32c: u32,
    size: u64,
}

/// Digests whole parts off the async threads, one part at a time, while the next part arrives.
#[derive(Debug)]
pub(super) struct Digester {
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(Box<Digests>),
    Busy(JoinHandle<Box<Digests>>),
}

/// What an upload's bytes add up to.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
    pub(super) sha512: Option<[u8; 64]>,
    pub(super) crc32c: u32,
}

impl Digester {
    pub(super) fn new(sha512: bool) -> Self {
        let sha512 = sha512.then(Sha512::new);
        Self { state: State::Idle(Box::new(Digests { sha256: Sha256::new(), sha512, crc32c: 0, size: 0 })) }
    }

    /// Adds a part; returns once the part before it is done.
    pub(super) async fn add(&mut self, part: &Bytes) -> Result<()> {
        let mut digests = self.idle().await?.clone();
        self.state = if part.len() <= INLINE {
            digests.add(part);
            State::Idle(digests)
        } else {
            let part = part.clone();
            State::Busy(task::spawn_blocking(move || {
                digests.add(&part);
                digests
            }))
        };
        Ok(())
    }

    pub(super) async fn summary(mut self) -> Result<Summary> {
        let digests = self.idle().await?.clone();
        Ok(Summary {
            size: digests.size,
            sha256: digests.sha256.finalize().into(),
            sha512: digests.sha512.map(|digest| digest.finalize().into()),
            crc32c: digests.crc32c,
        })
    }

    async fn idle(&mut self) -> Result<&Box<Digests>> {
        if let State::Busy(busy) = &mut self.state {
            self.state = State::Idle(busy.await.map_err(Error::internal)?);
        }
        match &self.state {
            State::Idle(digests) => Ok(digests),
            State::Busy(_) => Err(Error::internal("the digests of an upload are busy")),
        }
    }
}

impl Digests {
    fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.size += bytes.len() as u64;
    }
}

impl Summary {
    /// SHA-256, lower-case hexadecimal.
    pub(super) fn sha256_hex(&self) -> String {
        hex::encode(self.sha256)
    }

    /// Holds the bytes against what the sender said of them.
    pub(super) fn verify(&self, said: &Checksums, announced: Option<u64>) -> Result<()> {
        for size in [announced, said.size].into_iter().flatten() {
            if size != self.size {
                let message = format!("{size} bytes were announced and {} arrived: send the image again", self.size);
                return Err(Error::new(Reason::ChecksumMismatch, message));
            }
        }
        let pairs = [
            ("SHA-256", said.sha256.map(hex::encode), Some(self.sha256_hex())),
            ("SHA-512", said.sha512.map(hex::encode), self.sha512.map(hex::encode)),
            ("CRC-32C", said.crc32c.map(|crc| format!("{crc:08x}")), Some(format!("{:08x}", self.crc32c))),
        ];
        for (name, said, found) in pairs {
            let Some(said) = said else { continue };
            let Some(found) = found else {
                return Err(Error::internal(format!("a {name} to verify was not asked for beforehand")));
            };
            if said != found {
                let message = format!(
                    "the {name} of the bytes that arrived is {found}, not {said}: they were changed on the way, \
                     send the image again"
                );
                return Err(Error::new(Reason::ChecksumMismatch, message));
            }
        }
        Ok(())
    }
}
