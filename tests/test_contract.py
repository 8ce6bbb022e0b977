"""Promises of every pretext. `pytest tests/test_contract.py --pretext=my.py:make` checks yours.

`make(encoder, **compile_arguments)` returns it compiled. Two attributes of that function say more:
`make.examples(size, n, seed)`, the dataset of examples that `transform` takes, if an image, an
index and a seed are not enough; `make.deterministic = True`, if its puzzles know no chance.
"""

import importlib.util
import inspect
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, mirrored, rendered_examples, tiny_encoder
from toy import UpsideDown

from sslzoo import export
from sslzoo.pretext import Pretext
from sslzoo.pretexts.bigan import BiGAN
from sslzoo.pretexts.colorization import Colorization
from sslzoo.pretexts.deepcluster import DeepCluster
from sslzoo.pretexts.inpainting import Inpainting
from sslzoo.pretexts.jigsaw import Jigsaw
from sslzoo.pretexts.npid import Npid
from sslzoo.pretexts.pirl import Pirl
from sslzoo.pretexts.reconstruction import Reconstruction
from sslzoo.pretexts.relative_patch import RelativePatch
from sslzoo.pretexts.rotation import Rotation
from sslzoo.pretexts.superres import Superres
from sslzoo.pretexts.synthetic import Synthetic
from sslzoo.training import checkpoints

CHANCE_TOLERANCE = 0.15


def classify(pretext, **kwargs):
    """Compiled as the discriminative recipes are."""
    pretext.compile(keras.optimizers.SGD(0.1, momentum=0.9), **kwargs)
    return pretext


def jigsaw(encoder, **kwargs):
    geometry = {"crop": 48, "grid": 2, "tile": 18, "num_permutations": 6, "fc6": 8, "fc7": 16}
    several = {"project": 0.5, "puzzles_per_image": 2}
    return classify(Jigsaw(encoder, **geometry, **several, dropout=0.0), **kwargs)


def rotation(encoder, **kwargs):
    return classify(Rotation(encoder, crop=16, fc=0), **kwargs)


def relative_patch(encoder, **kwargs):
    geometry = {"crop": 40, "patch": 14, "gap": 5, "jitter": 4, "min_area": 0.9}
    return classify(RelativePatch(encoder, **geometry, fc6=8, fc7=16, batch_norm=False), **kwargs)


def toy(encoder, **kwargs):
    return classify(UpsideDown(encoder), **kwargs)


def colorization(encoder, **kwargs):
    pretext = Colorization(encoder, crop=16, width=8)
    pretext.compile(keras.optimizers.Adam(0.01), **kwargs)  # the loss is its own
    return pretext


def deepcluster(encoder, **kwargs):
    pretext = DeepCluster(encoder, num_images=64, k=4, crop=16, view=16, fc=8, dropout=0.0)
    optimizers = {"top": keras.optimizers.SGD(0.1)}
    pretext.compile(keras.optimizers.SGD(0.1, momentum=0.9), optimizers=optimizers, **kwargs)
    return pretext


def npid(encoder, **kwargs):
    geometry = {"crop": 16, "view": 16, "dims": 8, "temperature": 0.5, "negatives": 32}
    pretext = Npid(encoder, num_images=64, seed=0, **geometry)
    pretext.compile(keras.optimizers.SGD(0.1, momentum=0.9), **kwargs)
    return pretext


def two_players(pretext, **kwargs):
    """Compiled as the adversarial recipes are."""
    optimizers = {name: keras.optimizers.Adam(0.01) for name in pretext.parameter_groups}
    pretext.compile(keras.optimizers.Adam(0.01), optimizers=optimizers, **kwargs)
    return pretext


def inpainting(encoder, **kwargs):
    settings = {"overlap": 0, "bottleneck": 0, "width": 8, "discriminator_width": 4}
    pretext = Inpainting(encoder, crop=16, mask="region", batch_norm=False, **settings)
    return two_players(pretext, **kwargs)


def bigan(encoder, **kwargs):
    return two_players(BiGAN(encoder, crop=16, codes=6, width=4, batch_norm=False), **kwargs)


def reconstruction(encoder, **kwargs):
    settings = {"crop": 16, "discriminator_width": 4, "batch_norm": False}
    return two_players(Reconstruction(encoder, **settings), **kwargs)


def superres(encoder, **kwargs):
    settings = {"crop": 16, "discriminator_width": 4, "batch_norm": False}
    return two_players(Superres(encoder, adversarial=0.01, **settings), **kwargs)


