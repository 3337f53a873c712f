from libc.stdint cimport int32_t, uint16_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from owl._engine.graph cimport Node


cdef extern from "_engine/plan/plan.h" namespace "owl" nogil:
    cppclass Plan:
        uint16_t device
        string explain()


cdef extern from "_engine/plan/backend.h" namespace "owl" nogil:
    cppclass Backend:
        pass

    void compile_plan(Plan* plan, const Backend& backend, bool fuse)


cdef extern from "_engine/plan/plan_cache.h" namespace "owl" nogil:
    cppclass Canonical:
        bool describe(const vector[Node*]& nodes, uint64_t mark, bool may_leave, StoredPlaces& stored)
        shared_ptr[Plan] make_plan(const vector[Node*]& nodes)

    cppclass StoredPlaces:
        size_t size()

    cppclass PlanCache:
        shared_ptr[Plan] find(const Canonical& window)
        void clear()
        size_t size()
