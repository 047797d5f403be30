"""What happens once a server process: services are made when it has started and closed when it ends."""

import sys

_ARGUMENTS = tuple(sys.argv[1:])


def on_server_loaded(server_context: object) -> None:
    """Load the default network before the first visitor comes."""
    from dashboard.page import warm_up

    warm_up(_ARGUMENTS)


def on_server_unloaded(server_context: object) -> None:
    """Stop what climbs, so that it can be resumed, and close the store."""
    from dashboard.services import close_services

    close_services()