def synthetic(encoder, **kwargs):
    settings = {"width": 4, "discriminator_width": 4, "batch_norm": False, "pool": 16}
    return two_players(Synthetic(encoder, crop=16, grey=True, **settings), **kwargs)


synthetic.examples = rendered_examples


def pirl(encoder, **kwargs):
    geometry = {"crop": 24, "view": 16, "puzzle": 24, "grid": 2, "tile": 10, "dims": 8}
    pretext = Pirl(encoder, 64, seed=0, temperature=0.5, negatives=32, **geometry)
    pretext.compile(keras.optimizers.SGD(0.1, momentum=0.9), **kwargs)
    return pretext


def encoder():
    """With batch norm: what is right in training alone, or in inference alone, is seen."""
    return tiny_encoder(batch_norm=True)


MAKERS = {
    "toy": toy,
    "jigsaw": jigsaw,
    "rotation": rotation,
    "relative_patch": relative_patch,
    "inpainting": inpainting,
    "bigan": bigan,
    "reconstruction": reconstruction,
    "superres": superres,
    "synthetic": synthetic,
    "colorization": colorization,
    "npid": npid,
    "pirl": pirl,
    "deepcluster": deepcluster,
}


@pytest.fixture
def drawn(monkeypatch):
    """List of all seeds, as tuples, that something is drawn from or split while the test runs."""
    seeds = []

    def watch(module, name):
        draw = getattr(module, name)
        signature = inspect.signature(draw)

        def watched(*args, **kwargs):
            seed = signature.bind(*args, **kwargs).arguments["seed"]
            if tf.executing_eagerly():
                seeds.append(tuple(np.ravel(seed).tolist()))
            return draw(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    for module in (tf.random, tf.random.experimental, tf.image):
        for name in dir(module):
            if name.startswith("stateless_") or name == "split":
                watch(module, name)
    return seeds


def pytest_generate_tests(metafunc):
    makers, own = MAKERS, metafunc.config.getoption("--pretext")
    if own:
        path, _, function = own.partition(":")
        spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        makers = {own: getattr(module, function)}
    if "make" in metafunc.fixturenames:
        # Of a module's scope, so that the tests of one maker stand together and share `learned`.
        metafunc.parametrize("make", makers.values(), ids=makers.keys(), scope="module")


def batches(make, pretext, n=8, batch_size=8, seed=0):
    data = getattr(make, "examples", examples)(pretext.crop or 32, n, seed)
    return data, pretext.puzzles(data, batch_size)


def equal(a, b):
    tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def weights(model):
    return [v.numpy() for v in model.trainable_variables]


@pytest.fixture(scope="module")
def learned(make):
    """The pretext after two epochs, and its encoder's weights before. Tests leave both alone."""
    keras.utils.set_random_seed(0)
    pretext = make(encoder())
    before = pretext.encoder.get_weights()
    pretext.fit(batches(make, pretext)[1], epochs=2, verbose=0)
    return pretext, before


def test_transform_is_pure_eagerly_and_in_tf_data(make, learned):
    pretext, _ = learned
    data, _ = batches(make, pretext)
    keras.utils.set_random_seed(1)
    eager = [pretext.transform(example) for example in data]
    keras.utils.set_random_seed(2)
    again = [pretext.transform(example) for example in data]
    inside = list(Pretext.puzzles(pretext, data, 1).unbatch())  # those that unfold theirs
    equal(eager, again)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), eager, inside)


def test_the_seed_chooses_the_puzzle(make, learned):
    if getattr(make, "deterministic", False):
        pytest.skip("its maker says that it knows no chance")
    pretext, _ = learned
    example = next(iter(batches(make, pretext)[0]))
    puzzles = [
        tf.nest.flatten(pretext.transform({**example, "seed": tf.constant([7, i], tf.int32)}))
        for i in range(12)
    ]
    first = puzzles[0]
    assert any(not np.array_equal(a, b) for p in puzzles for a, b in zip(p, first, strict=True))


def test_no_two_choices_share_their_seed(make, learned, drawn):
    """Else the one would tell the other: where it was cut, the label."""
    pretext, _ = learned
    for example in batches(make, pretext, n=2)[0]:
        drawn.clear()
        pretext.transform(example)
        assert len({*drawn}) == len(drawn)


def test_labels_are_never_read(make, learned):
    class Unlabelled(dict):
        def __getitem__(self, key):
            assert key != "label", "transform read the label"
            return super().__getitem__(key)

    pretext, _ = learned
    pretext.transform(Unlabelled(next(iter(batches(make, pretext)[0])), label=tf.constant(1)))


