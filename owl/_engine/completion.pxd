from libcpp cimport bool

from owl._engine.graph cimport Node


cdef extern from "_engine/run/completion.h" namespace "owl" nogil:
    cppclass Completion:
        void* owner
        Completion* next

    cppclass CompletionRing:
        CompletionRing()
        int descriptor()
        Completion* begin(void* owner, Node** nodes, size_t count)

        @staticmethod
        void abandon(Completion* completion)
        void watch_progress()
        Completion* take(bool* progressed)
        void forget_descriptor()
