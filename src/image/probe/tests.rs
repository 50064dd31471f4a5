//! Every sample against what an independent reader found in it, and bytes that are no image at all.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;

use super::{Format, Probe, probe, sniff};
use crate::error::{Error, Reason};

#[derive(Deserialize)]
struct Expected {
    media_type: Format,
    width: u32,
    height: u32,
    orientation: u8,
    frame_count: u32,
    has_alpha: bool,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn samples() -> Vec<(String, Vec<u8>, Expected)> {
    let expected = std::fs::read(data("expected.json")).unwrap();
    let expected: std::collections::BTreeMap<String, Expected> = serde_json::from_slice(&expected).unwrap();
    let sample = |(name, expected): (String, Expected)| (name.clone(), std::fs::read(data(&name)).unwrap(), expected);
    expected.into_iter().map(sample).collect()
}

fn read(format: Format, bytes: &[u8]) -> Result<Probe, Error> {
    probe(format, bytes.len() as u64, Cursor::new(bytes))
}

#[test]
fn every_sample_is_what_pillow_says() {
    let samples = samples();
    for format in Format::ALL {
        assert!(samples.iter().any(|(_, _, expected)| expected.media_type == format), "no sample of {format:?}");
    }
    for (name, bytes, expected) in samples {
        let Expected { media_type, width, height, orientation, frame_count, has_alpha } = expected;
        assert_eq!(sniff(&bytes).ok(), Some(media_type), "{name}");
        let found = read(media_type, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, Probe { width, height, orientation, frame_count, has_alpha }, "{name}");
    }
}

#[test]
fn an_image_cut_off_is_refused_or_the_same_never_a_panic() {
    for (name, bytes, expected) in samples() {
        let whole = read(expected.media_type, &bytes).unwrap();
        for len in (0..bytes.len().min(2000)).chain((2000..bytes.len()).step_by(997)) {
            match read(expected.media_type, &bytes[..len]) {
                Ok(found) => assert!(
                    (found.width, found.height) == (whole.width, whole.height) || expected.media_type == Format::Svg,
                    "{name} cut to {len} bytes is {found:?}"
                ),
                Err(error) => assert_eq!(error.reason, Reason::NotAnImage, "{name} cut to {len} bytes: {error}"),
            }
        }
        let error = read(expected.media_type, &bytes[..8]).unwrap_err();
        assert!(error.message.contains("JPEG, PNG, GIF, WebP, AVIF, TIFF, BMP or SVG"), "{name}: {error}");
    }
}

#[test]
fn heic_is_refused_by_name() {
    let error = sniff(&std::fs::read(data("header.heic")).unwrap()).unwrap_err();
    assert_eq!(error.reason, Reason::NotAnImage);
    assert!(error.message.contains("HEIC") && error.message.contains("convert"), "{error}");
}

#[test]
fn formats_are_stored_as_their_media_types() {
    for format in Format::ALL {
        let text = format!("\"{}\"", format.media_type());
        assert_eq!(serde_json::to_string(&format).unwrap(), text);
        assert_eq!(serde_json::from_str::<Format>(&text).unwrap(), format);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = sniff(&bytes);
        for format in Format::ALL {
            if let Err(error) = read(format, &bytes) {
                prop_assert_eq!(error.reason, Reason::NotAnImage, "{:?}: {}", format, error);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_images_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        whole in any::<bool>(),
    ) {
        for (_, mut bytes, expected) in samples() {
            // Damage in the header finds more than damage anywhere.
            let reach = if whole { bytes.len() } else { bytes.len().min(400) };
            for (place, byte) in &changes {
                bytes[place.index(reach)] = *byte;
            }
            match read(expected.media_type, &bytes) {
                Ok(found) => prop_assert!(found.width > 0 && found.height > 0 && (1..=8).contains(&found.orientation)),
                Err(error) => prop_assert_eq!(error.reason, Reason::NotAnImage, "{}", error),
            }
        }
    }
}