def test_loss_at_initialisation_is_chance(make):
    pretext = make(encoder())
    if pretext.chance_loss is None:
        pytest.skip("no known chance loss")
    _, puzzles = batches(make, pretext, n=64, batch_size=64)
    loss = pretext.evaluate(puzzles, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(pretext.chance_loss, rel=CHANCE_TOLERANCE)


def test_every_encoder_weight_learns_and_moving_averages_follow(learned):
    pretext, before = learned
    for variable, old in zip(pretext.encoder.weights, before, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0, f"{variable.path} did not move"


def test_an_image_is_embedded_alone_and_changes_nothing(make, learned):
    pretext, _ = learned
    images = np.stack([e["image"] for e in batches(make, pretext, n=4)[0]])
    before = pretext.get_weights()
    together = pretext.embed(images)
    np.testing.assert_allclose(together[:1], pretext.embed(images[:1]), atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-5
    equal(before, pretext.get_weights())


def test_xla_on_equals_xla_off_with_two_replicas(make):
    found = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        with mirrored(2).scope():
            pretext = make(encoder(), jit_compile=jit_compile)
        pretext.fit(batches(make, pretext, n=16)[1], verbose=0)
        found.append(weights(pretext))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-3)


def test_two_replicas_equal_one(make):
    results = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with mirrored(replicas).scope():
            pretext = make(tiny_encoder())  # batch norm sees its replica's images alone
        history = pretext.fit(batches(make, pretext, n=24)[1], verbose=0).history
        results.append((weights(pretext), history))
    (one, loss_one), (two, loss_two) = results
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-3)
    assert loss_one["loss"] == pytest.approx(loss_two["loss"], rel=1e-3)


def test_keras_file_round_trip(make, learned, tmp_path):
    pretext, _ = learned
    data, puzzles = batches(make, pretext)
    pretext.save(tmp_path / "pretext.keras")
    loaded = keras.saving.load_model(tmp_path / "pretext.keras")
    assert type(loaded) is type(pretext)
    equal(pretext.transform(next(iter(data))), loaded.transform(next(iter(data))))
    x = next(iter(puzzles))[0]
    equal(pretext.predict_on_batch(x), loaded.predict_on_batch(x))


def test_resume_restores_every_optimizer_and_state(make, tmp_path):
    store = checkpoints.Checkpoints(tmp_path)
    pretext = make(encoder())
    pretext.fit(batches(make, pretext, n=16)[1], verbose=0)
    store.save(pretext, step=2)
    keras.utils.set_random_seed(99)
    resumed = make(encoder())
    assert checkpoints.restore_state(resumed, store.load()) == 2
    for model in (pretext, resumed):
        model.fit(batches(make, model, n=16, seed=1)[1], verbose=0)
    ours, theirs = map(checkpoints.state_variables, (pretext, resumed))
    assert len(ours) > len(pretext.variables), "the optimizers are part of the state"
    equal([v.numpy() for v in ours], [v.numpy() for v in theirs])


def test_exported_encoder_answers_as_the_keras_one(learned, tmp_path):
    pretext, _ = learned
    version = export.save(pretext.encoder, tmp_path / "zoo")
    images = np.random.default_rng(0).random((3, 40, 32, 3), np.float32)
    served = tf.saved_model.load(version)
    maps = pretext.encoder.predict_on_batch(images)
    np.testing.assert_allclose(served.embed(images)["embedding"], maps.mean((1, 2)), atol=1e-5)


def test_the_card_says_what_the_encoder_was_trained_on(make, learned):
    """Whole images are of the size that puzzles start from."""
    pretext, _ = learned
    assert " " in pretext.sees, "words"
    assert not pretext.sees.endswith("."), "they go into a sentence"
    example = next(iter(batches(make, pretext, n=1)[0]))
    if "whole" in pretext.sees:
        sizes = [tuple(x.shape[-3:-1]) for x in tf.nest.flatten(pretext.transform(example)[0])]
        assert tuple(example["image"].shape[:2]) in sizes


def test_picture_is_uint8_rgb(make, learned):
    pretext, _ = learned
    x, y = next(iter(batches(make, pretext)[1]))[:2]
    answers = pretext.predict_on_batch(x)
    first = [tf.nest.map_structure(lambda a: np.asarray(a)[0], part) for part in (x, y, answers)]
    for arguments in (first[:2], first):
        picture = pretext.picture(*arguments)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[-1] == 3
