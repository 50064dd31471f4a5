//! Values as people write them. An error completes the sentence "`VALUE` …" and says how to write it instead.

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use crate::guard::Access;

type Result<T> = std::result::Result<T, String>;

pub(super) fn address(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| {
        "is no address: write an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080".to_owned()
    })
}

/// The URL of a store whose scheme is known. What it names is opened later.
pub(super) fn store(text: &str) -> Result<String> {
    const FORMS: &str = "file:DIR, memory:, s3://BUCKET, gs://BUCKET or az://CONTAINER";
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    match scheme {
        "file" if !rest.is_empty() => Ok(text.to_owned()),
        "memory" if matches!(rest, "" | "//" | "///") => Ok(text.to_owned()),
        "s3" | "gs" | "az" if rest.strip_prefix("//").is_some_and(|rest| !rest.trim_matches('/').is_empty()) => {
            Ok(text.to_owned())
        }
        "" if !rest.is_empty() => Err(format!("is no store: for a folder write file:{rest}; stores are {FORMS}")),
        _ => Err(format!("is no store: write {FORMS}")),
    }
}

/// A number of bytes, at least 1: `1048576`, `500MB` (a million each), `1GiB` (2^30).
pub(crate) fn size(text: &str) -> Result<u64> {
    const MEND: &str = "write a whole number of bytes, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 500MB or 1GiB";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(format!("is no size: {MEND}")),
    };
    if number.is_empty() {
        return Err(format!("is no size: {MEND}"));
    }
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes.filter(|bytes| i64::try_from(*bytes).is_ok()) {
        Some(0) => Err(format!("lets nothing through: {MEND}")),
        Some(bytes) => Ok(bytes),
        None => Err(format!("is beyond any size: {MEND}")),
    }
}

/// A time above zero: whole numbers of `ms`, `s`, `m`, `h`, one or several from long to short (`1m30s`).
pub(crate) fn duration(text: &str) -> Result<Duration> {
    const MEND: &str = "write a time such as 500ms, 30s, 5m, 1h or 1m30s";
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut longest = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("is no time: {MEND}")),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)).map(Duration::from_millis);
        let sum = part.filter(|_| millis < longest).and_then(|part| total.checked_add(part));
        total = sum.ok_or_else(|| format!("is no time: {MEND}"))?;
        longest = millis;
        rest = after;
    }
    if total.is_zero() { Err(format!("leaves no time: {MEND}")) } else { Ok(total) }
}

pub(super) fn switch(text: &str) -> Result<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("is neither: write on or off".to_owned()),
    }
}

/// `None` for `auto`.
pub(super) fn reflection(text: &str) -> Result<Option<bool>> {
    match text {
        "auto" => Ok(None),
        _ => switch(text).map(Some).map_err(|_| "is none of them: write auto, on or off".to_owned()),
    }
}

pub(super) fn access(text: &str) -> Result<Access> {
    match text {
        "read" => Ok(Access::Read),
        "write" => Ok(Access::Write),
        _ => Err("is neither: write read or write".to_owned()),
    }
}

/// Origins parted by commas.
pub(super) fn origins(text: &str) -> Result<Vec<String>> {
    text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(origin).collect()
}

/// An origin as a browser writes it in `Origin` (RFC 6454, section 6.2): lower case, IDNA, no default port.
fn origin(text: &str) -> Result<String> {
    const MEND: &str = "write scheme://host or scheme://host:port, such as https://app.example";
    let shown = text.escape_debug();
    let url = Url::parse(text).map_err(|_| format!("has no origin in `{shown}`: {MEND}"))?;
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("has no origin in `{shown}`: {MEND}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("has a user in it: {MEND}"));
    }
    let after_host = text.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?', '#', '\\']));
    if after_host || !text.contains("://") {
        return Err(format!("has an origin with more than a host and a port: write it without a path; {MEND}"));
    }
    Ok(match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("12b", 12),
            ("3KB", 3_000),
            ("3 MB", 3_000_000),
            ("3GB", 3_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("3KiB", 3 << 10),
            ("500mib", 500 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "GB",
            "1G",
            "1M",
            "1.5GB",
            "-1",
            "1e9",
            "1 G B",
            "0",
            "0GiB",
            "99999999999999999999",
            "9000000TiB",
            "١GB",
        ] {
            assert!(size(bad).unwrap_err().contains("1GiB"), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("1m30s", 90_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "30", "s", "0s", "1d", "-1s", "1.5s", "30s1m", "1s1s", "99999999999999999999s", "30 s", "1µs"]
        {
            assert!(duration(bad).unwrap_err().contains("30s"), "{bad}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (text, expected) in [
            ("https://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://127.0.0.1:5173", "http://127.0.0.1:5173"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(origin(text), Ok(expected.to_owned()), "{text}");
        }
        for bad in [
            "*",
            "null",
            "app.example",
            "app.example:80",
            "https://",
            "https:app",
            "https://a/b",
            "https://a?b",
            "https://u@a",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert_eq!(origins("https://a.example, http://b.example,").unwrap().len(), 2);
    }

    #[test]
    fn stores() {
        for good in ["file:x", "file:///srv/x", "file:/srv/x", "memory:", "memory://", "s3://b/p", "gs://b", "az://c"] {
            assert_eq!(store(good), Ok(good.to_owned()));
        }
        for bad in ["", "file:", "memory:x", "s3:", "s3://", "s3:///", "http://x", "./dir"] {
            assert!(store(bad).is_err(), "{bad}");
        }
    }
}
