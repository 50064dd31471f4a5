//! Photographs for tests: the samples of tests/data, and one of 60 MB made of them.
#![allow(clippy::expect_used, reason = "a test without its samples has nothing to go on with")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use image::RgbImage;

/// Size of what [`sixty_megabytes`] gives.
pub(crate) const SIXTY_MEGABYTES: usize = 60_000_000;

/// Pixels of the large bitmap, chosen so that its rows and a header of 60 bytes make 60,000,000.
const WIDTH: u32 = 5148;
const HEIGHT: u32 = 3885;

/// The bytes of a sample of tests/data.
pub(crate) fn photo(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read the sample {}: {error}", path.display()))
}

/// An uncompressed bitmap of exactly 60,000,000 bytes that shows the photograph again and again.
///
/// The same seed gives the same bytes, another seed others almost everywhere. Made once for each seed.
pub(crate) fn sixty_megabytes(seed: u32) -> Bytes {
    static MADE: LazyLock<Mutex<HashMap<u32, Bytes>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(seed).or_insert_with(|| Bytes::from(tiled(seed))).clone()
}

/// A bitmap (`BITMAPINFOHEADER`, 24 bits, rows from the bottom up), tiled from a corner that the seed moves.
fn tiled(seed: u32) -> Vec<u8> {
    static TILE: LazyLock<RgbImage> =
        LazyLock::new(|| image::load_from_memory(&photo("photo.jpg")).expect("photo.jpg is a JPEG").into_rgb8());
    let mut bitmap = Vec::with_capacity(SIXTY_MEGABYTES);
    bitmap.extend_from_slice(b"BM");
    // Size of the file, reserved (any reader skips it: the seed keeps all seeds apart), and where the pixels begin.
    for number in [SIXTY_MEGABYTES as u32, seed, 60, 40, WIDTH, HEIGHT] {
        bitmap.extend_from_slice(&number.to_le_bytes());
    }
    // One plane of 24 bits; the rest of the header may be zero.
    bitmap.extend_from_slice(&[1, 0, 24, 0]);
    bitmap.resize(60, 0);
    let (across, down) = TILE.dimensions();
    let row_len = across as usize * 3;
    let shift = seed.wrapping_mul(37) % across;
    for y in 0..HEIGHT {
        let row = (y + seed.wrapping_mul(53)) % down;
        let pixels = (0..across).flat_map(|x| {
            let [red, green, blue] = TILE.get_pixel((x + shift) % across, row).0;
            [blue, green, red]
        });
        let start = bitmap.len();
        bitmap.extend(pixels);
        // The row again and again, then its rest; 5148 pixels need no padding.
        while bitmap.len() - start < WIDTH as usize * 3 {
            let rest = (WIDTH as usize * 3 - (bitmap.len() - start)).min(row_len);
            bitmap.extend_from_within(start..start + rest);
        }
    }
    bitmap
}

#[test]
fn sixty_megabytes_are_a_photograph_of_exactly_that_size() {
    let (one, two) = (sixty_megabytes(1), sixty_megabytes(2));
    assert_eq!(one.len(), SIXTY_MEGABYTES);
    assert_eq!(one, tiled(1));
    let same = one.iter().zip(two.iter()).filter(|(one, two)| one == two).count();
    assert!(same < SIXTY_MEGABYTES / 5, "{same} bytes are the same");
    let decoded = image::load_from_memory(&one).expect("it is a bitmap").into_rgb8();
    assert_eq!(decoded.dimensions(), (WIDTH, HEIGHT));
    let tile = image::load_from_memory(&photo("photo.jpg")).expect("photo.jpg is a JPEG").into_rgb8();
    // Rows come from the bottom up; 37 and 53 are where the seed begins.
    assert_eq!(decoded.get_pixel(0, HEIGHT - 1), tile.get_pixel(37, 53));
}
