"""The pages of runs and of a zoo: what stands in them, and that a browser shows them."""

import base64
import csv
import html
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import tiny_encoder
from PIL import Image

from sslzoo import export, pictures, probes
from sslzoo.commands import report
from sslzoo.errors import UserError
from sslzoo.report import embedding, facts, reading

pytest.importorskip("bokeh")
from bokeh.models import ColumnDataSource, Whisker

from sslzoo.report import plots, rendering

ROOT = pathlib.Path(__file__).parents[1]
HOSTILE = "<img src=x onerror=alert(1)>"
EVIL = "</script><script>alert(1)</script>"
CLASSES = ["blue", "green", HOSTILE]
SCORES = [
    {"stage": "stage1", "accuracy": 0.5, "std": 0.012, "random_accuracy": 0.625, "random_std": 0.0},
    {"stage": "stage2", "accuracy": 0.75, "std": 0.034, "random_accuracy": 0.4, "knn": 0.3},
]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images of three colours as classes, and two finished runs on them."""
    root = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for i, name in enumerate(CLASSES):
            (root / "images" / split / name).mkdir(parents=True)
            for j in range(6):
                image = random.integers(0, 90, (16, 16, 3), np.uint8)
                image[..., i] += 150
                pictures.save_png(root / "images" / split / name / f"{j}.png", image)
    for name, seed in ((HOSTILE, "0"), ("other", "1")):
        run = root / name
        run.mkdir()
        flags = {"dataset": str(root / "images"), "resize": "16", "seed": seed, "evil": EVIL}
        (run / "flags.txt").write_text("".join(f"--{k}={v}\n" for k, v in flags.items()))
        write_log(run / "log.csv", [{"epoch": n, "loss": 1 / n, "knn": 0.5} for n in (1, 2, 3)])
        pictures.save_png(run / "puzzles.png", np.full((20, 30, 3), 90, np.uint8))
        odd = {"stage": EVIL, "accuracy": 0.1, "std": EVIL, "random_accuracy": None, "dims": EVIL}
        card = {"recipe": "toy", "minutes": EVIL, "seed": 7, "scores": [*SCORES, odd]}
        card |= {"flags": flags, "intended_use": f"For {EVIL}", "limits": ["Of few", HOSTILE, 3]}
        card |= {"licence": f"Whose? {EVIL}", "command": f"run '--evil={EVIL}'  --seed=7"}
        card |= {"cpu_minutes": 12.5}
        export.save(tiny_encoder(), run / "exported/toy", card=card, image_size=16)
    return root


def write_log(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def pages(folder):
    """{name: HTML file} of both kinds of pages."""
    runs = [str(folder / HOSTILE), str(folder / "other")]
    report.main(*runs, output=str(folder / "runs.html"))
    report.main(root=str(folder / "other/exported"))
    return {"runs": folder / "runs.html", "zoo": folder / "other/exported/index.html"}


def copied(folder, tmp_path, *without):
    """A copy of the run `other`, without some of its files."""
    run = pathlib.Path(shutil.copytree(folder / "other", tmp_path / "run", symlinks=True))
    for name in without:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run


def written(run):
    """The text of its page, without scripts."""
    report.main(str(run))
    return text_of(run / "report.html")


def text_of(file):
    words = re.sub(r"<(script|style)\b.*?</\1>", "", file.read_text(), flags=re.S)
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", words).split()))


# === What stands there ===


def test_the_comparison_has_each_run_s_best_beside_its_random_init(pages):
    (table,) = re.findall(r"<table>.*?</table>", pages["runs"].read_text(), re.S)[:1]
    rows = [re.sub(r"<[^>]*>", "|", row) for row in re.findall(r"<tr>.*?</tr>", table, re.S)[1:]]
    assert len(rows) == 2
    for row in rows:
        cells = [cell.strip() for cell in row.split("|") if cell.strip()]
        assert cells[1:5] == ["75.0 ± 3.4 %", "62.5 %", "+12.5", "stage2"]


def test_the_probe_table_has_all_stages(pages):
    words = text_of(pages["runs"])
    assert "stage1 – 50.0 ± 1.2 % 62.5 % −12.5 – –" in words
    assert "stage2 – 75.0 ± 3.4 % 40.0 % +35.0 30.0 % –" in words
    assert "There is no filters.png" in words
    assert "--seed 0 1" in words, "the flag in which they differ"
    assert "--resize 16 16" not in words
    assert "probed on different images" not in words
    assert "of the same class for" in words


def test_a_zoo_has_a_card_for_each_animal(pages):
    words = text_of(pages["zoo"])
    assert "toy 75.0 ± 3.4 % (stage2); random init 62.5 %" in words
    assert "zoo.load(" in words


@pytest.mark.parametrize("name", ["runs", "zoo"])
def test_what_it_is_for_and_what_limits_it_stands_on_both_pages(pages, name):
    words = text_of(pages[name])
    assert f"For {EVIL}" in words
    assert f"Limits and licence Of few {HOSTILE} Whose? {EVIL} Make it again" in words
    assert "CPU minutes of training 12.5" in words
    (command, *_) = re.findall(r'<pre class="command">(.*?)</pre>', pages[name].read_text(), re.S)
    copied = html.unescape(re.sub(r"<[^>]*>", "", command))
    assert copied == f"run '--evil={EVIL}'  --seed=7", "to the space"


@pytest.mark.parametrize("wrong", [None, 3, {}, {"a": 1}, [3], True])
def test_words_of_wrong_types_are_left_out(wrong):
    names = ("intended_use", "limits", "licence", "command")
    assert facts.words(dict.fromkeys(names, wrong)) == {"limits": []}
    assert facts.words({"limits": "one"}) == facts.words({}) == {"limits": []}


def test_a_card_without_words_is_shown_without_them(tmp_path):
    shutil.copytree(ROOT / "exported/rotation", tmp_path / "zoo/old", symlinks=True)
    file = tmp_path / "zoo/old/card.json"
    card = json.loads(file.read_text())
    new = ("intended_use", "limits", "licence", "command", "cpu_minutes")
    file.write_text(json.dumps({key: card[key] for key in card if key not in new}))
    report.main(root=str(tmp_path / "zoo"))
    words = text_of(tmp_path / "zoo/index.html")
    assert "62.4 % (stage3); random init 49.9 % recipe rotation" in words
    for heading in ("Limits", "Make it again", "CPU minutes", "Classifiers"):
        assert heading not in words


def test_a_classifier_stands_there_as_one(folder, tmp_path):
    row = {"stage": "stage2", "accuracy": 0.75, "random_accuracy": 0.5, "majority_accuracy": 0.25}
    card = {"recipe": "classify", "classes": CLASSES, "labels": 2000, "scores": [row]}
    export.save(tiny_encoder(), tmp_path / "zoo/teller", card=card, image_size=16)
    report.main(root=str(tmp_path / "zoo"))
    words = text_of(tmp_path / "zoo/index.html")
    assert "75.0 % (stage2); random init 50.0 %; commonest class 25.0 %" in words
    assert "classes 3 labels seen 2,000" in words
    assert "Classifiers have learned from labels" in words


@pytest.mark.parametrize("name", ["runs", "zoo"])
def test_what_others_wrote_is_text(pages, name):
    page = pages[name].read_text()
    assert EVIL not in page
    assert HOSTILE not in page
    assert html.escape(EVIL) in page


@pytest.mark.parametrize("name", ["runs", "zoo"])
def test_a_page_asks_nobody(pages, name):
    page = re.sub(r"<script.*?</script>", "", pages[name].read_text(), flags=re.S)
    assert "default-src 'none'" in page
    urls = re.findall(r'(?:src|href)="([^"]*)', page)
    assert all(url.startswith(("data:", "#")) for url in urls)


# === What is not there ===


def test_a_run_that_has_not_ended_says_what_is_missing(folder, tmp_path):
    words = written(copied(folder, tmp_path, "exported", "puzzles.png"))
    assert "This run is not finished: no card yet, 3 epochs in its log." in words
    assert "There is no puzzles.png" in words
    assert words.count("the encoder is not exported yet") == 2


def test_runs_on_different_images_are_not_compared_with_each_other(folder, tmp_path):
    run = copied(folder, tmp_path, "log.csv")
    (run / "flags.txt").write_text("--dataset=/gone\n--epochs=7\n")
    report.main(str(folder / "other"), str(run), output=str(tmp_path / "page.html"))
    words = text_of(tmp_path / "page.html")
    assert "probed on different images" in words
    assert "/run , 7 epochs" in words, "all, though the log is gone"


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--dataset=/gone", "'/gone', not there"),
        ("--resize=many", "--resize: expected a whole number. Received: 'many'"),
    ],
)
def test_images_that_cannot_be_had_cost_only_what_needs_them(flag, why, folder, tmp_path):
    run = copied(folder, tmp_path, "log.csv")
    (run / "flags.txt").write_text(f"{flag}\n")
    (run / "puzzles.png").write_bytes(b"no picture")
    words = written(run)
    assert words.count(why) == 2
    assert "75.0 ± 3.4 %" in words
    assert "There is no row in log.csv" in words
    assert "puzzles.png: expected a picture" in words


def test_images_without_labels_are_shown_without_verdicts(folder, tmp_path):
    run = copied(folder, tmp_path)
    x = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "bare.npz", x_train=x, x_test=x)
    (run / "flags.txt").write_text(f"--dataset={tmp_path / 'bare.npz'}\n")
    words = written(run)
    assert "No labels are known" in words
    assert "of the same class for" not in words
    assert 'class="right"' not in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "flags", "expected"),
    [
        ([], {}, "expected folders of runs.*Received: neither"),
        (["run"], {"root": "zoo"}, "expected folders of runs.*Received: run --root=zoo"),
        (["."], {}, r"expected the folder of a run.*Received: \."),
        ([], {"root": "."}, r"--root: expected a folder of exports. Received: \."),
        ([], {"root": "no/such"}, "--root: expected a folder of exports. Received: no/such"),
    ],
)
def test_what_is_no_run_and_no_zoo_is_refused(words, flags, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=expected):
        report.main(*words, **flags)
    assert not [*tmp_path.iterdir()]


def test_an_output_that_cannot_be_written_is_refused_first(folder, tmp_path):
    with pytest.raises(UserError, match=r"--output: expected the name of a file.*a folder"):
        report.main(str(folder / "other"), output=str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output: expected a folder that can be written"):
        report.main(str(folder / "other"), output=str(tmp_path / "file/page.html"))


def test_without_bokeh_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[report\]'"):
        report.main("runs/x")


# === Numbers ===


def test_neighbors_are_the_nearest_by_angle_and_not_oneself():
    vectors = np.array([[1, 0], [5, 1], [0, 1], [-1, 0]], np.float32)
    assert embedding.neighbors(vectors).tolist() == [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]
    nearest = embedding.neighbors(vectors)
    assert embedding.recall(np.array([0, 0, 1, 1]), nearest) == 0.75
    assert embedding.recall(None, nearest) is None


def test_of_equal_images_all_have_others_as_neighbors():
    """More of them than are asked for: no row is its own neighbour, nor is one missing."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), [20, 3], axis=0)
    nearest = embedding.neighbors(vectors)
    assert nearest.shape == (23, embedding.NEIGHBORS)
    for i, row in enumerate(nearest):
        assert i not in row
        assert len({*row}) == embedding.NEIGHBORS
    assert (nearest[:20] < 20).all()


