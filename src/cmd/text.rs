//! Figures and foreign text as a person at a terminal can read them.

use std::borrow::Cow;

use crate::client::Image;
use crate::well_known::Timestamp;

/// Text that cannot steer a terminal: control characters and those that turn the direction of writing are escaped.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `60.1 MB`: three digits, decimal units.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut figure = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while figure >= 999.5 && unit + 1 < UNITS.len() {
        figure /= 1000.0;
        unit += 1;
    }
    let decimals = if figure < 9.995 {
        2
    } else if figure < 99.95 {
        1
    } else {
        0
    };
    format!("{figure:.decimals$} {}", UNITS[unit])
}

/// `2026-11-21 11:26:05Z`.
pub(super) fn time(time: Option<&Timestamp>) -> String {
    time.and_then(|time| time.to_utc())
        .map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// `4032x3024`.
pub(super) fn pixels(image: &Image) -> String {
    format!("{}x{}", image.width, image.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert!(matches!(safe("Größe 写真.jpg 👍"), Cow::Borrowed(_)));
        for (text, expected) in [
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("a\r\nb\t", "a\\r\\nb\\t"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_995, "10.0 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (60_123_456, "60.1 MB"),
            (i64::MAX, "9223 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(Some(&Timestamp { seconds: 86_399, nanos: 9 })), "1970-01-01 23:59:59Z");
        assert_eq!(time(None), "-");
        assert_eq!(time(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), "-");
    }
}
