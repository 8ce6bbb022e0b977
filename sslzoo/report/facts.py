"""What a card says of an encoder, in words for a page. A card may be anyone's: nothing is sure."""

from typing import Any


def of(card: dict[str, Any], run_flags: dict[str, str] | None = None) -> dict[str, str]:
    """By name, without what is not known; `run_flags` say what a card does not (yet)."""
    said = run_flags or flags(card)
    data, started = card.get("dataset") or {}, card.get("started_from")
    libraries = [name for name in ("sslzoo", "keras", "tensorflow") if f"{name}_version" in card]
    classes = card.get("classes")
    shape, weights = card.get("output_shape"), _number(card.get("parameters"))
    known = {
        "recipe": card.get("recipe"),
        "images": _joined(data.get("name") or said.get("dataset"), _number(data.get("images"))),
        "encoder": _joined(said.get("encoder"), weights and f"{weights} weights"),
        "started from": started.get("encoder") if isinstance(started, dict) else None,
        "input": card.get("input"),
        "image size": card.get("image_size"),
        "embedding": f"{shape[-1]} numbers" if isinstance(shape, list) and shape else None,
        "classes": _number(len(classes)) if isinstance(classes, list) else None,
        "labels seen": _number(card.get("labels")),
        "minutes": card.get("minutes"),
        "CPU minutes of training": card.get("cpu_minutes"),
        "seed": card.get("seed", said.get("seed")),
        "made": str(card.get("created", "")).replace("T", " ")[:16],
        "versions": _joined(*(f"{name} {card[f'{name}_version']}" for name in libraries)),
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def words(card: dict[str, Any]) -> dict[str, Any]:
    """What it is for, its `limits` as a list, its licence, its command: those that it says."""
    names = ("intended_use", "licence", "command")
    said = {name: card[name] for name in names if isinstance(card.get(name), str)}
    limits = card.get("limits")
    listed = [one for one in limits if isinstance(one, str)] if isinstance(limits, list) else []
    return {**said, "limits": listed}


def flags(card: dict[str, Any]) -> dict[str, str]:
    """The flags of the run, as text."""
    written = card.get("flags")
    return {str(k): str(v) for k, v in written.items()} if isinstance(written, dict) else {}


def _joined(*words: str | None) -> str:
    return ", ".join(str(word) for word in words if word)


def _number(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None