def test_a_run_with_images_of_its_own_for_the_probe_is_shown_on_those(folder, tmp_path):
    run = copied(folder, tmp_path)
    flags = {"dataset": "scenes:9", "resize": 8}
    flags |= {"probe_dataset": folder / "images", "probe_resize": 20}
    (run / "flags.txt").write_text("".join(f"--{k}={v}\n" for k, v in flags.items()))
    seen = embedding.embed(*reading.runs([str(run)]), 15)
    assert seen.images.classes == sorted(CLASSES)
    cut = embedding._held_back(str(folder / "images"), "", 20, 16, 15)
    np.testing.assert_array_equal(seen.images.pixels, cut.pixels)


def test_the_map_puts_like_beside_like():
    random = np.random.default_rng(0)
    centers = random.normal(size=(2, 70)) * 20
    vectors = np.concatenate([c + random.normal(size=(15, 70)) for c in centers])
    places = embedding.places(vectors.astype(np.float32))
    assert places.shape == (30, 2)
    spread = max(np.ptp(half, axis=0).max() for half in (places[:15], places[15:]))
    gap = np.linalg.norm(places[:15].mean(0) - places[15:].mean(0))
    assert gap > spread
    np.testing.assert_array_equal(places, embedding.places(vectors.astype(np.float32)))


