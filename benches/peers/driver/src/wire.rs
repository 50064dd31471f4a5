//! The few messages of `peer.proto`, written and read by hand.

use anyhow::{Context as _, Result, bail};

pub const DOWNLOAD: &str = "/wirephoto.v1.ImageService/DownloadImage";
pub const UPLOAD: &str = "/wirephoto.v1.ImageService/UploadImage";
/// Bytes of an image in one message of an upload.
const CHUNK: usize = 1 << 20;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(number: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(value.len() as u64, out);
    out.extend(value);
}

fn number_field(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number << 3), out);
    varint(value, out);
}

/// A message with the five bytes that gRPC sets before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend((message.len() as u32).to_be_bytes());
    out.extend(message);
    out
}

pub fn download(id: &str) -> Vec<u8> {
    let mut message = Vec::new();
    bytes_field(1, format!("images/{id}").as_bytes(), &mut message);
    framed(&message)
}

/// The body of an upload that may replace what is there.
pub fn upload(id: &str, image: &[u8]) -> Vec<u8> {
    let mut spec = Vec::new();
    bytes_field(1, id.as_bytes(), &mut spec);
    number_field(3, image.len() as u64, &mut spec);
    number_field(4, 1, &mut spec);
    let mut body = Vec::with_capacity(image.len() + image.len() / 1000);
    let mut at = 0;
    for piece in image.chunks(CHUNK) {
        let mut message = Vec::new();
        if at == 0 {
            bytes_field(1, &spec, &mut message);
        }
        number_field(2, at as u64, &mut message);
        let mut chunk = Vec::new();
        bytes_field(1, piece, &mut chunk);
        bytes_field(3, &chunk, &mut message);
        at += piece.len();
        if at == image.len() {
            number_field(4, 1, &mut message);
        }
        body.extend(framed(&message));
    }
    body
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>> {
    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(length).context("a message cut short")?;
        *bytes = rest;
        Ok(taken)
    }
    fn number(bytes: &mut &[u8]) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = take(bytes, 1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number without an end")
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(number(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Value::Other)?,
            2 => {
                let length = number(&mut bytes)? as usize;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => take(&mut bytes, 4).map(|_| Value::Other)?,
            kind => bail!("a field of kind {kind}"),
        };
        found.push((tag >> 3, value));
    }
    Ok(found)
}

fn inside(message: &[u8], number: u64) -> Result<Option<&[u8]>> {
    let found = fields(message)?.into_iter().find_map(|(field, value)| match value {
        Value::Bytes(bytes) if field == number => Some(bytes),
        _ => None,
    });
    Ok(found)
}

fn messages(mut body: &[u8]) -> Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let (head, rest) = body.split_at_checked(5).context("a message's head cut short")?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at_checked(length).context("a message cut short")?;
        body = rest;
        match head[0] {
            0 => found.push(message),
            // gRPC-Web's trailers.
            0x80 => {
                let text = String::from_utf8_lossy(message).replace(' ', "").to_ascii_lowercase();
                if !text.contains("grpc-status:0") {
                    bail!("the call failed: {text}");
                }
            }
            flag => bail!("a message with flag {flag}"),
        }
    }
    Ok(found)
}

/// The image in the body of a download.
pub fn image(body: &[u8]) -> Result<Vec<u8>> {
    let mut image = Vec::with_capacity(body.len());
    for message in messages(body)? {
        if let Some(chunk) = inside(message, 3)?
            && let Some(data) = inside(chunk, 1)?
        {
            image.extend(data);
        }
    }
    Ok(image)
}

/// How many bytes the answer to an upload says were taken.
pub fn uploaded(body: &[u8]) -> Result<u64> {
    let all = messages(body)?;
    let message = all.first().context("no answer to the upload")?;
    let image = inside(message, 1)?.context("an answer without an image")?;
    let size = fields(image)?.into_iter().find_map(|(field, value)| match value {
        Value::Number(size) if field == 3 => Some(size),
        _ => None,
    });
    size.context("an image without a size")
}
