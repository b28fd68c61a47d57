"""Calls that do not depend on one another, made side by side in processes of their own.

Each process is a new interpreter that imports what the call needs and nothing of the program that asks, so a
notebook and a script without a main guard can ask as well as a module.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

_CHILD = """
import pickle, sys
answer, sys.stdout = sys.stdout.buffer, sys.stderr
call, arguments = pickle.load(sys.stdin.buffer)
pickle.dump(call(*arguments), answer)
"""


def side_by_side[Answer](
    call: Callable[..., Answer], jobs: Sequence[tuple[Any, ...]], apart: bool = True
) -> list[Answer]:
    """``call(*job)`` of every job, in order: the first job here, every other one in a process of its own.

    ``call`` is a function of a module; jobs and answers can be pickled. Without ``apart``, or on one core,
    all are made here, one after the other. Raises RuntimeError if a process fails; none outlives the call.
    """
    if not apart or (os.cpu_count() or 1) < 2:
        return [call(*job) for job in jobs]
    others = [_start(call, job) for job in jobs[1:]]
    try:
        return [call(*jobs[0]), *map(_answer, others)]
    finally:
        for process in others:
            process.kill()  # has no effect on one that has ended
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _start(call: Callable[..., Any], job: tuple[Any, ...]) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((call, job)))
    process.stdin.close()
    process.stdin = None  # nothing more to say
    return process


def _answer(process: "subprocess.Popen[bytes]") -> Any:
    assert process.stdout is not None
    with process.stdout as stream:
        answer = stream.read()
    process.wait()
    if process.returncode:
        raise RuntimeError(f"a process failed with exit status {process.returncode}; its messages say why")
    return pickle.loads(answer)