def test_recall_stands_beside_that_of_a_random_twin(folder, monkeypatch):
    seeds = []

    def twin(encoder, seed):
        seeds.append(seed)
        return lambda batch, training: np.random.default_rng(5).normal(size=(len(batch), 2, 2, 9))

    monkeypatch.setattr(probes, "random_twin", twin)
    (run,) = reading.runs([str(folder / "other")])
    seen = embedding.embed(run, 15)
    assert seeds == [7], "the card's"
    assert len(seen.places) == len(seen.images.pixels) == 15
    assert seen.recall == 1, "the classes are colours"
    assert seen.random_recall < 0.8


def test_of_several_exports_the_one_with_an_encoder_is_shown(folder, tmp_path):
    run = copied(folder, tmp_path)
    shutil.copytree(run / "exported/toy", run / "exported/painter", symlinks=True)
    (run / "exported/painter/encoder.keras").unlink()
    assert [one.entry.name for one in reading.runs([str(run)])] == ["toy"]
    report.main(root=str(run / "exported"), output=str(tmp_path / "zoo.html"))
    words = text_of(tmp_path / "zoo.html")
    assert (words.count(".embed_bytes("), words.count(".signatures")) == (1, 1)


def test_runs_of_one_name_are_told_apart_by_their_paths(folder, tmp_path):
    paths = [str(shutil.copytree(folder / "other", tmp_path / name / "seed0")) for name in "ab"]
    assert [run.name for run in reading.runs(paths)] == ["a/seed0", "b/seed0"]
    assert [run.name for run in reading.runs([paths[0], f"{paths[0]}/."])] == ["seed0"]


