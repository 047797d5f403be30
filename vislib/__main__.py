"""The door of `python -m vislib COMMAND`; commands live in packages that know more than vislib does."""

import importlib
import sys
from collections.abc import Sequence

# Named, not imported: vislib knows none of the networks that ship. Each module has main(arguments) -> exit status.
COMMANDS = {"evaluate": ("models.evaluate", "measure explanation methods on slices with known lesions")}


def main(arguments: Sequence[str]) -> int:
    """Run a command; 2 and a sentence on standard error where that cannot be."""
    name, *rest = arguments or ("",)
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"There is no command {name!r}.\n{usage()}" if name else usage())
        return 2
    module, _ = COMMANDS[name]
    package = module.partition(".")[0]
    try:
        command = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        sys.stderr.write(
            f"{name!r} needs the package {package!r}, which is not installed; install vislib with "
            "`pip install -e .` or start from the folder that holds it.\n"
        )
        return 2
    try:
        status: int = command.main(rest)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; nothing was written.\n")
        return 130
    return status


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:<12}{words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join(["python -m vislib COMMAND [--help]", "", *lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
