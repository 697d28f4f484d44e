"""Shipped networks: each imports, computes what the module computes, and loads or refuses weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bfp.errors import BfpError
from calib.network.float_model import run
from calib.frontend.importer import import_module
from calib.zoo import cifar_resnet, efficientnet, pretrained_models, torchvision_models
from calib.zoo.weights import load_weights

DATA = Path(os.environ.get("SBFP_DATA", Path(__file__).resolve().parents[2] / "shared"))
CIFAR_MEAN, CIFAR_STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SLOW, HEAVY = pytest.mark.slow, pytest.mark.heavy
TRAINED = ["resnet20-12fca82f.th"]
TRAINED += [pytest.param(f, marks=SLOW) for f in ("resnet32-d509ac18.th", "resnet44-014dd654.th")]


def noise(count, *shape, seed=0):
    """Images with structure: smooth noise, so that activations resemble those of pictures."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, shape[0], 4, 4, generator=draw)
    fine = torch.randn(count, *shape, generator=draw)
    return nn.functional.interpolate(coarse, shape[1:], mode="bilinear") + 0.5 * fine


def compare(module, images, name, tolerance=2e-3):
    """Import and compare logits, relative to their spread; returns the graph."""
    network = import_module(module, tuple(images.shape[1:]), name)
    with torch.no_grad():
        expected = module(images).numpy()
        found = run(network, images)[network.graph.output].detach().numpy().reshape(expected.shape)
    assert np.abs(found - expected).max() <= tolerance * expected.std()
    assert not np.allclose(expected[0], expected[1], rtol=0.05), "the network does not look at its input"
    return network.graph


def counts(graph):
    ops = [n.op for n in graph.nodes]
    return {op: ops.count(op) for op in sorted(set(ops))}


@pytest.mark.parametrize("depth", [20, *(pytest.param(d, marks=SLOW) for d in (32, 44, 56))])
def test_cifar_resnet(depth):
    module = cifar_resnet.cifar_resnet(depth=depth)
    images = noise(6, 3, 32, 32)
    load_weights(module, "random", seed=depth, calibration=images)
    graph = compare(module, images[:2], f"resnet{depth}")
    # one convolution per layer, all sums fused, one node per option-A shortcut
    assert counts(graph) == {"avg_pool": 1, "conv": depth, "slice_pad": 2}
    assert sum(n.shortcut is not None for n in graph.nodes) == (depth - 2) // 2


@pytest.mark.skipif(not (DATA / "models").is_dir(), reason="needs the trained CIFAR networks, see SBFP_DATA")
@pytest.mark.parametrize("file", TRAINED)
def test_trained_cifar_resnet(file):
    module = cifar_resnet.cifar_resnet(depth=int(file[6:8]))
    load_weights(module, str(DATA / "models" / file))
    with np.load(DATA / "data" / "cifar10.npz") as data:
        pixels, labels = data["test_images"][::25], data["test_labels"][::25]
    images = ((torch.from_numpy(pixels) / 255 - CIFAR_MEAN) / CIFAR_STD).permute(0, 3, 1, 2)
    network = import_module(module, (3, 32, 32), file)
    with torch.no_grad():
        expected = module(images).numpy()
        found = run(network, images)[network.graph.output].numpy().reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert (found.argmax(1) == labels).mean() > 0.7


@pytest.mark.parametrize(
    "variant, size", [(0, 224), pytest.param(1, 240, marks=SLOW), pytest.param(2, 260, marks=SLOW)]
)
def test_efficientnet_lite(variant, size):
    module = efficientnet.efficientnet_lite(variant=variant)
    graph = compare(module, noise(2, 3, size, size), f"lite{variant}")
    assert set(counts(graph)) == {"avg_pool", "conv", "depthwise"}
    assert graph.shapes[graph.output] == (1000, 1, 1)
    assert sum(n.shortcut is not None for n in graph.nodes) == (9, 14, 14)[variant]


def test_efficientnet_lite_at_another_size():
    module = efficientnet.efficientnet_lite(variant=1, pretrained=False, input_size=64)
    images = noise(4, 3, 64, 64)
    load_weights(module, "random", calibration=images)
    compare(module, images[:2], "lite1")


def test_mobilenet_v2():
    module = torchvision_models.mobilenet_v2()
    images = noise(4, 3, 64, 64)
    load_weights(module, "random", calibration=images)
    assert counts(compare(module, images[:2], "mobilenet")) == {"avg_pool": 1, "conv": 36, "depthwise": 17}


def test_resnet50():
    module = pretrained_models.resnet50()
    images = noise(4, 3, 64, 64)
    load_weights(module, "random", calibration=images)
    graph = compare(module, images[:2], "resnet50")
    assert counts(graph) == {"avg_pool": 1, "conv": 54, "max_pool": 1}
    assert sum(n.shortcut is not None for n in graph.nodes) == 16


