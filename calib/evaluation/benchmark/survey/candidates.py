"""Which networks are surveyed: torchvision's and pretrainedmodels', timm's where it is installed, small ones of a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch

from bfp.errors import BfpError
from bfp.names import shown

SIZES = (64, 224)  # pixels a side: the first that a network takes
# of networks that need more
OWN_SIZES = {"pretrainedmodels": 224, "inception": 299, "xception": 299, "nasnet": 331, "polynet": 331}
PACKAGES = ("torch", "torchvision", "pretrainedmodels", "timm")
# of torchvision: several images or outputs, quantised already; attention, which is not taken
OTHERS = ("raft", "rcnn", "ssd", "retinanet", "fcos", "quantized", "mvit", "swin3d")
FILMS = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")
CLIPS = ((3, 8, 64, 64), (3, 16, 224, 224))  # channels, frames, height, width: the first that a network takes
ATTENTION = ("vit_", "swin_", "maxvit_")
# of each of timm's convolutional families one of its smallest, or several where the family has several designs
TIMM = (
    "repvgg_a0 gernet_s mobileone_s0 resnext26ts regnetz_b16 convmixer_768_32 convnext_atto cspresnet50 cspdarknet53 "
    "cs3darknet_s darknet17 cspnext_tiny densenet121 densenetblur121d dla34 dla60_res2net dpn68 nf_resnet50 "
    "dm_nfnet_f0 ese_vovnet19b_dw vovnet39a resnet26d resnetaa50 resnetblur50 ecaresnet26t seresnet50 resnext50_32x4d "
    "efficientnet_b0 efficientnet_lite0 mnasnet_100 mobilenetv2_100 mixnet_s fbnetc_100 spnasnet_100 tinynet_e "
    "efficientnetv2_rw_t mobilenet_edgetpu_v2_s fasternet_t0 mobilenetv3_small_100 mobilenetv4_conv_small fbnetv3_b "
    "lcnet_050 ghostnet_050 hardcorenas_a hgnet_tiny hgnetv2_b0 hrnet_w18_small inception_next_atto "
    "inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small legacy_seresnet18 legacy_xception mambaout_femto "
    "nasnetalarge pnasnet5large poolformer_s12 rdnet_tiny regnetx_002 regnety_002 regnetv_040 repghostnet_050 "
    "repvit_m1 res2net50_14w_8s res2next50 resnest14d resnetv2_50 resnetv2_50x1_bit rexnet_100 selecsls42 skresnet18 "
    "starnet_s1 tresnet_m vgg11_bn xception41 xception41p"
).split()


@dataclass(frozen=True)
class Candidate:
    """One network. name: its source, a slash and its own; make: builds it; shapes: of its input, to be tried in order."""

    name: str
    make: Callable[[], torch.nn.Module]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def source(self) -> str:
        return self.name.split("/")[0]


def candidates(small: Path | None = None) -> Iterator[Candidate]:
    """All networks, those of the folder ``small`` last."""
    warnings.simplefilter("ignore", FutureWarning)  # what packages say of their own future
    yield from of_torchvision()
    yield from of_pretrainedmodels()
    yield from of_timm()
    if small is not None:
        yield from of_folder(small)


def of_torchvision() -> Iterator[Candidate]:
    """Its networks of one picture, without those that attention makes."""
    import torchvision.models

    for name in torchvision.models.list_models():
        if not any(word in name for word in OTHERS) and not name.startswith(ATTENTION):
            make = lambda name=name: torchvision.models.get_model(name, **unfetched(name))  # noqa: E731
            yield Candidate(f"torchvision/{name}", make, CLIPS) if name in FILMS else pictures(f"torchvision/{name}", make)


def unfetched(name: str) -> dict[str, None]:
    """Arguments of torchvision's builder that keep it from downloading weights."""
    import torchvision.models

    dense = "segmentation" in torchvision.models.get_model_builder(name).__module__
    return {"weights": None, **({"weights_backbone": None} if dense else {})}


def of_pretrainedmodels() -> Iterator[Candidate]:
    """Its networks, none where it is not installed."""
    try:
        import pretrainedmodels
    except ImportError:
        return
    for name in sorted(pretrainedmodels.model_names):
        make = lambda name=name: pretrainedmodels.__dict__[name](pretrained=None)  # noqa: E731
        yield pictures(f"pretrainedmodels/{name}", make)


def of_timm() -> Iterator[Candidate]:
    """One of each family, none where it is not installed."""
    try:
        import timm
    except ImportError:
        return
    for name in TIMM:
        yield pictures(f"timm/{name}", lambda name=name: timm.create_model(name, pretrained=False))


def pictures(name: str, make: Callable[[], torch.nn.Module]) -> Candidate:
    """A network of colour pictures."""
    least = max((size for word, size in OWN_SIZES.items() if word in name), default=0)
    sizes = (least, *SIZES[-1:]) if least else SIZES
    return Candidate(name, make, tuple((3, size, size) for size in sizes))


def of_folder(folder: Path) -> Iterator[Candidate]:
    """The networks of the Python files of a folder: each file's NETWORKS, name to builder and input shape.

    Raises BfpError where there is no such file, or one cannot be read.
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise BfpError(f"{folder} has no Python files; name a folder whose files have a table NETWORKS")
    for file in files:
        for name, (make, shape) in networks_of(file).items():
            yield Candidate(f"{folder.name}/{name}", make, (tuple(shape),))


def networks_of(file: Path) -> dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]]:
    """The table NETWORKS of a Python file, name to builder and input shape. Raises BfpError where it has none."""
    spec = spec_from_file_location(f"surveyed_{file.stem}", file)
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.NETWORKS
    except Exception as error:  # the files are anybody's
        raise BfpError(f"{file}: no table NETWORKS can be read from it ({shown(str(error))}); correct it") from None


def versions() -> dict[str, str]:
    """Of the packages whose networks are surveyed; "none" where one is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found