def test_error_bars_are_a_standard_deviation_up_and_down():
    plot = plots.stages({"a": SCORES}, ["red"])
    bars = {bar.source.data["run"][0]: bar.source.data for bar in plot.select(Whisker)}
    trained, random = bars["a"], bars["a, random init"]
    np.testing.assert_allclose([trained["low"], trained["high"]], [[48.8, 71.6], [51.2, 78.4]])
    assert random["low"] == random["score"] == random["high"] == [62.5, 40.0]


def test_the_map_has_every_image_once_under_its_class():
    images = embedding.Images(np.zeros((4, 4, 4, 3), np.uint8), np.array([1, 0, 1, 2]), [*"abc"])
    places = np.arange(8.0).reshape(4, 2)
    seen = embedding.Embedded(images, places, np.zeros((4, 1), int), None, None)
    source = ColumnDataSource({"url": [*"wxyz"]})
    plot = plots.embedding_map("m", seen, source)
    for name, rows in (("m-0", [1]), ("m-1", [0, 2]), ("m-2", [3])):
        for part in ("frame", "image"):
            (mark,) = plot.select(name=f"{name}-{part}")
            assert mark.view.filter.indices == rows
            assert (mark.glyph.x, mark.glyph.y) == ("m-x", "m-y")
    assert [source.data["m-x"], source.data["m-y"]] == places.T.tolist()


def test_queries_are_of_all_classes():
    labels = np.repeat([0, 1, 2], [20, 1, 9])
    images = embedding.Images(np.zeros((30, 4, 4, 3), np.uint8), labels, ["a", "b", "c"])
    chosen = embedding.queries(images)
    assert len({*chosen}) == embedding.QUERIES
    assert {*labels[chosen[:3]]} == {0, 1, 2}


def test_a_collapsed_encoder_has_no_map():
    images = embedding.Images(np.zeros((5, 4, 4, 3), np.uint8), None, [])
    with pytest.raises(UserError, match="collapsed"):
        embedding._vectors(lambda batch: np.ones((len(batch), 3), np.float32), images)


