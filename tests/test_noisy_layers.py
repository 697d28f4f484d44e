"""Maps and weights that make most of the noise get one bit more."""

from dataclasses import replace

import pytest
import torch
from support.mobile_block import PRE
from torch import nn

from calib.data.images import open_images
from calib.config import load_config
from calib.formats.noisy_layers import applies, narrow_maps, outlying, widen_noisy_layers
from calib.frontend.importer import import_module
from calib.options import BfpOptions, Override
from calib.pipeline import calibrate
from calib.state import begin
from calib.transforms import sequence

SIZE = (3, 10, 10)
OPTIONS = BfpOptions(weights=8, activations=4, sensitive=8)  # weights of 8 bits stay as they are
NARROW = replace(OPTIONS, weights=4)
TOML = """
model = "test_noisy_layers:loud"
arguments = { factor = FACTOR }
[input]
size = 10
mean = 127
std = 128
[calibration]
images = "random"
limit = 8
[bfp]
weights = WEIGHTS
activations = 4
sensitive = 8
method = "max"
"""


class Loud(nn.Module):
    """Eight layers; one channel behind the fourth is ``factor`` times as large as the others, and read as much less.

    Of a factor above one the map is loud, whose other channels lose what its exponent rounds away, of one below the fifth
    layer's weights in the same way.
    """

    def __init__(self, factor=16.0):
        super().__init__()
        torch.manual_seed(0)
        widths = [3, *[8] * 7, 4]
        layers = [nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(widths, widths[1:])]
        for layer in layers:
            nn.init.orthogonal_(layer.weight)  # no map is by chance much noisier than the others
        with torch.no_grad():
            layers[3].weight[0] *= factor
            layers[4].weight[:, 0] /= factor
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class Joined(Loud):
    """The loud map stands beside another one in a concatenation, whose maps have one width."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(8, 8, 1)
        self.behind = nn.Conv2d(16, 8, 1)

    def forward(self, x):
        for layer in self.layers[:3]:
            x = torch.relu(layer(x))
        x = torch.cat([torch.relu(self.layers[3](x)), torch.relu(self.other(x))], 1)
        x = torch.relu(self.behind(x))
        for layer in self.layers[4:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class Pooled(Loud):
    """A pool copies the format of the loud map."""

    def forward(self, x):
        for layer in self.layers[:4]:
            x = torch.relu(layer(x))
        x = torch.max_pool2d(x, 2)
        for layer in self.layers[4:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def loud(factor):
    return Loud(factor)


def start(module, options=OPTIONS):
    return begin(import_module(module.eval(), SIZE, "toy"), options, PRE)


def name_of(state, node):
    return next(n.output for n in state.network.graph.nodes if n.name == node)


def widened(state, images, which="activations"):
    return chosen(widen_noisy_layers(state, images), which)


def chosen(state, which):
    return {name: bits for name, widths in state.widths.items() if (bits := getattr(widths, which))}


def written(path, factor=16.0, weights=8, more=""):
    path.write_text(TOML.replace("FACTOR", str(factor)).replace("WEIGHTS", str(weights)) + more)
    return load_config(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    config = written(tmp_path_factory.mktemp("noisy") / "net.toml")
    return open_images(config.calibration, config.input, config.seed)


def test_only_the_map_that_makes_most_of_the_noise_gets_a_bit(images):
    state = start(Loud())
    fourth = state.network.graph.weighted()[3]
    assert widened(state, images) == {fourth.name: 5}
    wider = widen_noisy_layers(state, images).plan.bits
    assert {t for t in wider if wider[t] != state.plan.bits[t]} == {fourth.output}


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_of_layers_that_are_alike_none_is_outlying(bits):
    alike = {f"layer{i}": 1 + 0.02 * i for i in range(10)}
    assert outlying(alike, bits, set()) == outlying(dict.fromkeys(alike, 0.0), bits, set()) == outlying({}, bits, set()) == {}
    assert outlying({**alike, "loud": 2.0}, bits, set()) == {"loud": bits + 1}
    assert outlying({**alike, "loud": 2.0}, bits, {"loud"}) == {}


def test_only_the_weights_that_make_most_of_the_noise_get_a_bit(images):
    for bits in (3, 4):
        state = start(Loud(1 / 16), replace(NARROW, weights=bits))
        fifth = state.network.graph.weighted()[4].name
        found = widen_noisy_layers(state, images)
        assert chosen(found, "weights") == {fifth: bits + 1} and found.plan.layers[fifth].weights == bits + 1
    for bits in (5, 8):
        assert widened(start(Loud(1 / 16), replace(NARROW, weights=bits)), images, "weights") == {}
    no_more = replace(NARROW, activations=3, sensitive=4)  # that is what the most sensitive layers have
    assert widened(start(Loud(1 / 16), no_more), images, "weights") == {}


def test_maps_and_weights_are_chosen_each_among_their_like(images):
    state = start(Loud(), NARROW)
    alone = widened(start(Loud()), images)
    both = widen_noisy_layers(state, images)
    assert chosen(both, "activations") == alone
    weights = chosen(both, "weights")
    budget = replace(NARROW, activation_budget=5.0)
    assert weights and weights == widened(start(Loud(), budget), images, "weights")


def test_an_override_of_weights_wins_and_changes_nothing_of_the_choice(images):
    others = start(Loud(1 / 16), NARROW)
    name = others.network.graph.weighted()[4].name
    assert widened(others, images, "weights") == {name: 5}
    for given in (3, 4, 5, 8):
        state = start(Loud(1 / 16), replace(NARROW, overrides=(Override(name, weights=given),)))
        found = widen_noisy_layers(state, images)
        assert not chosen(found, "weights") and found.plan.layers[name].weights == given
    of_maps = replace(NARROW, overrides=(Override(name, activations=6),))
    assert widened(start(Loud(1 / 16), of_maps), images, "weights") == {name: 5}


def test_overrides_win_and_change_nothing_of_the_choice(images):
    name = start(Loud()).network.graph.weighted()[3].name
    for given in (3, 4, 5, 8):
        state = start(Loud(), replace(OPTIONS, overrides=(Override(name, activations=given),)))
        found = widen_noisy_layers(state, images)
        assert not found.widths and found.plan.bits[name_of(state, name)] == given
    of_weights = replace(OPTIONS, overrides=(Override(name, weights=6),))
    assert widened(start(Loud(), of_weights), images) == {name: 5}


@pytest.mark.parametrize("given", [3, 4, 6])
def test_an_override_of_a_copy_wins_without_a_word_of_other_widths(given, images):
    plain = start(Pooled())
    pool = next(n for n in plain.network.graph.nodes if n.op == "max_pool")
    assert widened(plain, images) == {plain.network.graph.weighted()[3].name: 5}
    state = start(Pooled(), replace(OPTIONS, overrides=(Override(pool.name, activations=given),)))
    found = widen_noisy_layers(state, images)
    assert not found.widths and found.plan.bits == state.plan.bits and "5" not in "".join(found.plan.notes)


def test_every_method_has_the_same_widths(images):
    expected = widened(start(Loud()), images)
    for method in ("fan2019", "kl", "auto"):
        others = {"method": method, "unsigned": method != "fan2019", "activation_group": 0, "equalise": "none"}
        assert widened(start(Loud(), replace(OPTIONS, **others)), images) == expected


def test_maps_that_share_a_width_are_left_alone(images):
    state = start(Joined())
    joined = next(n for n in state.network.graph.nodes if len(n.inputs) == 2)
    sharing = {state.network.graph.producer(t).name for t in joined.inputs}
    assert len(sharing) == 2 and not sharing & narrow_maps(state.plan)
    assert not sharing & set(widened(state, images))
    assert not widen_noisy_layers(state, images).plan.notes


def test_it_is_for_sensitive_layers_at_four_bits_and_below():
    assert applies(OPTIONS) and applies(replace(OPTIONS, weights=8, activations=2, sensitive=3))
    for other in ({"sensitive": 0}, {"sensitive": 4}, {"activations": 5}, {"activation_budget": 5.0}):
        assert not applies(replace(OPTIONS, **other)), other
    assert applies(replace(NARROW, activation_budget=5.0)) and applies(replace(NARROW, weight_budget=5.0))
    assert not applies(replace(NARROW, activation_budget=5.0, weight_budget=5.0))
    named = [p.__name__ for p in sequence.preparation(replace(OPTIONS, equalise="ranges"))]
    assert named.index("widen_noisy_layers") < named.index("equalise_ranges")


def test_a_budget_of_weights_keeps_it(images):
    state = start(Loud(), replace(OPTIONS, weight_budget=5.0))
    name = state.network.graph.weighted()[3].name
    state = sequence.run(sequence.preparation(state.options), state, images)
    assert state.widths[name].activations == 5 and state.widths[name].weights is not None
    assert len([w for w in state.widths.values() if w.weights is not None]) == len(state.network.graph.weighted())


def test_a_budget_of_maps_keeps_the_weights_that_were_chosen(images):
    state = start(Loud(1 / 16), replace(NARROW, activation_budget=5.0))
    name = state.network.graph.weighted()[4].name
    state = sequence.run(sequence.preparation(state.options), state, images)
    assert chosen(state, "weights") == {name: 5}
    assert all(w.activations for w in state.widths.values())


def test_another_method_for_the_same_network_keeps_it(images):
    state = widen_noisy_layers(start(Loud()), images)
    assert state.widths and state.with_options(replace(OPTIONS, method="mse")).widths == state.widths


@pytest.mark.parametrize("factor, weights, option", [(16.0, 8, "activations"), (1 / 16, 4, "weights")])
def test_the_artifact_names_it_and_a_file_that_gives_it_makes_the_same(tmp_path, factor, weights, option):
    first = calibrate(written(tmp_path / "net.toml", factor, weights), tmp_path / "a")
    given = first.provenance["bfp"]["overrides"]
    assert 5 in [o.get(option) for o in given]
    more = "".join(
        f'[[bfp.override]]\nlayers = "{o["layers"]}"\n{which} = {o[which]}\n'
        for o in given
        for which in ("weights", "activations")
        if which in o
    )
    again = calibrate(written(tmp_path / "net.toml", factor, weights, more), tmp_path / "b")
    assert again.formats == first.formats
    for name, p in first.parameters.items():
        assert p.weights.bits == again.parameters[name].weights.bits
        assert (p.weights.mantissas == again.parameters[name].weights.mantissas).all()
        assert (p.weights.exponents == again.parameters[name].weights.exponents).all()
