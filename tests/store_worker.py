"""A process to be killed: for each number on its input it forks a child that computes and keeps a run.

A number other than 0 makes the child kill itself at the SQL statement of that number, which is mostly
inside a transaction.
Forking makes twenty kills cheap, since the imports are paid once; the child is a process of its own all the same.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from synthetic import climb

from vislib.jobs import Job, Runner
from vislib.store import RunStore


def compute(path: Path, spec: dict, steps: int, last_statement: int) -> str:
    """Go on with the stored run, or begin it; returns the state in which it ended."""
    store, runner = RunStore(path, frame_seconds=0.01, checkpoint_seconds=0.02), Runner()
    statements = itertools.count(1)
    store.database._writer.set_trace_callback(
        lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(statements) == last_statement else None
    )
    stored = store.find(spec)
    job = Job(
        "climb",
        lambda checkpoint: climb(checkpoint, steps=steps, seconds=0.001),
        history=stored.history if stored else None,
        steps=steps,
        checkpoint=stored.checkpoint if stored else None,
    )
    store.record(job, spec)
    runner.submit(job).wait()
    runner.shutdown()
    problem = store.problem
    store.close()
    return problem or job.state


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main(path: Path, steps: int) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            state = compute(path, {"method": "synthetic"}, steps, int(line))
            os._exit(0 if state == "done" else 3)
        say(child)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
