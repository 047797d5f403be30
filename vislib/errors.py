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
