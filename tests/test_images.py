"""Image sources and the board's preprocessing."""

import gc
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torchvision.transforms as T
from PIL import Image

from bfp import BfpError
from bfp.artifact import Preprocessing
from calib.observers.observer import MOST_VARIANTS, evenly, with_variants
from calib.options import ImageOptions
from calib.data.images import open_images
from calib.data.npz_images import NpzImages
from calib.pipeline import RANDOM_WEIGHT_IMAGES, weight_images
from host.image import denormalise, load_image, normalise

PRE = Preprocessing((20, 24), (127.0, 100.0, 90.0), (128.0, 64.0, 32.0), 28)
GRAY = Preprocessing((8, 8), (0.0,), (255.0,), channels="gray")


def photograph(path, height=41, width=57, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def options(*images, **more):
    return ImageOptions(tuple(map(str, images)), **more)


@pytest.mark.parametrize("height, width", [(41, 57), (57, 41), (28, 33), (200, 29), (40, 40)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest", "lanczos"])
def test_resize_and_crop_are_torchvisions(tmp_path, height, width, mode):
    path = photograph(tmp_path / "a.png", height, width)
    pre = Preprocessing(PRE.size, PRE.mean, PRE.std, PRE.resize, mode)
    resize = T.Resize(28, getattr(T.InterpolationMode, mode.upper()))
    expected = np.asarray(T.CenterCrop((20, 24))(resize(Image.open(path))))
    assert np.array_equal(load_image(path, pre), expected)


def test_without_resize(tmp_path):
    exact = photograph(tmp_path / "exact.png", 20, 24)
    other = photograph(tmp_path / "other.png", 50, 50)
    pre = Preprocessing((20, 24), PRE.mean, PRE.std)
    assert np.array_equal(load_image(exact, pre), np.asarray(Image.open(exact)))
    assert load_image(other, pre).shape == (20, 24, 3)


def test_transparency_palettes_and_gray_become_what_the_network_takes(tmp_path):
    for mode in ("RGBA", "P", "L", "LA", "1"):
        Image.new(mode, (9, 9)).save(tmp_path / "a.png")
        assert load_image(tmp_path / "a.png", PRE).shape == (20, 24, 3)
        assert load_image(tmp_path / "a.png", GRAY).shape == (8, 8, 1)


def test_sixteen_bits_become_eight(tmp_path):
    """Gray pictures of cameras and scanners: scaled, not clipped to white; what has no such scale is refused."""
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = load_image(tmp_path / "deep.png", GRAY)[:, :, 0]
    assert np.array_equal(found, np.round(deep / 257)) and found.max() == 255
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(BfpError, match="float.tiff cannot be read .its pixels have more than 16 bits"):
        load_image(tmp_path / "float.tiff", GRAY)


def test_unreadable_images_are_refused(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    whole = photograph(tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    wrong = {"text.jpg": "cannot be read", "cut.png": "cannot be read", "none.png": "does not exist"}
    for name, message in wrong.items():
        with pytest.raises(BfpError, match=message) as caught:
            load_image(tmp_path / name, PRE)
        assert name in str(caught.value)
    with pytest.raises(BfpError, match="cannot be read"):
        load_image(tmp_path, PRE)


def test_normalise():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    x = normalise(pixels, PRE)
    assert x.shape == (2, 3, 20, 24) and x.dtype == np.float32
    assert np.allclose(x[1, 2, 3, 4], (pixels[1, 3, 4, 2] - 90.0) / 32.0)
    bgr = normalise(pixels, Preprocessing(PRE.size, PRE.mean, PRE.std, channels="bgr"))
    assert np.allclose(bgr[1, 0, 3, 4], (pixels[1, 3, 4, 2] - 127.0) / 128.0)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_pixels_come_back_from_the_normalised_image(channels):
    pre = Preprocessing(PRE.size, PRE.mean, PRE.std, channels=channels)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    assert np.array_equal(denormalise(normalise(pixels, pre), pre), pixels)
    assert denormalise(np.full((1, 3, 20, 24), 99.0), pre).min() == 255 > denormalise(np.full((1, 3, 20, 24), -9.0), pre).max()


@pytest.mark.parametrize("shape", [(20, 24, 3), (1, 24, 20, 3), (1, 20, 24, 1), (1, 3, 20, 24)])
def test_normalise_refuses_other_shapes(shape):
    with pytest.raises(BfpError, match="the network takes uint8 of shape .*20, 24, 3"):
        normalise(np.zeros(shape, np.uint8), PRE)
    with pytest.raises(BfpError, match="float32"):
        normalise(np.zeros((1, 20, 24, 3), np.float32), PRE)


def test_folder_of_classes(tmp_path):
    for name in ("b/1.png", "a/1.png", "a/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photograph(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / ".thumbnails").mkdir()
    found = open_images(options(tmp_path), PRE)
    assert found.labels.tolist() == [0, 0, 1] and found.name(2).endswith("b/1.png")
    assert found.notes and "1 files" in found.notes[0]


def test_flat_folder_has_no_labels(tmp_path):
    photograph(tmp_path / "x.png")
    assert open_images(options(tmp_path), PRE).labels is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(BfpError, match="holds no images"):
        open_images(options(tmp_path / "empty"), PRE)


def test_csv(tmp_path):
    photograph(tmp_path / "x.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nx.png,7\n")
    assert open_images(options(table), PRE).labels.tolist() == [7]
    for text, message in (
        ("name,label\nx.png,7\n", "it needs 'file' and 'label'"),
        ("file,label\nx.png,cat\n", "line 2: label is 'cat'"),
        ("file,label\nx.png\n", "line 2: label is None"),
        ("file,label\n", "lists no images"),
        ("", r"has the columns \[\]"),
    ):
        table.write_text(text)
        with pytest.raises(BfpError, match=message):
            open_images(options(table), PRE)


def test_npz_with_and_without_labels(tmp_path):
    path = tmp_path / "x.npz"
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 20, 24, 3), dtype=np.uint8), np.array([3, 1, 4, 1, 5])
    for save in (np.savez, np.savez_compressed):
        save(path, images=images, labels=labels, other=images[::-1])
        pre = Preprocessing((20, 24), PRE.mean, PRE.std)
        found = open_images(options(path, skip=1, stride=2), pre)
        assert found.labels.tolist() == [1, 1]
        assert np.array_equal(next(found.batches(9)), normalise(images[1::2], pre))
        assert np.array_equal(found.pixels(0), images[1])  # backwards
        plain = open_images(options(f"{path}:other"), pre)
        assert plain.labels is None and np.array_equal(plain.pixels(0), images[4])


def test_gray_npz(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    assert np.array_equal(open_images(options(tmp_path / "x.npz"), GRAY).pixels(1)[:, :, 0], images[1])


@pytest.mark.parametrize(
    "arrays, keys, message",
    [
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, "", "images must be uint8"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, "", "images must be uint8 of shape"),
        ({"other": np.zeros((2, 8, 8, 3), np.uint8)}, "", "has no array 'images', only other"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, ":images:nope", "has no array 'nope'"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.zeros(3, int)}, "", "labels must be 2 integers"),
        ({"images": np.array([{}], object)}, "", "images must be uint8"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, ":a:b:c", "name 3 arrays"),
    ],
)
def test_wrong_npz_is_refused(tmp_path, arrays, keys, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BfpError, match=message):
        open_images(options(f"{tmp_path / 'x.npz'}{keys}"), PRE)


def test_damaged_npz_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((2, 8, 8, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BfpError, match="damaged"):
        open_images(options(path), PRE)


def test_package_files():
    found = open_images(options("package:skimage/data/chelsea.png", "package:sklearn/datasets/images/*.jpg"), PRE)
    assert [found.name(i).split("/")[-1] for i in range(3)] == ["chelsea.png", "china.jpg", "flower.jpg"]
    for source, message in (
        ("package:no_such_package/x.png", "not installed"),
        ("package:skimage/data/no_such.png", "do not exist in the package"),
        ("package:skimage", "not installed"),
    ):
        with pytest.raises(BfpError, match=message):
            open_images(options(source), PRE)


def test_missing_sources_and_fallback(tmp_path):
    gone = tmp_path / "gone"
    with pytest.raises(BfpError, match="do not exist; correct the name"):
        open_images(options(gone), PRE)
    found = open_images(options(gone, f"{gone}.npz:images", fallback="random", limit=3), PRE)
    assert len(found) == 3 and len(found.notes) == 2 and "used random instead" in found.notes[0]
    photograph(tmp_path / "x.png")
    with pytest.raises(BfpError, match="no images are left of 1 .* after skip 1"):
        open_images(options(tmp_path / "x.png", skip=1), PRE)


def test_random_photographs_are_smooth_seeded_and_distinct():
    found = open_images(options("random", limit=4), PRE, seed=5)
    again = open_images(options("random", limit=4), PRE, seed=5)
    pixels = [found.pixels(i).astype(float) for i in range(4)]
    assert all(np.array_equal(p, again.pixels(i)) for i, p in enumerate(pixels))
    assert not np.array_equal(pixels[0], pixels[1])
    for p in pixels:
        assert p.std() > 15 and np.abs(np.diff(p, axis=1)).mean() < p.std()


def test_augmentation_varies_and_repeats(tmp_path):
    photograph(tmp_path / "x.png")
    found = open_images(options(tmp_path / "x.png", augment=4), PRE, seed=1)
    assert len(found) == 4 and np.array_equal(found.pixels(0), load_image(tmp_path / "x.png", PRE))
    different = {found.pixels(i).tobytes() for i in range(4)}
    assert len(different) == 4
    assert np.array_equal(found.pixels(3), open_images(options(tmp_path / "x.png", augment=4), PRE, seed=1).pixels(3))


def test_images_are_opened_one_by_one(tmp_path):
    """A damaged file at the end is met only when its turn comes: nothing is read ahead."""
    for i in range(3):
        photograph(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_text("damaged")
    batches = open_images(options(tmp_path), PRE).batches(1)
    for _ in range(3):
        assert next(batches).shape == (1, 3, 20, 24)
    with pytest.raises(BfpError, match="3.png"):
        next(batches)


def test_images_read_by_several_threads_keep_their_order(tmp_path):
    for i in range(40):
        Image.new("RGB", (200 if i % 3 else 20, 150), (6 * i, 0, 255 - 6 * i)).save(tmp_path / f"{i:02}.png")
    found = open_images(options(tmp_path), PRE)
    want = normalise(np.stack([found.pixels(i) for i in range(40)]), PRE)
    assert np.array_equal(np.concatenate(list(found.batches(16))), want)
    assert np.array_equal(np.concatenate(list(found.batches(16, first=5))), want[5:])


def test_images_of_two_arrays_have_different_names(tmp_path):
    """What tells images that calibrate from those that are evaluated; the first array needs no name."""
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), others=np.zeros((2, 8, 8), np.uint8))
    plain, named, other = (
        [item.name for item in open_images(options(f"{path}{keys}"), GRAY).items] for keys in ("", ":images", ":others")
    )
    assert plain == named and not set(plain) & set(other)


def numbered(tmp_path, count, augment=1):
    for i in range(count):
        photograph(tmp_path / f"{i:03}.png", 20, 24, seed=i)
    return open_images(options(tmp_path, augment=augment), PRE)


@pytest.mark.parametrize("count, augment, asked, first", [(10, 1, 4, [0, 2, 4, 6]), (10, 1, 10, None), (10, 1, 64, None)])
def test_some_images_are_evenly_spread(tmp_path, count, augment, asked, first):
    images = numbered(tmp_path, count, augment)
    few = evenly(images, asked)
    assert len(few) == min(asked, count)
    assert [few.name(i) for i in range(len(few))] == [images.name(i) for i in first or range(count)]


def test_some_images_are_never_more_than_asked(tmp_path):
    images = numbered(tmp_path, 7, augment=3)
    assert [len(evenly(images, n)) for n in (1, 2, 3, 5, 6, 20, 21, 50)] == [1, 2, 3, 3, 6, 18, 21, 21]


def test_few_images_get_variants(tmp_path):
    images = numbered(tmp_path, 7)
    assert [with_variants(images, n).augment for n in (1, 14, 64)] == [1, 2, MOST_VARIANTS]
    assert with_variants(replace(images, augment=6), 64).augment == 6


def test_random_weights_are_measured_on_enough_images(tmp_path):
    images = numbered(tmp_path, 3)
    found = weight_images(images)
    assert len(found) == RANDOM_WEIGHT_IMAGES and np.array_equal(found[:3], next(images.batches(3)))
    assert len(np.unique(found.reshape(len(found), -1), axis=0)) == len(found)
    assert np.array_equal(found, weight_images(images))
    many = replace(images, augment=20)
    assert np.array_equal(weight_images(many), next(many.batches(RANDOM_WEIGHT_IMAGES)))


def test_images_of_an_npz_that_are_asked_for_again_are_read_once(tmp_path, monkeypatch):
    wanted = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
    np.savez(tmp_path / "a.npz", images=wanted)
    read = []
    monkeypatch.setattr(NpzImages, "_read", lambda self, n, f=NpzImages._read: read.append(n) or f(self, n))
    for kept, expected in ((6, [0, 2, 4]), (1, [0, 2, 4] * 2)):
        monkeypatch.setattr("bfp.npz.KEPT_BYTES", kept * wanted[0].nbytes)
        images = replace(open_images(options(f"{tmp_path / 'a.npz'}", stride=2), PRE), augment=3)
        read.clear()
        passes = [np.stack([images.items[n // 3].open() for n in range(len(images))]) for _ in range(2)]
        assert read == expected
        assert all(np.array_equal(found[::3], wanted[::2]) for found in passes)


def test_the_file_of_an_npz_is_closed_when_its_images_are_gone(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4, 3), np.uint8))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        member = NpzImages(tmp_path / "a.npz")
        assert member.values(2).shape == member.values(0).shape == (4, 4, 3)
        member.itself = member  # so that nobody but the collector takes it away
        del member
        gc.collect()
    assert [w for w in seen if issubclass(w.category, ResourceWarning)] == []
