"""What a card says in words, and the command that makes its model again.

The habit is that of model cards (Mitchell et al. 2019, arXiv:1810.03993): what a model is for, and
what is not known of it. Every sentence follows from what the card holds in numbers. Of licences
only ours is known.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

NAMED = 20  # classes in a sentence, at most
BUILT_IN = {  # what else there is than images
    "photos": "squares of a few photographs",
    "scenes": "rendered scenes",
    "single": "views of few images",
}

Card = dict[str, Any]


def command(program: Sequence[str], flags: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """One line for a shell: the program, and the flags that differ from their defaults.

    Where it is done does not matter: `--workdir` is left out.
    """
    differ = {name: value for name, value in flags.items() if value != defaults.get(name)}
    differ.pop("workdir", None)
    return shlex.join([*program, *(f"--{name}={value}" for name, value in differ.items())])


# === What is exported ===


def of_encoder(card: Card, image_size: int) -> Card:
    """The card of an encoder with its words.

    Args:
        card: what `Run.card` gives.
        image_size: side in pixels that it is meant for.
    """
    use = (
        "A starting point for linear probes, fine-tuning and retrieval, on images like those of "
        f"{card['dataset']['name']}, which it was trained on, at about {image_size} x "
        f"{image_size} pixels. It gives features of an image, not classes."
    )
    return {
        **card,
        "intended_use": use,
        "limits": [
            f"{_trained(card)} Nothing is claimed for other images, or for other sizes.",
            _scored(card),
            "Its features inherit the biases of the images: what they show often, seldom or "
            "never. None was measured.",
            *_started(card),
        ],
        "licence": _licence(card),
    }


def of_painter(card: Card) -> Card:
    """The card of a model of images to images with its words."""
    return {
        **card,
        "intended_use": "A look at what was learned: it turns images into images, of the kind that "
        "it was trained on.",
        "limits": [
            "What it adds to an image is made up: no evidence of what was there.",
            f"{_trained(card)} Nothing is claimed for other images.",
            "What it paints inherits the biases of the images. None was measured.",
            *_started(card),
        ],
        "licence": _licence(card),
    }


def of_classifier(card: Card, image_size: int) -> Card:
    """The card of a classifier with its words.

    Args:
        card: with `classes`, `labels`, `dataset`, one row of `scores`, and the `encoder`'s card.
        image_size: side in pixels that it is meant for.
    """
    classes, dataset, (row,) = card["classes"], card["dataset"], card["scores"]
    asked = [card["flags"].get(name) for name in ("finetune", "head")]
    beside = "from a random-init encoder"
    if asked == ["True", "linear"]:
        beside = "by the same network trained from scratch"
    more = f" and {len(classes) - NAMED:,} more" if len(classes) > NAMED else ""
    use = (
        f"Tells {len(classes):,} classes apart, on images like those of {dataset['name']} at about "
        f"{image_size} x {image_size} pixels: "
        f"{', '.join(map(str, classes[:NAMED]))}{more}."
    )
    return {
        **card,
        "intended_use": use,
        "limits": [
            "It knows no other classes: whatever an image shows gets one of them. Its scores were "
            "not calibrated.",
            f"{_percent(row['accuracy'])} of {_count(dataset['test_images'], 'test image')} were "
            f"right, beside {_percent(row['random_accuracy'])} {beside} and "
            f"{_percent(row['majority_accuracy'])} by always answering the commonest class. That "
            "is one data set, one run with one seed, on one machine.",
            f"It has seen {card['labels']:,} of {_count(dataset['images'], 'labelled image')} of "
            f"{dataset['name']}. Nothing is claimed for other images, or for other sizes.",
            _origin(card.get("encoder") or {}),
            "Its answers inherit the biases of all these images. None was measured.",
        ],
        "licence": _licence(card),
    }


# === Sentences ===


def _trained(card: Card) -> str:
    sets = filter(None, (_images(card.get(key)) for key in ("dataset", "second_dataset")))
    return f"Trained on {' and '.join(sets)}, without class labels."


def _scored(card: Card) -> str:
    if not (probe := card.get("probe")):
        return "Not probed: what it is worth is not known."
    draws = f"in each of {probe['draws']} draws" if probe["draws"] > 1 else "in one draw"
    return (
        f"Its scores are those of linear probes with {_count(probe['labels'], 'label')} of "
        f"{probe['dataset']} {draws}, on {_count(probe['test_images'], 'test image')}. That is one "
        "data set, one run with one seed, on one machine; which stage is best was seen on the same "
        "test images."
    )


def _started(card: Card) -> list[str]:
    start = card.get("started_from") or {}
    images = _images(start.get("dataset"))
    of = f", trained on {images}" if images else ""
    return [f"It started from {start['encoder']}{of}, and inherits from that too."] if start else []


def _origin(encoder: Card) -> str:
    if not (images := _images(encoder.get("dataset"))):
        return "What its encoder was trained on is not known."
    return f"Its encoder comes from the recipe {encoder.get('recipe') or '?'}, trained on {images}."


def _licence(card: Card) -> str:
    """Ours, and whose terms else there may be; what these are no card can know."""
    start = card.get("started_from") or {}
    sets = [card.get("dataset"), card.get("second_dataset"), start.get("dataset")]
    if "encoder" in card:
        sets.append((card["encoder"] or {}).get("dataset"))
    names = dict.fromkeys(one["name"] for one in sets if isinstance(one, dict) and one.get("name"))
    foreign = [name for name in names if name.partition(":")[0] != "scenes"]
    said = ["Code and weights: Apache-2.0, as the LICENSE of sslzoo."]
    if foreign:
        said.append(
            f"The images of {' and of '.join(foreign)} have terms of their own, which are not "
            "recorded here: check what they ask of weights that were trained on them."
        )
    else:
        said.append("The images were rendered by sslzoo itself.")
    if start:
        said.append(f"The weights that it started from, {start['encoder']}, may have theirs too.")
    return " ".join(said)


def _images(dataset: Any) -> str:
    """How many of what; nothing where it is not known. The card may be another's."""
    if not isinstance(dataset, dict) or not dataset.get("name"):
        return ""
    name, number = dataset["name"], dataset.get("images")
    if not isinstance(number, int):
        return f"images of {name}"
    if built_in := BUILT_IN.get(name.partition(":")[0]):
        return f"{number:,} {built_in} ({name})"
    return f"{_count(number, 'image')} of {name}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
