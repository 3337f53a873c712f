"""Functions that tests hand to worker processes: these must be importable there."""

import os
import signal
import sys
import time
from pathlib import Path


def double(x):
    return 2 * x


def draw(x, rng):
    return x, int(rng.integers(1 << 30))


def fail_at_seven(x):
    if x == 7:
        raise ValueError("seven is right out")
    return x


def kill_at_five(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def exit_at_five(x):
    if x == 5:
        os._exit(3)
    return x


def leave_at_five(x):
    if x == 5:
        sys.exit(4)
    return x


def die_once(path_and_x):
    path, x = path_and_x
    if x == 3 and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def hang_at_two(x):
    if x == 2:
        time.sleep(60)
    return x


def unpicklable_result(x):
    return (lambda: x) if x == 4 else x


def process_id(_):
    time.sleep(0.02)
    return os.getpid()