@pytest.mark.parametrize("size", [75, pytest.param(299, marks=HEAVY)])
def test_inceptionv4(size):
    module = pretrained_models.inceptionv4()
    images = noise(8 if size == 75 else 3, 3, size, size)
    load_weights(module, "random", calibration=images)
    graph = compare(module, images[:2], "inceptionv4")
    # at 75 pixels the last map is one pixel, which needs no average
    assert counts(graph) == {"avg_pool": 14 if size == 75 else 15, "concat": 25, "conv": 150, "max_pool": 4}


def test_inceptionv4_global_average_is_the_published_window():
    assert pretrained_models.pretrainedmodels.inceptionv4(pretrained=None).avg_pool.kernel_size == 8
    with torch.device("meta"):
        features = pretrained_models.pretrainedmodels.inceptionv4(pretrained=None).features
        assert features(torch.zeros(1, 3, 299, 299)).shape == (1, 1536, 8, 8)


@pytest.mark.parametrize("size, classifier", [(64, 256), pytest.param(224, 4096, marks=HEAVY)])
def test_vgg16(size, classifier):
    module = pretrained_models.vgg16(input_size=size, classifier=classifier)
    load_weights(module, "random")
    graph = compare(module, noise(2, 3, size, size), "vgg16")
    assert counts(graph) == {"conv": 16, "max_pool": 5}
    assert graph.node("linear0").window.kernel == (size // 32, size // 32)


def test_zoo_refusals():
    for call, words in [
        (lambda: cifar_resnet.cifar_resnet(depth=21), "depth 21"),
        (lambda: efficientnet.efficientnet_lite(variant=3), "variant 3"),
        (lambda: pretrained_models.vgg16(input_size=100), "input size 100 is not a multiple of 32"),
        (lambda: pretrained_models.vgg16(pretrained=True, classifier=256), "no published weights"),
        (lambda: pretrained_models.resnet50(pretrained=True, classes=10), "not for 10"),
    ]:
        with pytest.raises(BfpError, match=words):
            call()


def test_random_weights_keep_deep_activations_alive_and_are_reproducible():
    images = noise(20, 3, 32, 32)
    first, second, other = (cifar_resnet.cifar_resnet(56) for _ in range(3))
    load_weights(first, "random", seed=3, calibration=images)
    load_weights(second, "random", seed=3, calibration=images.numpy())
    load_weights(other, "random", seed=4, calibration=images)
    state = first.state_dict()
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in state.items())
    assert not torch.equal(state["conv1.weight"], other.state_dict()["conv1.weight"])
    assert not first.training and all(m.momentum == 0.1 for m in first.modules() if isinstance(m, nn.BatchNorm2d))
    seen = {}
    for name, m in first.named_modules():
        if isinstance(m, nn.BatchNorm2d):
            m.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    with torch.no_grad():
        logits = first(noise(8, 3, 32, 32, seed=5))
    assert len(seen) == 55
    for name, out in seen.items():
        assert 0.2 < out.std() < 5 and (out > 0).float().mean() > 0.1, name
    assert logits.std(0).mean() > 0.05


def test_random_networks_do_not_amplify_rounding():
    """Noise of 0.1 % on the image must stay noise: random networks tend to be chaotic."""
    module = pretrained_models.resnet50()
    load_weights(module, "random", calibration=noise(8, 3, 64, 64))
    images = noise(2, 3, 64, 64, seed=1)
    with torch.no_grad():
        clean, noisy = module(images), module(images + 1e-3 * images.std() * noise(2, 3, 64, 64, seed=2))
    assert (noisy - clean).norm() < 1e-2 * clean.norm()


def test_random_batch_norms_need_images():
    for images in (None, noise(1, 3, 32, 32)):
        with pytest.raises(BfpError, match="at least two calibration images"):
            load_weights(cifar_resnet.cifar_resnet(), "random", calibration=images)
    with pytest.raises(BfpError, match="do not pass through it"):
        load_weights(cifar_resnet.cifar_resnet(), "random", calibration=noise(4, 5, 32, 32))


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def write(path, state):
    if path.suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".npz", ".safetensors"])
def test_weights_file(tmp_path, suffix):
    source, target = small(), small()
    write(tmp_path / f"w{suffix}", source.state_dict())
    load_weights(target, str(tmp_path / f"w{suffix}"))
    assert all(torch.equal(v, target.state_dict()[k]) for k, v in source.state_dict().items())
    assert not target.training


