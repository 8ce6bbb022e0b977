"""The linear probe beside scikit-learn's logistic regression, on the same features.

    python tools/bench_probe.py --datasets=cifar10.npz,tiny_imagenet --stages=stage3,stage5

Each chooses C on the same held-out fifth along the same path, and is fitted again to all labels.
`scikit-learn` is LogisticRegression on the standardised features, to `--tol`; `before` is what the
probe was: the same to 0.01, in the span of the rows. `converged` is the probe's plane at the C that
it chose, to the last bit that float32 allows: what its early end costs, the choice of C apart.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import time

from absl import app, flags
from sklearn.linear_model import LogisticRegression

from sslzoo import data, zoo
from sslzoo.probes import features, softmax

DATASETS = flags.DEFINE_list("datasets", None, "labelled images, as for a recipe", required=True)
ENCODER = flags.DEFINE_string("encoder", "rotation", "a name in the zoo")
STAGES = flags.DEFINE_list("stages", ["stage3", "stage5"], "of the encoder")
LABELS = flags.DEFINE_integer("labels", 5000, "training labels")
CROP = flags.DEFINE_integer("crop", 32, "side of the square image in pixels")
RESIZE = flags.DEFINE_integer("resize", 32, "shorter side in pixels; 0 leaves it")
TOL = flags.DEFINE_float("tol", 1e-4, "of scikit-learn; 0.0001 is its default")
BEFORE = flags.DEFINE_bool("before", True, "measure the earlier probe too")


def read(spec):
    """({stage: (x, x_test)}, y, y_test), standardised."""
    source, test = (data.load(spec, s, resize=RESIZE.value, labels=True) for s in ("train", "test"))
    some = source.examples(crop=CROP.value, stop=min(LABELS.value, source.size))
    held = test.examples(crop=CROP.value, shuffle=False)
    reader = features.reader(zoo.encoder(ENCODER.value), (CROP.value, CROP.value, 3), 9600)
    (train, y), (asked, y_test) = (features.features(reader, d, 256) for d in (some, held))
    parts = {}
    for stage in STAGES.value:
        mean, std = train[stage].mean(0), train[stage].std(0)
        std[std == 0] = 1
        parts[stage] = (train[stage] - mean) / std, (asked[stage] - mean) / std
    return parts, y, y_test


def ours(x, y, x_test, y_test):
    """(C, accuracy) of the probe."""
    dims = x.shape[1]
    x, x_test = softmax.span(x, x_test)
    plane, strength, _ = softmax.best(x, y, dims, 0)
    return strength, plane.accuracy(x_test, y_test)


def converged(x, y, x_test, y_test, strength):
    """(C, accuracy) of the optimum."""
    x, x_test = softmax.span(x, x_test)
    plane = softmax.fit(x, y, strength, None, 1e-9)
    return strength, plane.accuracy(x_test, y_test)


def theirs(x, y, x_test, y_test, tol, in_span):
    """(C, accuracy) of scikit-learn."""
    dims, (best, most) = x.shape[1], (None, -1.0)
    x, x_test = softmax.span(x, x_test) if in_span else (x, x_test)
    plane = LogisticRegression(tol=tol, max_iter=5000, warm_start=True)
    held = softmax.held_out(y, 0)
    for strength in (c / dims for c in softmax.PATH):
        plane.set_params(C=strength).fit(x[~held], y[~held])
        accuracy = plane.score(x[held], y[held])
        if accuracy < most:
            break
        if accuracy > most:
            best, most = strength, accuracy
    return best, plane.set_params(C=best).fit(x, y).score(x_test, y_test)


def main(_):
    """Prints a line for each data set, stage and solver."""
    for spec in DATASETS.value:
        parts, y, y_test = read(spec)
        for stage, (x, x_test) in parts.items():
            chosen = []
            runs = {"sslzoo": ours, "converged": lambda *a, c=chosen: converged(*a, c[0])}
            if BEFORE.value:
                runs["before"] = lambda *a: theirs(*a, tol=1e-2, in_span=True)
            runs["scikit-learn"] = lambda *a: theirs(*a, tol=TOL.value, in_span=False)
            print(f"{spec} {stage}: {x.shape[0]} x {x.shape[1]}, {len({*y})} classes", flush=True)
            for name, run in runs.items():
                wall, cpu = time.time(), time.process_time()
                strength, accuracy = run(x, y, x_test, y_test)
                wall, cpu = time.time() - wall, time.process_time() - cpu
                chosen.append(strength)
                found = f"accuracy {accuracy:.2%}, C {strength:.2g}"
                print(f"  {name:<12} {wall:7.1f} s, {cpu:7.1f} s of CPU; {found}", flush=True)


if __name__ == "__main__":
    app.run(main)
