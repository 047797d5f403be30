"""Words: numbers of things as people say them."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """The number with its noun: "1 class", "3 classes"."""
    return f"{number} {noun if number == 1 else plural or _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
