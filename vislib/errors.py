"""The errors that a person reads: one sentence that says what was given, what is allowed and what to do."""


class VislibError(Exception):
    """Base of every error whose text is one clear sentence for the user; `str(error)` is that sentence."""


class NetworkError(VislibError):
    """A network, layer or unit that does not exist or does not run."""


class CardError(VislibError):
    """A network card, or the weights that it names, that cannot be used."""


class AscentError(VislibError):
    """A gradient ascent that cannot start or go on."""


class AttributionError(VislibError):
    """A question of where a network looked that cannot be answered as it was asked."""


class StoreError(VislibError):
    """A run store that cannot be opened, read or written."""


class ImageError(VislibError):
    """A picture or volume that cannot be read or written."""


# What torch's allocator on a CPU and the libraries beneath it say in a bare RuntimeError.
_RAN_OUT = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException | None) -> bool:
    """Whether there was too little memory; torch, which is not imported for that, has an error of its own."""
    text = str(error)
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(part in text for part in _RAN_OUT))
