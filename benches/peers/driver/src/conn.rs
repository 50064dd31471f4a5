//! A connection as the byte counter reads it: one buffer, refilled by large reads, whose bytes are looked at in place.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

/// Small enough to stay in the processor's cache, large enough for few system calls.
const BUFFER: usize = 256 << 10;

/// What is done with a body's bytes: nothing in a timed run, a digest in the check run.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]);

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Where a server is and how it is spoken to.
#[derive(Clone)]
pub struct Target {
    pub port: u16,
    pub tls: Option<Arc<rustls::RootCertStore>>,
    /// Bytes of receive buffer asked of the kernel, for readers that shall be slow.
    pub receive_buffer: Option<i32>,
}

impl Target {
    pub fn tcp(&self) -> Result<TcpStream> {
        let Some(bytes) = self.receive_buffer else {
            let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
            tcp.set_nodelay(true)?;
            return Ok(tcp);
        };
        // The window is agreed on at the handshake: the buffer is set before it.
        // SAFETY: plain socket calls on values that live through them; the descriptor is owned by the stream at once.
        unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                bail!(std::io::Error::last_os_error());
            }
            let tcp = TcpStream::from_raw_fd(fd);
            let size = size_of::<i32>() as libc::socklen_t;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const bytes).cast(), size);
            let mut address: libc::sockaddr_in = std::mem::zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_port = self.port.to_be();
            address.sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            if libc::connect(fd, (&raw const address).cast(), length) != 0 {
                bail!(std::io::Error::last_os_error());
            }
            Ok(tcp)
        }
    }

    pub fn connect(&self, protocol: &str) -> Result<Conn> {
        let tcp = self.tcp()?;
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
        let Some(roots) = &self.tls else {
            return Ok(Conn::new(Box::new(tcp)));
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let session = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
        Ok(Conn::new(Box::new(rustls::StreamOwned::new(session, tcp))))
    }
}

/// The congestion control that a connection to ourselves gets.
pub fn congestion_control() -> Result<String> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let tcp = TcpStream::connect(listener.local_addr()?)?;
    let mut name = [0_u8; 16];
    let mut length = name.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `name`.
    let outcome = unsafe {
        libc::getsockopt(
            tcp.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        bail!(std::io::Error::last_os_error());
    }
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

pub struct Conn {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Conn {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, buffer: vec![0; BUFFER], start: 0, end: 0 }
    }

    /// What has come and was not taken yet.
    pub fn here(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn take(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Waits for more, at least one byte.
    pub fn more(&mut self) -> Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            bail!("a head larger than {BUFFER} bytes");
        }
        match self.stream.read(&mut self.buffer[self.end..]).context("reading")? {
            0 => bail!("the server ended the connection"),
            read => self.end += read,
        }
        Ok(())
    }

    /// Waits until at least so many bytes are here.
    pub fn at_least(&mut self, bytes: usize) -> Result<()> {
        while self.end - self.start < bytes {
            self.more()?;
        }
        Ok(())
    }

    /// Gives the next `bytes` bytes to the sink as they come.
    pub fn pass(&mut self, mut bytes: u64, sink: Sink<'_>) -> Result<()> {
        while bytes > 0 {
            if self.start == self.end {
                self.more()?;
            }
            let now = ((self.end - self.start) as u64).min(bytes) as usize;
            sink(&self.buffer[self.start..self.start + now]);
            self.start += now;
            bytes -= now as u64;
        }
        Ok(())
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(())
    }

    /// One read of at most `bytes`, thrown away: a slow reader.
    pub fn sip(&mut self, bytes: usize) -> Result<usize> {
        let bytes = bytes.min(self.buffer.len());
        Ok(self.stream.read(&mut self.buffer[..bytes])?)
    }
}
