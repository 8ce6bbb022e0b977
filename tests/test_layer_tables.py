"""The papers' networks, layer by layer: these tables are read off the papers, not off our code.

A row is one layer: its kind, channels, `kKERNEL`, `sSTRIDE`, `gGROUPS`, `dDILATION`, and behind `@`
the side of its output in pixels. Commas separate rows, `3 x (...)` repeats. `bn` is batch norm with
gain and offset, `bn0` without; a convolution or dense layer has a bias unless `nobias` is said.
Initialisers are our own choice where a pretext says so, so they stand beside a table.
"""

import re

import keras
import numpy as np
import pytest

from sslzoo import encoders
from sslzoo.parts.layers import ChannelWiseDense, FoldedTimeDistributed, PixelShuffle
from sslzoo.pretexts import superres
from sslzoo.pretexts.bigan import BiGAN
from sslzoo.pretexts.colorization import Colorization, ResizeToQuarter, dilated_vgg
from sslzoo.pretexts.inpainting import Inpainting, context_encoder
from sslzoo.pretexts.jigsaw import Jigsaw
from sslzoo.pretexts.reconstruction import Reconstruction, reconstructor
from sslzoo.pretexts.relative_patch import RelativePatch
from sslzoo.pretexts.rotation import Rotation

L = keras.layers
SILENT = (L.InputLayer, L.ZeroPadding2D, L.Rescaling, L.Identity, L.Flatten, L.Reshape)


# === How a network is written down ===


def rows(model, side=None):
    """The table of a functional model, of its own layers, on images of `side` pixels."""
    layers = [x for x in model.operations if isinstance(x, L.Layer) and not isinstance(x, SILENT)]
    taps = [layer.output for layer in layers if takes_room(layer)]
    shapes = [tap.shape for tap in taps]
    if side and taps:
        shapes = keras.Model(model.input, taps).compute_output_shape((1, side, side, 3))
    shapes = iter(shapes)
    return [row(x) + (f" @{next(shapes)[1]}" if takes_room(x) else "") for x in layers]


def takes_room(layer):
    """Whether a layer may change the side of the map."""
    return isinstance(layer, (L.Conv2D, L.Conv2DTranspose, L.MaxPooling2D, L.AveragePooling2D))


def row(layer):
    """One layer without its output."""
    for kinds, write in KINDS.items():
        if isinstance(layer, kinds):
            return write(layer)
    raise AssertionError(f"a layer that no table knows: {layer}")


def convolution(layer):
    kind = "up" if isinstance(layer, L.Conv2DTranspose) else "conv"
    (kernel, _), (stride, _), (dilation, _) = layer.kernel_size, layer.strides, layer.dilation_rate
    groups = getattr(layer, "groups", 1)
    parts = [kind, str(layer.filters), f"k{kernel}"]
    parts += [f"{c}{n}" for c, n in (("s", stride), ("g", groups), ("d", dilation)) if n > 1]
    return " ".join(parts) + bias(layer) + activation(layer)


def bias(layer):
    return "" if layer.use_bias else " nobias"


def activation(layer):
    name = layer.activation.__name__
    return "" if name == "linear" else f" {name}"


def normalisation(layer):
    assert layer.center == layer.scale
    return "bn" if layer.center else "bn0"


def pooling(layer):
    kind = "max" if isinstance(layer, L.MaxPooling2D) else "mean"
    return f"{kind} k{layer.pool_size[0]} s{layer.strides[0]}"


KINDS = {
    (L.Conv2D, L.Conv2DTranspose): convolution,
    L.Dense: lambda layer: f"dense {layer.units}" + bias(layer) + activation(layer),
    L.BatchNormalization: normalisation,
    (L.MaxPooling2D, L.AveragePooling2D): pooling,
    L.GlobalAveragePooling2D: lambda layer: "global mean",
    L.ReLU: lambda layer: "relu",
    L.LeakyReLU: lambda layer: f"leaky {layer.negative_slope:g}",
    L.PReLU: lambda layer: "prelu" + ("" if [*layer.shared_axes] == [1, 2] else " of each pixel"),
    L.Activation: lambda layer: layer.activation.__name__,
    L.Dropout: lambda layer: f"dropout {layer.rate:g}",
    L.Add: lambda layer: "add",
    L.Resizing: lambda layer: f"resize {layer.height}",
    PixelShuffle: lambda layer: "shuffle",
    ResizeToQuarter: lambda layer: "quarter",
    ChannelWiseDense: lambda layer: "channel-wise dense",
    FoldedTimeDistributed: lambda layer: "for each: " + layer.layer.name,
    keras.Model: lambda layer: "lrn" if layer.name.startswith("norm") else layer.name,
}


