"""The scheduler of owl and the arrays it schedules.

Recording appends nodes to the window of the thread or task that records. A demand, or a full window, hands nodes over:
they become a plan, looked up by its structure or compiled once, and an executor runs it without the GIL. This module
holds what ties those parts together; the parts themselves are `owl._engine` (graph, planner, memory, team of threads)
and `owl._cpu` (executor, lowering, kernels). Public names are re-exported by `owl`, `owl.elewise`, `owl.conv` and `owl.testing`.

Locks. The graph's lock guards nodes, windows and the plan cache. It is never held while Python may run: creating or
dropping an array can start the garbage collector, which drops other arrays, which takes that lock.
"""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.weakref cimport PyWeakref_NewRef
from cython.operator cimport dereference
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.utility cimport move
from libcpp.vector cimport vector

from owl._engine.completion cimport Completion, CompletionRing
from owl._engine.execution cimport (
    Canonical, Executor, Plan, PlanCache, PlannerCounters, Run, StoredPlaces, ThreadWaiter, WindowHistory,
    any_begun_before, any_run_within, arm_fault, await_dependencies, chunk_end, compile_plan, disarm_faults,
    fail_runs_after_fork, live_runs, make_cpu_executor, progress, runs_handed_over, set_kernel_delay, team,
)
from owl._engine.graph cimport (
    Border, Buffer, ClosedWindow, Draft, Expectations, Failure, FailureKind, MemoryInfo, Node, Op,
    RandomNumbers, RecordingStream, State, Window, borrow, elementwise_info, elementwise_op, forget_failures_after_fork, graph,
    has_deferred_releases, has_unobserved_failures, is_reserve_spent, refill_reserve, held_unobserved_failures, host_memory, kOperations,
    live_buffers, lock_failures_for_fork, lock_memory_for_fork, operation_name, purge, record, record_leaf,
    sort_by_sequence, take_deferred_releases, take_unobserved_failures, unlock_failures_after_fork,
    unlock_memory_after_fork, window_bounds,
)
from owl._engine.trace cimport HandedOver, Release, Trace
from owl._engine.types cimport (
    Distribution, DType, Ew, KernelTable, Reduction, Shape, kMaxDims, select_kernels,
)

import collections
import contextvars
import operator
import os
import sys
import threading
import warnings
import weakref

import numpy as np

cnp.import_array()

include "_scheduler/errors.pxi"
include "_scheduler/settings.pxi"
include "_scheduler/sites.pxi"
include "_scheduler/devices.pxi"
include "_scheduler/streams.pxi"
include "_scheduler/random_streams.pxi"
include "_scheduler/windows.pxi"
include "_scheduler/demand.pxi"
include "_api/arguments.pxi"
include "_api/narray.pxi"
include "_api/elementwise.pxi"
include "_api/structure.pxi"
include "_api/convolution.pxi"
include "_api/creation.pxi"
include "_api/transfer.pxi"
include "_api/stacking.pxi"
include "_scheduler/lifecycle.pxi"
include "_scheduler/awaiting.pxi"
include "_scheduler/evaluation.pxi"
include "_scheduler/inspection.pxi"
include "_scheduler/explain.pxi"
include "_scheduler/guards.pxi"
