from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from owl._engine.execution cimport Plan
from owl._engine.graph cimport Border, Node


cdef extern from "_engine/run/trace.h" namespace "owl" nogil:
    enum class Release(uint8_t):
        settled
        next_cut
        idle
        demand
        wait_for_all
        pause

    cppclass Recorded "owl::HandedOver::Recorded":
        uint64_t sequence
        uint32_t site

    cppclass HandedOver:
        uint64_t window
        Border border
        Release release
        bool known
        uint32_t asked_at
        shared_ptr[Plan] plan
        vector[Recorded] nodes

    cppclass Trace:
        Border border
        Release release
        uint32_t asked_at
        void add(uint64_t window, bool known, const shared_ptr[Plan]& plan, const vector[Node*]& nodes)
        void list(vector[HandedOver]* out)