def table(text):
    """`"a, 2 x (b, c)"` -> ["a", "b", "c", "b", "c"]."""
    found = re.search(r"(\d+) x \(([^()]*)\)", text)
    if found:
        again = ", ".join([found[2]] * int(found[1]))
        return table(text[: found.start()] + again + text[found.end() :])
    return [" ".join(part.split()) for part in text.split(",") if part.strip()]


def weights(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def starts(model):
    """How kernels start: names and numbers of their initialisers."""
    return {start(layer) for layer in model.layers if hasattr(layer, "kernel_initializer")}


def start(layer):
    config = layer.kernel_initializer.get_config()
    said = [str(value) for key, value in config.items() if key != "seed" and value is not None]
    return " ".join([type(layer.kernel_initializer).__name__, *said])


HE, FAN_OUT = "HeNormal", "VarianceScaling 2.0 fan_out untruncated_normal"
XAVIER, DCGAN = "GlorotUniform", "RandomNormal 0.0 0.02"


def check(model, text, side, count, init):
    assert rows(model, side) == table(text)
    assert weights(model) == count
    assert starts(model) == {*init}


# === Encoders ===

CAFFENET = """
    conv 96 k11 s{0} @{1}, relu, max k3 s2 @{2}, lrn, conv 256 k5 g2 @{2}, relu,
    max k3 s2 @{3}, lrn, conv 384 k3 @{3}, relu, conv 384 k3 g2 @{3}, relu,
    conv 256 k3 g2 @{3}, relu, max k3 s2 @{4}
"""
DOERSCH = """
    conv 96 k11 s4 @24, relu, max k3 s2 @12, lrn, conv 256 k5 @12, relu, max k3 s2 @6, lrn,
    conv 384 k3 @6, bn0, relu, conv 384 k3 @6, bn0, relu, conv 256 k3 @6, bn0, relu, max k3 s2 @3
"""
BATCH = """
    conv {} k11 s4 @55, bn, relu, max k3 s2 @27, conv {} k5 @27, bn, relu, max k3 s2 @13,
    conv {} k3 @13, bn, relu, conv {} k3 @13, bn, relu, conv {} k3 @13, bn, relu, max k3 s2 @6
"""
NIN = """
    conv 192 k5 nobias @32, bn, relu, conv 160 k1 nobias @32, bn, relu,
    conv 96 k1 nobias @32, bn, relu, max k3 s2 @16,
    conv 192 k5 nobias @16, bn, relu, 2 x (conv 192 k1 nobias @16, bn, relu), mean k3 s2 @8,
    conv 192 k3 nobias @8, bn, relu, 2 x (conv 192 k1 nobias @8, bn, relu),
    conv 192 k3 nobias @8, bn, relu, 2 x (conv 192 k1 nobias @8, bn, relu)
"""
COLOUR = """
    conv 64 k3 @176, relu, conv 64 k3 s2 @88, relu, bn0,
    conv 128 k3 @88, relu, conv 128 k3 s2 @44, relu, bn0,
    2 x (conv 256 k3 @44, relu), conv 256 k3 s2 @22, relu, bn0,
    3 x (conv 512 k3 @22, relu), bn0,
    3 x (conv 512 k3 d2 @22, relu), bn0, 3 x (conv 512 k3 d2 @22, relu), bn0,
    3 x (conv 512 k3 @22, relu), bn0,
    up 256 k4 s2 @44, relu, 2 x (conv 256 k3 @44, relu)
"""
CONTEXT = """
    conv 64 k4 s2 @64, leaky 0.2, conv 64 k4 s2 @32, bn, leaky 0.2,
    conv 128 k4 s2 @16, bn, leaky 0.2, conv 256 k4 s2 @8, bn, leaky 0.2,
    conv 512 k4 s2 @4, bn, leaky 0.2
"""
RECONSTRUCTOR = """
    conv 64 k4 s2 @40, conv 64 k3 @40, bn, leaky 0.2,
    conv 128 k4 s2 @20, conv 128 k3 @20, bn, leaky 0.2,
    conv 256 k4 s2 @10, conv 256 k3 @10, bn, leaky 0.2,
    conv 512 k4 s2 @5, conv 512 k3 @5, bn, dropout 0.5, leaky 0.2
"""
SRRESNET = """
    conv 64 k9 @24, prelu,
    16 x (conv 64 k3 nobias @24, bn, prelu, conv 64 k3 nobias @24, bn, add),
    conv 64 k3 nobias @24, bn, add
"""


@pytest.mark.parametrize(
    ("make", "text", "side", "count", "init"),
    [
        ("alexnet", CAFFENET.format(4, 55, 27, 13, 6), 227, 2_334_080, HE),
        (
            "alexnet_cfn",
            CAFFENET.format(2, 27, 13, 6, 3),
            64,
            2_334_080,
            HE,
        ),
        ("alexnet_doersch", DOERSCH, 96, 3_747_200, HE),
        ("alexnet_bn", BATCH.format(96, 256, 384, 384, 256), 224, 3_747_200 + 2_752, HE),
        ("alexnet_small", BATCH.format(64, 192, 384, 256, 256), 224, 2_469_696 + 2_304, HE),
        ("nin", NIN, 32, 1_411_140 - (192 * 4 + 4), FAN_OUT),
        (dilated_vgg, COLOUR, 176, 32_230_393 - 257 * 313, HE),
        (context_encoder, CONTEXT, 128, None, DCGAN),
        (reconstructor, RECONSTRUCTOR, 80, None, DCGAN),
        (superres.srresnet, SRRESNET, 24, None, XAVIER),
    ],
    ids=lambda value: getattr(value, "__name__", value if value in encoders.PRESETS else ""),
)
def test_encoders(make, text, side, count, init):
    encoder = encoders.get(make) if isinstance(make, str) else make()
    check(encoder, text, side, count or weights(encoder), [init])


@pytest.mark.parametrize(
    ("name", "unit", "depths", "widths"),
    [
        ("resnet18", "conv {0} k3{s} nobias, bn, relu, conv {0} k3 nobias, bn", (2,) * 4, 1),
        (
            "resnet50",
            "conv {0} k1 nobias, bn, relu, conv {0} k3{s} nobias, bn, relu, conv {1} k1 nobias, bn",
            (3, 4, 6, 3),
            4,
        ),
    ],
)
def test_resnets(name, unit, depths, widths):
    """Projections stand where Keras lists them, so blocks are compared without their order."""
    expected = table("conv 64 k7 s2 nobias, bn, relu, max k3 s2")
    for i, depth in enumerate(depths):
        width = 64 * 2**i
        for j in range(depth):
            stride = " s2" if i and not j else ""
            expected += table(unit.format(width, width * widths, s=stride) + ", add, relu")
            if j == 0 and (i or widths > 1):
                expected += table(f"conv {width * widths} k1{stride} nobias, bn")
    encoder = encoders.get(name)
    found = [text.split(" @")[0] for text in rows(encoder, 224)]
    assert sorted(found) == sorted(expected)
    assert starts(encoder) == {FAN_OUT}


# === What solves the puzzle ===

CFN = """
    for each: column, dense 4096, relu, dropout 0.5, dense {}
"""
PATCHES = """
    for each: column, dense 4096, bn0, relu, dense 4096, relu, dense 8
"""


@pytest.mark.parametrize(("n", "count"), [(64, 42_709_440), (100, 42_856_932), (1000, 46_544_232)])
def test_the_head_of_the_context_free_network(n, count):
    pretext = Jigsaw(encoders.get("alexnet_cfn"), num_permutations=n)
    assert rows(pretext) == table(CFN.format(n))
    column = pretext.get_layer(index=1).layer
    assert rows(column) == table("alexnet_cfn, dense 1024, relu, dropout 0.5")
    assert weights(pretext) == count


def test_the_head_of_relative_patch():
    pretext = RelativePatch(encoders.get("alexnet_doersch"))
    assert rows(pretext) == table(PATCHES)
    column = pretext.get_layer("tower").layer
    assert rows(column) == table("alexnet_doersch, dense 4096, bn0, relu")
    assert column.get_layer("fc6").count_params() == 9_441_280
    assert pretext.get_layer("fc7").count_params() == 33_558_528
    assert weights(pretext) == 63_561_096
    assert starts(pretext) | starts(column) == {XAVIER}


def test_the_heads_of_rotation():
    pretext = Rotation(encoders.get("alexnet_small"))
    hidden = "2 x (dense 4096 nobias, bn, relu)"
    assert rows(pretext) == table(f"alexnet_small, {hidden}, dense 4")
    assert weights(pretext) == 57_030_724
    pretext = Rotation(encoders.get("nin"), crop=32, fc=0)
    assert rows(pretext) == table("nin, global mean, dense 4")
    assert weights(pretext) == 1_411_140


def test_the_answers_of_colorization():
    pretext = Colorization(dilated_vgg())
    assert rows(pretext, 176) == table("dilated_vgg, quarter, conv 313 k1 @44")
    assert weights(pretext) == 32_230_393


# === Generators and discriminators ===

CONTEXT_DECODER = """
    context_encoder, conv 4000 k4 @1, bn, leaky 0.2, up 512 k4 @4, bn, relu,
    up 256 k4 s2 @8, bn, relu, up 128 k4 s2 @16, bn, relu, up 64 k4 s2 @32, bn, relu,
    up 3 k4 s2 @64, linear, tanh
"""
DCGAN_JUDGE = """
    conv 64 k4 s2 @{0}, leaky 0.2, conv 128 k4 s2 @{1}, bn, leaky 0.2,
    conv 256 k4 s2 @{2}, bn, leaky 0.2, conv 512 k4 s2 @{3}, bn, leaky 0.2, conv 1 k{3} @1
"""
RECONSTRUCTOR_DECODER = """
    reconstructor, up 256 k4 s2 @10, conv 256 k3 @10, bn, relu,
    up 128 k4 s2 @20, conv 128 k3 @20, bn, relu, up 64 k4 s2 @40, conv 64 k3 @40, bn, relu,
    up 32 k4 s2 @80, conv 3 k3 @80, tanh
"""
SRGAN_JUDGE = """
    conv 64 k3 @96, leaky 0.2, conv 64 k3 s2 nobias @48, bn, leaky 0.2,
    conv 128 k3 nobias @48, bn, leaky 0.2, conv 128 k3 s2 nobias @24, bn, leaky 0.2,
    conv 256 k3 nobias @24, bn, leaky 0.2, conv 256 k3 s2 nobias @12, bn, leaky 0.2,
    conv 512 k3 nobias @12, bn, leaky 0.2, conv 512 k3 s2 nobias @6, bn, leaky 0.2,
    dense 1024, leaky 0.2, dense 1
"""


def generator_weights(pretext):
    return sum(int(np.prod(v.shape)) for v in pretext.ungrouped_variables)


def test_the_context_encoder_paints():
    pretext = Inpainting(context_encoder())
    assert rows(pretext, 128) == table(CONTEXT_DECODER)
    assert generator_weights(pretext) == 71_130_531
    assert starts(pretext) == {DCGAN}
    check(pretext.discriminator, DCGAN_JUDGE.format(32, 16, 8, 4), 64, 2_766_529, [DCGAN])
    assert encoders.stages(pretext.encoder) == [f"stage{i}" for i in range(1, 6)]


def test_reconstruction_from_the_middle():
    pretext = Reconstruction(reconstructor())
    assert rows(pretext, 80) == table(RECONSTRUCTOR_DECODER)
    assert generator_weights(pretext) == 9_454_979
    assert starts(pretext) == {DCGAN}
    check(pretext.discriminator, DCGAN_JUDGE.format(40, 20, 10, 5), 80, 2_771_137, [DCGAN])
    stages = [pretext.encoder.get_layer(x) for x in encoders.stages(pretext.encoder)]
    assert [stage.output.shape[-1] for stage in stages] == [64, 128, 256, 512]


def test_srgan():
    pretext = superres.Superres(superres.srresnet(), adversarial=0.001)
    enlarge = "2 x (conv 256 k3, shuffle, prelu)"
    found = [text.split(" @")[0] for text in rows(pretext, 24)]
    assert found == table(f"srresnet, {enlarge}, conv 3 k9")
    assert pretext.compute_output_shape((1, 24, 24, 3)) == (1, 96, 96, 3)
    assert generator_weights(pretext) == 1_548_547
    check(pretext.discriminator, SRGAN_JUDGE, 96, 23_563_649, [XAVIER])
    assert pretext.in_turn


def test_bigan():
    """The paper's but for up-convolutions of 4 x 4, not 5 x 5."""
    pretext = BiGAN(encoders.get("alexnet_bn", groups=2))
    generator, judge = rows(pretext.generator), rows(pretext.discriminator)
    ups = ", ".join(
        f"up {width} k4 s2 @{side}, dense {width} nobias, bn, relu"
        for width, side in ((256, 8), (128, 16), (64, 32))
    )
    halvings = ", ".join(
        f"conv {width} k5 s2 @{side}, dense {width} nobias, bn, leaky_relu"
        for width, side in ((128, 16), (256, 8), (512, 4))
    )
    assert sorted(generator) == sorted(
        table(f"dense 8192, dense 512 nobias, bn, relu, {ups}, up 3 k4 s2 @64, dense 3 nobias,tanh")
    )
    assert sorted(judge) == sorted(table(f"conv 64 k5 s2 @32, leaky 0.2, {halvings}, dense 1"))
    assert starts(pretext.generator) == {DCGAN}
    assert starts(pretext.discriminator) == {DCGAN, "Zeros"}
    assert {"dense 200", "bn0", "tanh"} < {*rows(pretext)}
