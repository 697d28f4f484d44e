"""Pictures that are not like others: turned, transparent, very long; and that ordinary ones keep their pixels."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfp import BfpError
from bfp.artifact import Preprocessing
from calib.data.images import open_images
from calib.options import ImageOptions
from host.image import EXIF_ORIENTATION, INTERPOLATIONS, fit_image, load_image, load_picture, pixels_of

PRE = Preprocessing((20, 24), (127.0, 100.0, 90.0), (128.0, 64.0, 32.0), 28)
GRAY = Preprocessing((20, 24), (0.0,), (255.0,), 28, channels="gray")
PHOTOGRAPHS = Path(os.environ.get("SBFP_DATA", Path(__file__).parents[2] / "shared")) / "data" / "imagenet-sample"


def noise(height=41, width=57, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def straight(path, pre):
    """Decode, convert, resize the whole picture, crop: nothing turned, composed or left out."""
    image = Image.open(path).convert("RGB")
    w, h = image.size
    other = int(pre.resize * max(w, h) / min(w, h))
    image = image.resize((pre.resize, other) if w <= h else (other, pre.resize), INTERPOLATIONS[pre.interpolation])
    left, top = (int(round((a - b) / 2.0)) for a, b in zip(image.size, pre.size[::-1]))
    return np.asarray(image.crop((left, top, left + pre.size[1], top + pre.size[0])))


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the shared photographs are not there")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_ordinary_photographs_keep_their_pixels(interpolation):
    pre = Preprocessing((224, 224), (0.0,) * 3, (1.0,) * 3, 256, interpolation)
    photographs = sorted(PHOTOGRAPHS.glob("*.jpg"))[::25]
    assert len(photographs) >= 10
    for path in photographs:
        assert np.array_equal(load_image(path, pre), straight(path, pre)), path.name


def test_long_pictures_keep_their_pixels_as_long_as_they_are_ordinary(tmp_path):
    for height, width in ((30, 480), (480, 30), (57, 41)):
        path = tmp_path / "a.png"
        Image.fromarray(noise(height, width)).save(path)
        assert np.array_equal(load_image(path, PRE), straight(path, PRE))


@pytest.mark.parametrize("height, width", [(1, 100_000), (100_000, 1), (3, 60_000)])
@pytest.mark.parametrize("interpolation", list(INTERPOLATIONS))
def test_a_line_of_pixels_is_cropped_before_it_is_resized(height, width, interpolation):
    pre = Preprocessing((224, 224), (0.0,) * 3, (1.0,) * 3, 256, interpolation)
    image = Image.fromarray(noise(height, width))
    tracemalloc.start()
    started = time.process_time()
    pixels = fit_image(image, pre)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.shape == (224, 224, 3) and peak < 10e6
    assert time.process_time() - started < 5  # the whole line resized takes minutes, and gigabytes


def test_what_a_long_picture_becomes_is_its_centre():
    """As resizing it whole and cropping gives, to a step of a pixel's value: the positions are the same."""
    for height, width in ((30, 30 * 17), (30 * 20 + 7, 30), (11, 999)):
        # smooth, so that a wrong position shows as a wrong value
        y, x = np.mgrid[0:height, 0:width]
        values = np.stack([(127 + 127 * np.sin(x / 5)), (127 + 127 * np.cos(y / 5)), (x + y) % 200], -1).astype(np.uint8)
        image = Image.fromarray(values)
        for interpolation in INTERPOLATIONS:
            pre = Preprocessing((20, 24), (0.0,) * 3, (1.0,) * 3, 28, interpolation)
            other = int(28 * max(height, width) / min(height, width))
            whole = image.resize((28, other) if width <= height else (other, 28), INTERPOLATIONS[interpolation])
            left, top = int(round((whole.width - 24) / 2.0)), int(round((whole.height - 20) / 2.0))
            want = np.asarray(whole.crop((left, top, left + 24, top + 20))).astype(int)
            assert np.abs(fit_image(image, pre).astype(int) - want).max() <= 1, (height, width, interpolation)


# Orientation

