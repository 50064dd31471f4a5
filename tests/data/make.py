"""Makes every sample here from photo.png, and expected.json from what Pillow reads in them.

Needs Pillow 11.3 or later with AVIF: `python3 tests/data/make.py`.
"""

import json
import struct
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageStat
from PIL.Image import Transpose

HERE = Path(__file__).parent
ORIENTATION = 0x0112

# How to store pixels so that a viewer who obeys the orientation shows them upright.
UNDO = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
}


def exif(orientation, comment=b""):
    block = Image.Exif()
    block[ORIENTATION] = orientation
    if comment:
        block[0x9286] = comment
    return block.tobytes()


def stored(image, orientation):
    return image.transpose(UNDO[orientation]) if orientation in UNDO else image


def see_through(image):
    """The photograph in an ellipse, all around it transparent."""
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).ellipse((8, 8, image.width - 8, image.height - 8), fill=255)
    image = image.convert("RGBA")
    image.putalpha(mask)
    return image


def make():
    photo = Image.open(HERE / "photo.png").convert("RGB")
    small = photo.resize((225, 150), Image.Resampling.LANCZOS)
    tiny = photo.resize((120, 80), Image.Resampling.LANCZOS)
    frames = [ImageOps.solarize(tiny, threshold) for threshold in (255, 160, 96, 32)]

    def save(image, name, **options):
        image.save(HERE / name, **options)

    save(photo, "photo.jpg", quality=97, subsampling=0)
    for orientation in range(1, 9):
        save(stored(small, orientation), f"orientation-{orientation}.jpg", quality=88, exif=exif(orientation))
    save(small, "progressive.jpg", quality=85, progressive=True)
    save(small.convert("L"), "grey.jpg", quality=85)
    save(small.convert("CMYK"), "cmyk.jpg", quality=80)
    save(stored(small, 6), "metadata.jpg", quality=80, exif=exif(6, b"\0" * 60_000), icc_profile=b"\0" * 150_000)
    save(see_through(small), "alpha.png")
    save(stored(small, 8).quantize(64), "orientation-8.png", exif=exif(8))
    save(see_through(tiny).quantize(32), "palette.png")
    save(frames[0], "animated.png", save_all=True, append_images=frames[1:], duration=200)
    save(small.quantize(64), "still.gif")
    save(frames[0].quantize(32), "animated.gif", save_all=True, append_images=[f.quantize(32) for f in frames[1:]],
         duration=200, loop=0)
    save(see_through(tiny), "alpha.gif")
    save(small, "lossy.webp", quality=80)
    save(stored(small, 5), "orientation-5.webp", quality=80, exif=exif(5))
    save(see_through(tiny), "alpha.webp", lossless=True)
    save(frames[0], "animated.webp", save_all=True, append_images=frames[1:], duration=200, quality=70)
    save(small, "photo.avif", quality=65)
    save(see_through(small), "alpha.avif", quality=60)
    save(stored(small, 7), "orientation-7.avif", quality=60, exif=exif(7))
    save(stored(small, 6), "orientation-6.avif", quality=60, exif=exif(6))
    save(frames[0], "animated.avif", save_all=True, append_images=frames[1:], duration=200, quality=60)
    save(stored(tiny, 3), "little.tif", compression="tiff_adobe_deflate", tiffinfo={ORIENTATION: 3})
    save(see_through(tiny), "alpha.tif", compression="tiff_lzw")
    save(frames[0], "pages.tif", save_all=True, append_images=frames[1:], compression="jpeg")
    # Pillow writes big-endian files for big-endian samples of 16 bits.
    grey = tiny.convert("L").resize((60, 40))
    deep = bytes(byte for value in grey.tobytes() for byte in (value, value))
    save(Image.frombytes("I;16B", grey.size, deep), "big.tif")
    save(grey, "bigtiff.tif", big_tiff=True, save_all=True, append_images=[grey])
    save(tiny.convert("RGB"), "photo.bmp")
    save(tiny.quantize(16), "palette.bmp")
    # An ISO base media file that says it is HEIC and holds nothing: enough to be known and refused.
    (HERE / "header.heic").write_bytes(
        struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + struct.pack(">I4s", 8, b"mdat")
    )


def look(path):
    """What Pillow finds in a file, the pixels included: each must look like the photograph."""
    with Image.open(path) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
        frame_count = getattr(image, "n_frames", 1)
        alpha = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA")
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I;16B":
            upright = Image.frombytes("L", upright.size, upright.tobytes()[::2])
        seen = upright.convert("RGBA")
    photo = Image.open(HERE / "photo.png").convert("RGBA").resize(seen.size)
    middle = (seen.width // 4, seen.height // 4, seen.width * 3 // 4, seen.height * 3 // 4)
    difference = ImageStat.Stat(ImageChops.difference(seen.convert("L").crop(middle), photo.convert("L").crop(middle)))
    assert difference.mean[0] < 12, f"{path.name} does not look like the photograph: {difference.mean}"
    return {
        "media_type": MEDIA_TYPES[path.suffix],
        "width": seen.width,
        "height": seen.height,
        "orientation": orientation,
        "frame_count": frame_count,
        "has_alpha": alpha,
    }


def main():
    make()
    expected = {
        path.name: look(path)
        for path in sorted(HERE.iterdir())
        if path.suffix in MEDIA_TYPES and path.suffix != ".svg"
    }
    # Pillow reads no SVG: this is what the file's own root element says.
    expected["drawing.svg"] = {
        "media_type": "image/svg+xml",
        "width": 320,
        "height": 200,
        "orientation": 1,
        "frame_count": 1,
        "has_alpha": True,
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
