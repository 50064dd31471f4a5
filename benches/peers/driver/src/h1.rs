//! HTTP/1.1, as much as a byte counter needs.

use anyhow::{Context as _, Result, bail};

use crate::conn::{Conn, Sink};

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

pub fn head(method: &str, path: &str, media_type: &str, length: usize) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
         \r\n"
    )
    .into_bytes()
}

/// Sends the request and counts the bytes of the answer's body.
pub fn exchange(conn: &mut Conn, request: &[&[u8]], sink: Sink<'_>) -> Result<u64> {
    for part in request {
        conn.write_all(part)?;
    }
    let length = loop {
        if let Some(at) = conn.here().windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&conn.here()[..at]).to_ascii_lowercase();
            conn.take(at + 4);
            let status = head.split(' ').nth(1).unwrap_or_default();
            if !status.starts_with('2') {
                bail!("the server answered {}", head.lines().next().unwrap_or_default());
            }
            let field = |name: &str| {
                let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(|value| value.trim().to_owned())
            };
            break match field("content-length") {
                Some(length) => Some(length.parse().context("content-length")?),
                None if field("transfer-encoding").as_deref() == Some("chunked") => None,
                None => bail!("neither a length nor chunks: {head}"),
            };
        }
        conn.more()?;
    };
    if let Some(length) = length {
        conn.pass(length, sink)?;
        return Ok(length);
    }
    let mut total = 0;
    loop {
        let size = line(conn)?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16).context("a chunk's size")?;
        if size == 0 {
            while !line(conn)?.is_empty() {}
            return Ok(total);
        }
        conn.pass(size, sink)?;
        if !line(conn)?.is_empty() {
            bail!("a chunk longer than its size");
        }
        total += size;
    }
}

fn line(conn: &mut Conn) -> Result<String> {
    loop {
        if let Some(at) = conn.here().windows(2).position(|two| two == b"\r\n") {
            let line = String::from_utf8_lossy(&conn.here()[..at]).into_owned();
            conn.take(at + 2);
            return Ok(line);
        }
        conn.more()?;
    }
}
