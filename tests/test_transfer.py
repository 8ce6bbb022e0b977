"""The transfer of the context-free network (arXiv:1603.09246): into AlexNet, by --encoder."""

import keras
import numpy as np
import pytest

from sslzoo import encoders, zoo
from sslzoo.commands.classify import Classify
from sslzoo.commands.probe import Probe
from sslzoo.errors import UserError
from sslzoo.training import Run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with `cfn.keras` and `small.keras`."""
    folder = tmp_path_factory.mktemp("encoders")
    for name, file in (("alexnet_cfn", "cfn"), ("small", "small")):
        encoders.get(name).save(folder / f"{file}.keras")
    return folder


def stages(encoder, images):
    """The maps of all stages."""
    outputs = [encoder.get_layer(name).output for name in encoders.stages(encoder)]
    return keras.Model(encoder.input, outputs)(images)


def test_conv1_to_conv5_of_the_cfn_are_those_of_an_alexnet_of_stride_4(saved):
    spec = f"alexnet:{saved}/cfn.keras"
    cfn = keras.saving.load_model(saved / "cfn.keras")
    run = Run(encoder=spec)
    alexnet = run.new_encoder()
    assert run.started_from == {"encoder": spec}
    for i in range(1, 6):
        ours, theirs = (model.get_layer(f"conv{i}").get_weights() for model in (alexnet, cfn))
        assert [*map(np.array_equal, ours, theirs)] == [True, True], f"conv{i}"
    images = np.random.default_rng(0).random((1, 227, 227, 3), np.float32)
    maps = stages(alexnet, images)
    assert [x.shape[1:3] for x in maps] == [(55, 55), (27, 27), *[(13, 13)] * 3]
    assert alexnet(images).shape == (1, 6, 6, 256)
    # Every other place of a stride of 2 is a stride of 4.
    np.testing.assert_allclose(maps[0], stages(cfn, images)[0][:, ::2, ::2], atol=1e-4)


def test_probe_and_classify_know_it(saved):
    spec = f"alexnet:{saved}/cfn.keras"
    for encoder in (Probe(encoder=spec).model, Classify(encoder=spec).given[0]):
        assert encoder.get_layer("conv1").strides == (4, 4)
        expected = keras.saving.load_model(saved / "cfn.keras").get_weights()[0]
        np.testing.assert_array_equal(encoder.get_weights()[0], expected)


def test_other_shapes_and_missing_files_are_refused(saved):
    refused = r"--encoder: .*shapes of alexnet's, \(11, .*Received: small: \(3, 3, 3, 32\)"
    with pytest.raises(UserError, match=refused):
        Run(encoder=f"alexnet:{saved}/small.keras").new_encoder()
    few = keras.Model((x := keras.Input((None, None, 3))), keras.layers.Conv2D(96, 11)(x))
    few.save(saved / "few.keras")
    with pytest.raises(UserError, match=r"Received: .*: none"):
        zoo.open_encoder(f"alexnet:{saved}/few.keras")
    with pytest.raises(UserError, match="Received: 'nothing'"):
        zoo.open_encoder("alexnet:nothing")