def test_checkpoint_with_prefix_and_without_counters(tmp_path):
    source, target = small(), small()
    state = {f"module.{k}": v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.th")
    load_weights(target, str(tmp_path / "w.th"))
    assert torch.equal(source[0].weight, target[0].weight)


def refused(path, *words):
    with pytest.raises(BfpError) as error:
        load_weights(small(), str(path))
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    for word in words:
        assert word in message, message


def test_wrong_weights_file(tmp_path):
    state = small().state_dict()
    path = tmp_path / "w.pth"
    torch.save({k: v for k, v in state.items() if not k.startswith("0.")} | {"fc.weight": torch.ones(2)}, path)
    refused(path, "Sequential", "lacks 0.weight, 0.bias", "too many fc.weight")
    torch.save(state | {"0.weight": torch.ones(4, 3, 5, 5)}, path)
    refused(path, "0.weight of shape (4, 3, 5, 5)", "needs (4, 3, 3, 3)")
    torch.save({f"extra{i}": torch.ones(1) for i in range(9)} | state, path)
    refused(path, "extra0, extra1, extra2 and 6 more")


AS_INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", [*AS_INTEGERS, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_no_floats_are_refused_by_name_and_type(tmp_path, suffix, dtype):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"w{suffix}"
    state = small().state_dict()
    write(path, state | {"1.running_var": torch.ones(4).to(dtype)})
    what = "integers" if dtype in AS_INTEGERS else "booleans" if dtype is torch.bool else "complex"
    refused(path, "1.running_var", f"{what} ({str(dtype).removeprefix('torch.')})", "needs floats (float32)")


@pytest.mark.filterwarnings("ignore")
def test_quantised_and_sparse_weights_are_refused(tmp_path):
    state, path = small().state_dict(), tmp_path / "w.pth"
    torch.save(state | {"0.weight": torch.quantize_per_tensor(state["0.weight"], 0.1, 0, torch.qint8)}, path)
    refused(path, "0.weight as quantised (qint8)")
    torch.save(state | {"0.bias": state["0.bias"].to_sparse()}, path)
    refused(path, "0.bias as sparse (float32)")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_weights_of_other_float_types_are_taken(tmp_path, dtype):
    state, module = small().state_dict(), small()
    path = tmp_path / "w.pth"
    torch.save({k: v.to(dtype) if v.is_floating_point() else v.int() for k, v in state.items()}, path)  # a counter, too
    load_weights(module, str(path))
    assert module[0].weight.dtype == torch.float32
    torch.testing.assert_close(module[0].weight, state["0.weight"], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_unreadable_weights_file(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"w{suffix}"
    refused(path, "does not exist")
    path.write_bytes(b"")
    refused(path, "damaged")
    write(path, small().state_dict())
    path.write_bytes(path.read_bytes()[:-200])
    refused(path, "damaged")


class Payload:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_weights_file_that_is_no_state_dict(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"0.weight": Payload()}, path)
    refused(path, "holds more than tensors")
    torch.save([torch.ones(2)], path)
    refused(path, "does not hold a state dict")
    torch.save({"epoch": 3}, path)
    refused(path, "does not hold a state dict")
    np.savez(tmp_path / "w.npz", a=np.array([Payload()], dtype=object))
    refused(tmp_path / "w.npz", "damaged or holds more")
    other = tmp_path / "w.onnx"
    other.write_bytes(b"x")
    refused(other, "unknown kind", ".safetensors")


@pytest.fixture
def hub(tmp_path):
    """An empty download cache."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path
    torch.hub.set_dir(before)


def test_published_weights_are_loaded(hub, monkeypatch):
    """The package's own loading code, from a file in the published layout."""
    source = pretrained_models.pretrainedmodels.inceptionv4(pretrained=None, num_classes=1001)
    nn.init.normal_(source.last_linear.bias)
    torch.save(source.state_dict(), hub / "inceptionv4.pth")
    settings = pretrained_models.pretrainedmodels.pretrained_settings["inceptionv4"]["imagenet"]
    monkeypatch.setitem(settings, "url", (hub / "inceptionv4.pth").as_uri())
    model = pretrained_models.inceptionv4(pretrained=True)
    assert torch.equal(model.last_linear.bias, source.last_linear.bias[1:])
    assert torch.equal(model.features[0].conv.weight, source.features[0].conv.weight)


@pytest.mark.parametrize("name", ["inceptionv4", "resnet50"])
def test_published_weights_out_of_reach(hub, monkeypatch, name):
    settings = pretrained_models.pretrainedmodels.pretrained_settings[name]["imagenet"]
    url = (hub / "absent.pth").as_uri()
    monkeypatch.setitem(settings, "url", url)
    with pytest.raises(BfpError) as error:
        getattr(pretrained_models, name)(pretrained=True)
    assert name in str(error.value) and url in str(error.value) and 'weights = "random"' in str(error.value)


def test_published_file_with_code_in_it_is_refused(hub, monkeypatch):
    torch.save({"0.weight": Payload()}, hub / "evil.pth")
    settings = pretrained_models.pretrainedmodels.pretrained_settings["inceptionv4"]["imagenet"]
    monkeypatch.setitem(settings, "url", (hub / "evil.pth").as_uri())
    with pytest.raises(BfpError, match="inceptionv4 could not be"):
        pretrained_models.inceptionv4(pretrained=True)
