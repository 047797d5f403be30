"""The images of a network's own kind that its `domain` makes, checked: it is a person's own function."""

from jaxtyping import Num
from torch import Tensor

from vislib.errors import NetworkError
from vislib.network import Network


def domain_images(network: Network) -> Num[Tensor, "n c *spatial"]:
    """The images that `network.domain` makes; it must have one.

    Raises NetworkError where the function fails or gives what the network cannot see.
    """
    assert network.domain is not None
    try:
        images = network.domain()
    except Exception as error:  # whatever a person's own function raises
        raise NetworkError(
            f"The images of {network.name}'s domain could not be made ({type(error).__name__}: {error}); mend that "
            "function or leave it out."
        ) from error
    shape = tuple(images.shape) if isinstance(images, Tensor) else ()
    if len(shape) != len(network.input_shape) + 1 or shape[1] != network.input_shape[0]:
        given = f"a tensor of shape {shape}" if shape else "no tensor"
        raise NetworkError(
            f"The domain of {network.name} gave {given}; it must give images of shape (n, "
            f"{str(network.input_shape)[1:]}."
        )
    return images.detach()
