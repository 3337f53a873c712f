"""The scheduler of owl and the arrays it schedules.

Recording appends nodes to the window of the thread or task that records. A request, or a window that is due, submits
nodes: they become a plan, looked up by its structure or compiled once, and an executor runs it without the GIL. This
module says when and for whom; how is `owl._engine`'s (graph, windows, plans, runs) and `owl._cpu`'s (executor, lowering,
kernels). Public names are re-exported by `owl`, `owl.elewise`, `owl.conv` and `owl.testing`.

Locks. The graph's lock guards nodes, windows and the plan cache. It is never held while Python may run: creating or
dropping an array can start the garbage collector, which drops other arrays, which takes that lock.
"""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE
from cpython.buffer cimport PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New, PyCapsule_SetName
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.weakref cimport PyWeakref_NewRef
from cython.operator cimport dereference
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.utility cimport move
from libcpp.vector cimport vector

from owl._cpu.cpu cimport (
    CpuBackend, KernelTable, copy_on_host, forget_host_copies, make_cpu_executor, select_kernels, shared_copies, team,
)
from owl._cuda.cuda cimport (
    BlasLibrary, ContextGuard, CudaBackend, CudaDevice, Event, Function, Specialization, Specializer, SpecializerCounts, Stream,
    duplicate, kBlasBorder, lend_memory, load_blas, load_driver, make_cuda_executor, open_blas, return_memory,
)
from owl._null.null cimport make_remote_executor
from owl._engine.graph cimport (
    ConcatAttributes, ConvAttributes, CumsumAttributes, Distribution, DType, Elementwise, Failure, FailureKind, LockCounters, LrnAttributes,
    MatmulAttributes, Node, Op, PoolAttributes, PoolOp, RandomAttributes, ReduceAttributes, Reduction, Shape, SliceAttributes,
    SoftmaxAttributes, State, TakeAttributes, TransposeAttributes, elementwise_info, elementwise_op, forget_failures_after_fork, graph,
    has_unobserved_failures, held_unobserved_failures, kDebug, kMaxDims, kOperations, lock_failures_for_fork,
    operation_name, take_unobserved_failures, unlock_failures_after_fork,
)
from owl._engine.memory cimport (
    Buffer, DlpackDevice, DlpackManaged, DlpackTensor, DlpackVersioned, Memory, MemoryInfo, borrow, borrow_of,
    bytes_in_use, has_deferred_releases, host_memory, is_contiguous, is_reserve_spent, kCopied, kCuda, kFloat, kMajor,
    kReadOnly, lend, lend_versioned, live_buffers, lock_memory_for_fork, refill_reserve, take_deferred_releases,
    unlock_memory_after_fork,
)
from owl._engine.plan cimport (
    Backend, Canonical, Plan, PlanNode, Split, Step, StepForm, compile_plan, empty_plan_bin, find_splits, shown_dimensions,
    shown_name, steps_together,
)
from owl._engine.record cimport (
    Draft, RandomNumbers, RecordingStream, Window, attributes_of, record, record_leaf, stream_of, window_bounds,
)
from owl._engine.run cimport (
    Completion, CompletionRing, Executor, Submission, ThreadWaiter, any_begun_before, any_run_within, arm_fault,
    compilations_held, disarm_faults, fail_runs_after_fork, hold_compilations, let_compilations_go, live_runs, progress,
    runs_submitted, set_kernel_delay,
)
from owl._engine.window cimport SchedulerCounters, scheduler

import collections
import contextvars
import copy
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
include "_scheduler/specializing.pxi"
include "_scheduler/gpu_products.pxi"
include "_scheduler/gpu_devices.pxi"
include "_scheduler/streams.pxi"
include "_scheduler/random_streams.pxi"
include "_scheduler/recording.pxi"
include "_scheduler/pressure.pxi"
include "_scheduler/requests.pxi"
include "_scheduler/waiting.pxi"
include "_api/arguments.pxi"
include "_api/narray.pxi"
include "_api/precision.pxi"
include "_api/elementwise.pxi"
include "_api/structure.pxi"
include "_api/lines.pxi"
include "_api/convolution.pxi"
include "_api/creation.pxi"
include "_api/composed.pxi"
include "_api/transfer.pxi"
include "_api/interop.pxi"
include "_api/gpu_interop.pxi"
include "_api/stacking.pxi"
include "_gradients/nests.pxi"
include "_gradients/tape.pxi"
include "_gradients/derivatives.pxi"
include "_gradients/calls.pxi"
include "_scheduler/promise.pxi"
include "_scheduler/process.pxi"
include "_scheduler/awaiting.pxi"
include "_scheduler/evaluation.pxi"
include "_scheduler/inspection.pxi"
include "_scheduler/explain.pxi"
include "_scheduler/guards.pxi"