def test_numbers_as_text():
    assert [rendering.percent(*v) for v in [(0.5,), (0.5, 0.01), (None,), ("x",)]] == [
        "50.0 %",
        "50.0 ± 1.0 %",
        "–",
        "–",
    ]


def test_a_large_picture_becomes_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "LARGEST", 1000)
    for width, kind, wide in ((20, "png", 20), (2000, "webp", rendering.SIDE)):
        noise = np.random.default_rng(0).integers(0, 256, (8, width, 3), np.uint8)
        pictures.save_png(tmp_path / "noise.png", noise)
        head, contents = rendering.picture(tmp_path / "noise.png").split(",")
        assert head == f"data:image/{kind};base64"
        assert Image.open(io.BytesIO(base64.b64decode(contents))).width == wide
    assert rendering.picture(tmp_path / "none.png") is None


# === In a browser ===

WATCH = """<script>
window.found = {errors: []};
addEventListener("error", e => found.errors.push(`${e.message || e.target.outerHTML}`), true);
addEventListener("securitypolicyviolation", e => found.errors.push(e.blockedURI));
console.error = (...words) => found.errors.push(words.join(" "));
window.alert = () => found.errors.push("alert");
</script>"""
LOOK = """<script>
const all = (node, name) => [...node.querySelectorAll("*")].flatMap(
  n => [...(n.matches(name) ? [n] : []), ...(n.shadowRoot ? all(n.shadowRoot, name) : [])]);
const wait = setInterval(() => {
  const docs = Bokeh.documents;
  if (!docs.length || !docs.every(doc => doc.is_idle)) return;
  clearInterval(wait);
  const plots = [...document.querySelectorAll("[data-root-id]")];
  found.plots = plots.length;
  found.drawn = plots.filter(p => all(p, "canvas").some(c => c.width > 50)).length;
  found.images = document.images.length;
  found.broken = [...document.images].filter(i => !i.naturalWidth || !i.alt).length;
  found.wide = document.documentElement.scrollWidth - innerWidth;
  const button = document.querySelector("button[data-marks]");
  if (button) {
    const mark = docs[0].get_model_by_name(button.dataset.marks + "-image");
    button.click();
    found.hidden = !mark.visible;
    hover(plots.find(p => p.nextElementSibling?.textContent.includes("t-SNE")));
  }
  setTimeout(() => {  // the picture of a tooltip loads
    if (button) found.hovered = all(document, PICTURE).some(i => i.naturalWidth);
    document.title = "looked " + JSON.stringify(found);
  }, 500);
}, 100);
const PICTURE = "img[width='112']";
function hover(map) {  // until there is something
  map.scrollIntoView();
  const events = all(map, ".bk-events")[0], at = events.getBoundingClientRect();
  for (let x = 5; x < at.width; x += 20) for (let y = 5; y < at.height; y += 20) {
    const place = {clientX: at.x + x, clientY: at.y + y, bubbles: true, composed: true};
    events.dispatchEvent(new PointerEvent("pointermove", {...place, isPrimary: true}));
    if (all(document, PICTURE).length) return;
  }
}
</script>"""


@pytest.mark.skipif(not CHROMIUM, reason="wants Chromium, which is not on this machine")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("name", "images"), [("runs", 2 + 2 * 8 * 9), ("zoo", 0)])
def test_a_browser_shows_it(pages, name, images, width, tmp_path):
    page = pages[name].read_text()
    copy = tmp_path / "page.html"
    copy.write_text(page.replace("<title>", WATCH + "<title>", 1).replace("</body>", LOOK, 1))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    options += ["--virtual-time-budget=20000", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *options, "--dump-dom", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>looked (.*?)</title>", done.stdout, re.S)
    assert title, done.stderr
    found = json.loads(html.unescape(title[1]))
    assert found["errors"] == []
    assert found["plots"] == found["drawn"] > 0
    assert (found["images"], found["broken"]) == (images, 0)
    assert found["wide"] <= 0
    if name == "runs":
        assert found["hidden"], "a class by its button"
        assert found["hovered"], "an image shows under the pointer"
