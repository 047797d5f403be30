"""Words: numbers of things as people say them, and names that can be told apart."""

from collections import Counter
from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """The number with its noun: "1 class", "3 classes"."""
    return f"{number} {noun if number == 1 else _plural(noun)}"


def were(number: int, noun: str) -> str:
    """The number with its noun and verb: "1 unit was", "3 units were"."""
    return f"{counted(number, noun)} {'was' if number == 1 else 'were'}"


def _plural(noun: str) -> str:
    if noun.endswith("is"):
        return f"{noun[:-2]}es"
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def told_apart(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, with the class's number where several classes share one or have none: "crane (134)", "class 3"."""
    counts, taken = Counter(labels), set(labels)
    told = []
    for number, label in enumerate(labels):
        name = (
            label
            if label.strip() and counts[label] == 1
            else f"{label} ({number})"
            if label.strip()
            else f"class {number}"
        )
        while name != label and name in taken:
            name += "'"
        taken.add(name)
        told.append(name)
    return tuple(told)
