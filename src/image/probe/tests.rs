//! Every sample against what an independent reader found in it, and bytes that are no image at all.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
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

/// Counts the bytes that are read of what it holds.
struct Counted(Cursor<Vec<u8>>, u64);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.read(buffer)?;
        self.1 += len as u64;
        Ok(len)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn of_a_large_image_only_the_header_is_read() {
    for (name, mut bytes, expected) in samples() {
        // GIF says nowhere how many frames there are.
        if expected.media_type != Format::Gif {
            bytes.resize(60_000_000, 0);
            let size = bytes.len() as u64;
            let mut counted = Counted(Cursor::new(bytes), 0);
            let found = probe(expected.media_type, size, BufReader::new(&mut counted)).unwrap();
            assert_eq!((found.width, found.frame_count), (expected.width, expected.frame_count), "{name}");
            assert!(counted.1 < 256 * 1024, "{name}: read {} bytes", counted.1);
        }
    }
}

#[test]
fn metadata_of_any_claimed_length_is_not_kept() {
    // An Exif chunk that claims 4 GiB.
    let mut webp = b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\x08\0\0\0\x0f\0\0\x1f\0\0VP8L\0\0\0\0".to_vec();
    webp.extend_from_slice(b"EXIF\xfe\xff\xff\xff");
    let found = read(Format::Webp, &webp).unwrap();
    assert_eq!((found.width, found.height, found.orientation), (16, 32, 1));

    // A GIF with 8 MiB of XMP: more than is kept, and no viewer's writer makes such.
    let mut gif = b"GIF89a\x10\0\x10\0\0\0\0!\xff\x0bXMP DataXMP".to_vec();
    gif.extend([&[255_u8][..], &[b'x'; 255]].concat().repeat(32 * 1024));
    let error = read(Format::Gif, &gif).unwrap_err();
    assert_eq!(error.reason, Reason::NotAnImage, "{error}");
}

#[test]
fn a_reader_that_fails_is_no_fault_of_the_image() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
            Ok(0)
        }
    }
    for format in Format::ALL {
        let error = probe(format, 1000, BufReader::new(Broken)).unwrap_err();
        assert_eq!(error.reason, Reason::Internal, "{format:?}: {error}");
        assert!(!error.message.contains("fire"), "{error}");
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
