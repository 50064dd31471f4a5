//! `Range`: which bytes a `GET` asks for (RFC 9110 section 14).

use std::ops::Range;

/// Parts of one answer at most, once coalesced; a request for more is answered whole.
pub(super) const MAX_PARTS: usize = 16;

/// What a `Range` field selects of so many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// Everything: the field is malformed, of another unit, or asks for too many parts.
    Whole,
    /// These: never none, never empty ones, in the order asked for; none touches another.
    Parts(Vec<Range<u64>>),
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// One `range-spec`, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// From here to there, inclusive, or to the end.
    From(u64, Option<u64>),
    /// So many last bytes.
    Last(u64),
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", length) => Some(Self::Last(number(length)?)),
            (first, "") => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The bytes meant, of `size`; `None` when there are none.
    fn resolve(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(size, |last| size.min(last.saturating_add(1))),
            Self::Last(length) => size.saturating_sub(length)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Digits; a number too large for the type is as good as its largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn parse(field: &[u8]) -> Option<Vec<Spec>> {
    let (unit, set) = std::str::from_utf8(field).ok()?.trim_ascii().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let specs: Vec<Spec> = specs.map(Spec::parse).collect::<Option<_>>()?;
    (!specs.is_empty()).then_some(specs)
}

/// Evaluates a `Range` field against an image of `size` bytes.
pub(super) fn select(field: &[u8], size: u64) -> Selection {
    let Some(specs) = parse(field) else { return Selection::Whole };
    let parts = coalesce(specs.into_iter().filter_map(|spec| spec.resolve(size)).collect());
    match parts.len() {
        0 => Selection::Unsatisfiable,
        1..=MAX_PARTS => Selection::Parts(parts),
        _ => Selection::Whole,
    }
}

/// Joins ranges that overlap or touch; each stands where the first of those it is made of stood (section 15.3.7.2).
fn coalesce(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut by_start: Vec<(usize, Range<u64>)> = ranges.into_iter().enumerate().collect();
    by_start.sort_by_key(|(_, range)| range.start);
    let mut joined: Vec<(usize, Range<u64>)> = Vec::with_capacity(by_start.len());
    for (place, range) in by_start {
        match joined.last_mut() {
            Some((earlier, last)) if range.start <= last.end => {
                last.end = last.end.max(range.end);
                *earlier = place.min(*earlier);
            }
            _ => joined.push((place, range)),
        }
    }
    joined.sort_by_key(|(place, _)| *place);
    joined.into_iter().map(|(_, range)| range).collect()
}

/// Value of `Content-Range` for a part of an image of `size` bytes.
pub(super) fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// Value of `Content-Range` on a 416.
pub(super) fn unsatisfied_range(size: u64) -> String {
    format!("bytes */{size}")
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::{MAX_PARTS, Selection, content_range, select, unsatisfied_range};

    fn part(part: Range<u64>) -> Selection {
        Selection::Parts(Vec::from([part]))
    }

    fn parts(parts: &[Range<u64>]) -> Selection {
        Selection::Parts(parts.to_vec())
    }

    #[test]
    fn the_rfc_s_cases_of_ten_thousand_bytes() {
        let table = [
            ("bytes=0-499", part(0..500)),
            ("bytes=500-999", part(500..1000)),
            ("bytes=-500", part(9500..10000)),
            ("bytes=9500-", part(9500..10000)),
            ("bytes=0-0,-1", parts(&[0..1, 9999..10000])),
            ("bytes= 0-999, 4500-5499, -1000", parts(&[0..1000, 4500..5500, 9000..10000])),
            ("bytes=500-600,601-999", part(500..1000)),
            ("bytes=500-700,601-999", part(500..1000)),
            ("bytes=9000-, 0-9,5-19, 8000-8999", parts(&[8000..10000, 0..20])),
            ("bytes=0-", part(0..10000)),
            ("bytes=-20000", part(0..10000)),
            ("bytes=9999-99999999999999999999999", part(9999..10000)),
            ("BYTES=1-2", part(1..3)),
            ("bytes=,1-2,,", part(1..3)),
            ("bytes=1-2,20000-", part(1..3)),
            ("bytes=10000-", Selection::Unsatisfiable),
            ("bytes=10000-10001,-0", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=99999999999999999999-", Selection::Unsatisfiable),
            ("bytes=2-1", Selection::Whole),
            ("bytes=1-2,x", Selection::Whole),
            ("bytes=1-2,4-3", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("bytes=,", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=1", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=1 -2", Selection::Whole),
            ("bytes =1-2", Selection::Whole),
            ("bytes=--1", Selection::Whole),
            ("pixels=1-2", Selection::Whole),
            ("1-2", Selection::Whole),
            ("", Selection::Whole),
        ];
        for (field, wanted) in table {
            assert_eq!(select(field.as_bytes(), 10000), wanted, "{field}");
        }
    }

    #[test]
    fn nothing_of_an_empty_body_can_be_satisfied() {
        for field in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(select(field.as_bytes(), 0), Selection::Unsatisfiable, "{field}");
        }
    }

    #[test]
    fn too_many_parts_are_answered_whole_unless_they_touch() {
        let list = |count: u64, gap: u64| {
            let specs: Vec<String> = (0..count).map(|n| format!("{0}-{0}", n * gap)).collect();
            select(format!("bytes={}", specs.join(",")).as_bytes(), 10000)
        };
        let limit = MAX_PARTS as u64;
        assert!(matches!(list(limit, 2), Selection::Parts(parts) if parts.len() == MAX_PARTS));
        assert_eq!(list(limit + 1, 2), Selection::Whole);
        assert_eq!(list(1000, 1), part(0..1000));
    }

    #[test]
    fn content_range_is_inclusive() {
        assert_eq!(content_range(&(0..500), 1234), "bytes 0-499/1234");
        assert_eq!(unsatisfied_range(1234), "bytes */1234");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(field in proptest::collection::vec(any::<u8>(), 0..80), size: u64) {
            let _ = select(&field, size);
        }

        #[test]
        fn what_is_written_is_selected(size in 1u64..1 << 40, a: u64, b: u64) {
            let (a, b) = (a % size, b % size);
            let (first, last) = (a.min(b), a.max(b));
            let asked = format!("bytes={first}-{last}");
            let wanted = first..last + 1;
            prop_assert_eq!(select(asked.as_bytes(), size), part(wanted.clone()));
            let shown = content_range(&wanted, size);
            prop_assert_eq!(shown, format!("bytes {first}-{last}/{size}"));
        }

        #[test]
        fn parts_cover_what_was_asked_and_never_touch(
            asked in proptest::collection::vec((0u64..300, 0u64..20), 1..40),
        ) {
            let specs: Vec<String> = asked.iter().map(|(at, more)| format!("{at}-{}", at + more)).collect();
            let covered = |byte: u64| asked.iter().any(|(at, more)| (*at..=at + more).contains(&byte));
            match select(format!("bytes={}", specs.join(",")).as_bytes(), 256) {
                Selection::Unsatisfiable => prop_assert!((0..256).all(|byte| !covered(byte))),
                Selection::Whole => prop_assert!(asked.len() > MAX_PARTS),
                Selection::Parts(mut parts) => {
                    for byte in 0..256 {
                        prop_assert_eq!(parts.iter().any(|part| part.contains(&byte)), covered(byte));
                    }
                    parts.sort_by_key(|part| part.start);
                    prop_assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start));
                }
            }
        }
    }
}
