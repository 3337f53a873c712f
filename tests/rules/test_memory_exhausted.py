"""A process whose address space is used up while it records: an error, and all goes on once there is memory again."""

import os

import pytest

from tests.support.processes import run

pytestmark = pytest.mark.skipif(
    "libtsan" in os.environ.get("LD_PRELOAD", ""),
    reason="ThreadSanitizer takes more addresses than a limit could leave",
)

LIMITED = """
import resource, sys
import numpy as np
import owl

def limit(megabytes):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))

owl.set_num_threads(1)
x = owl.ones([16]) + 1
assert x.to_numpy().sum() == 32  # threads and kernels are there
"""
# A thread that allocates for the first time takes 64 MiB of addresses: those of NumPy may do so at any time.
ALONE = {"OPENBLAS_NUM_THREADS": "1"}

RECORD_FOREVER = """
limit({megabytes})
kept = []
try:
    while True:
        kept.append({operation})
except MemoryError:
    many = kept[1000] is not None  # not by a new number: there may be no memory for one
kept.clear()
{after}
owl.wait_for_all()
y = (owl.ones([1000]) * 3).sum()
assert float(y) == 3000, y
print(many, x.to_numpy().sum())
"""


@pytest.mark.parametrize("megabytes", [40, pytest.param(150, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "operation",
    ["x + len(kept)", "owl.zeros([1])", "owl.concat([x] * 5, 0)", "owl.randn([2]).sum()", "owl.from_numpy(np.ones(8))"],
)
def test_recording_until_memory_is_exhausted_raises(operation, megabytes):
    out = run(LIMITED + RECORD_FOREVER.format(megabytes=megabytes, operation=operation, after=""), timeout=120, **ALONE)
    assert (out.returncode, out.stdout.strip()) == (0, "True 32.0"), out.stderr[-2000:]


@pytest.mark.long
def test_computing_until_memory_is_exhausted_raises():
    program = LIMITED + RECORD_FOREVER.format(
        megabytes=300, operation="(owl.ones([1 << 12]) * len(kept)).eval() if len(kept) % 7 else x + 1", after=""
    )
    out = run(program, timeout=120, **ALONE)
    assert (out.returncode, out.stdout.strip()) == (0, "True 32.0"), out.stderr[-2000:]


def test_concatenating_more_arrays_than_there_is_memory_to_list_raises():
    program = (
        LIMITED
        + """
few = [x] * 5_000_000
limit(48)
try:
    owl.concat(few, 0)
    print("there was memory")
except MemoryError:
    print("raised")
print(float(x.sum()))
"""
    )
    out = run(program, timeout=120, **ALONE)
    assert (out.returncode, out.stdout.split()) == (0, ["raised", "32.0"]), out.stderr[-2000:]