TURNED = {  # what a camera stored, by the orientation that it wrote: from the upright picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_upright(tmp_path, kind, orientation):
    upright = noise(28, 40)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    path = tmp_path / f"a.{kind}"
    stored.save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    want = fit_image(Image.fromarray(upright), PRE)
    assert np.array_equal(load_image(path, PRE), want)
    calibration = open_images(ImageOptions((str(path),)), PRE)
    assert np.array_equal(calibration.pixels(0), want)


def test_orientations_that_say_nothing_are_no_obstacle(tmp_path):
    path, want = tmp_path / "a.jpg", None
    for exif in (b"", b"Exif\x00\x00II*\x00\xff\xff", b"Exif\x00\x00" + b"\xff" * 40, orientation_bytes(9), orientation_bytes(0)):
        Image.fromarray(noise()).save(path, exif=exif)
        found = load_image(path, PRE)
        want = found if want is None else want
        assert np.array_equal(found, want), exif


def orientation_bytes(value):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = value
    return exif.tobytes()


# Transparency


@pytest.mark.parametrize("pre", [PRE, GRAY], ids=["rgb", "gray"])
def test_transparent_pixels_are_black_whatever_colour_they_hide(tmp_path, pre):
    path = tmp_path / "a.png"
    colours, alpha = noise(28, 40), noise(28, 40, 1, seed=1)
    opaque = fit_image(Image.fromarray(colours).convert("RGB" if pre is PRE else "L"), pre)
    for strength, want in ((255, opaque), (0, np.zeros_like(opaque))):
        Image.fromarray(np.concatenate([colours, np.full_like(alpha, strength)], -1)).save(path)
        assert np.array_equal(load_image(path, pre), want)
    Image.fromarray(np.concatenate([colours, alpha], -1)).save(path)
    composed = np.round(colours * (alpha / 255.0)).astype(np.uint8)
    want = fit_image(Image.fromarray(composed).convert("RGB" if pre is PRE else "L"), pre)
    assert np.abs(load_image(path, pre).astype(int) - want).max() <= 1


def test_every_way_to_say_transparent(tmp_path):
    """Gray with alpha, a palette's entry, a key colour: what is transparent is black."""
    path = tmp_path / "a.png"
    Image.fromarray(np.full((28, 40, 2), (200, 0), np.uint8), "LA").save(path)
    assert not load_image(path, PRE).any()
    Image.new("L", (40, 28), 77).save(path, transparency=77)
    assert not load_image(path, PRE).any() and not load_image(path, GRAY).any()
    Image.new("RGB", (40, 28), (1, 200, 3)).save(path, transparency=(1, 200, 3))
    assert not load_image(path, PRE).any()
    palette = Image.new("P", (40, 28), 1)
    palette.putpalette([0, 0, 0, 250, 240, 230])
    palette.save(path, transparency=1)
    assert not load_image(path, PRE).any()
    palette.save(path)
    assert (load_image(path, PRE) == (250, 240, 230)).all()
    deep = Image.fromarray(np.full((28, 40), 770, np.uint16))
    deep.save(path, transparency=770)
    with pytest.raises(BfpError, match="a.png cannot be read .one of its 16-bit colours is transparent"):
        load_image(path, PRE)


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(BfpError, match="cannot be read .it is no ordinary file"):
            load_image(path, PRE)


# Draft


def test_draft_decoding_is_asked_for_and_close(tmp_path):
    """Without it every pixel is decoded; with it a picture of many times the size is decoded smaller."""
    y, x = np.mgrid[0:1600, 0:1200]
    smooth = np.stack([127 + 120 * np.sin(x / 90), 127 + 120 * np.cos(y / 70), (x + y) / 12], -1).astype(np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth).save(path, quality=95)
    full, draft = load_image(path, PRE), pixels_of(load_picture(path, PRE, draft=True))
    assert np.array_equal(full, straight(path, PRE))
    assert not np.array_equal(full, draft) and np.abs(full.astype(int) - draft).max() <= 4
    Image.fromarray(smooth[:100, :100]).save(path)  # no smaller decoding is twice the network's size
    assert np.array_equal(load_image(path, PRE), pixels_of(load_picture(path, PRE, draft=True)))
    Image.fromarray(smooth).save(tmp_path / "a.png")
    assert np.array_equal(pixels_of(load_picture(tmp_path / "a.png", PRE, draft=True)), load_image(tmp_path / "a.png", PRE))
