//! Images to move: bitmaps of any size that show a photograph, each different from the others.

use std::sync::LazyLock;

use image::RgbImage;

/// Bytes of the two headers of a bitmap.
const HEADERS: u64 = 54;

/// The smallest image that can be made, in bytes.
pub(super) const SMALLEST: u64 = 1_000;

/// The largest, in bytes: a bitmap's size has 32 bits, and it is made in memory.
pub(super) const LARGEST: u64 = 2_000_000_000;

/// An uncompressed bitmap (`BITMAPINFOHEADER`, 24 bits) of exactly `size` bytes that shows the photograph again and
/// again, from a corner that the seed moves. The same seed gives the same bytes, another seed others.
pub(super) fn bitmap(size: u64, seed: u32) -> Result<Vec<u8>, String> {
    #[allow(clippy::expect_used, reason = "a photograph that is part of the program")]
    static TILE: LazyLock<RgbImage> = LazyLock::new(|| {
        let photograph = include_bytes!("../../tests/data/photo.jpg");
        image::load_from_memory(photograph).expect("a JPEG").into_rgb8()
    });
    let (across, down) = TILE.dimensions();
    let too_large = |_| format!("no image of {size} bytes can be made");
    let pixels = size.saturating_sub(HEADERS) / 3;
    // Four pixels wide at least, and rows that need no padding.
    let width = u32::try_from(pixels.isqrt() / 4 * 4).map_err(too_large)?.max(4);
    let row_len = u64::from(width) * 3;
    let height = u32::try_from(size.saturating_sub(HEADERS) / row_len).map_err(too_large)?;
    // What is over goes between headers and pixels, where any reader skips it.
    let begin = u32::try_from(size - u64::from(height) * row_len).map_err(too_large)?;
    let file_size = u32::try_from(size).map_err(too_large)?;
    let (row_len, begin_at) = (row_len as usize, begin as usize);

    let mut bitmap = Vec::with_capacity(file_size as usize);
    bitmap.extend_from_slice(b"BM");
    for number in [file_size, seed, begin, 40, width, height] {
        bitmap.extend_from_slice(&number.to_le_bytes());
    }
    bitmap.extend_from_slice(&[1, 0, 24, 0]);
    bitmap.resize(begin_at, 0);
    let shift = seed.wrapping_mul(37) % across;
    for y in 0..height {
        let row = (y + seed.wrapping_mul(53)) % down;
        let start = bitmap.len();
        for x in 0..across.min(width) {
            let [red, green, blue] = TILE.get_pixel((x + shift) % across, row).0;
            bitmap.extend_from_slice(&[blue, green, red]);
        }
        let tile = bitmap.len() - start;
        while bitmap.len() - start < row_len {
            let rest = (row_len - (bitmap.len() - start)).min(tile);
            bitmap.extend_from_within(start..start + rest);
        }
    }
    Ok(bitmap)
}

#[cfg(test)]
mod tests {
    use super::{SMALLEST, bitmap};

    #[test]
    fn bitmaps_have_their_size_and_decode() {
        for size in [SMALLEST, 1_001, 20_000, 99_999, 1_000_000] {
            let one = bitmap(size, 1).unwrap();
            assert_eq!(one.len() as u64, size);
            assert!(image::load_from_memory(&one).unwrap().width() >= 4);
            assert_ne!(one, bitmap(size, 2).unwrap());
            assert_eq!(one, bitmap(size, 1).unwrap());
        }
    }
}
