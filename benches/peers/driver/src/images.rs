//! Images that are real and distinct: BMP, since it can be of any size, with pixels that nothing can compress.

/// A 24-bit BMP of `bytes` bytes, or a few more.
pub fn bmp(bytes: usize, seed: u64) -> Vec<u8> {
    let width = (((bytes.max(200) - 54) / 3) as f64).sqrt() as usize & !3;
    let height = (bytes.max(200) - 54).div_ceil(width * 3);
    let size = 54 + width * height * 3;
    let mut out = Vec::with_capacity(size + 8);
    out.extend(b"BM");
    for value in
        [size as u32, 0, 54, 40, width as u32, height as u32, 1 | 24 << 16, 0, (size - 54) as u32, 2835, 2835, 0, 0]
    {
        out.extend(value.to_le_bytes());
    }
    // xorshift64*: fast, and the same at every run.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(size);
    out
}
