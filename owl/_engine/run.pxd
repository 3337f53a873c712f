from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from owl._engine.graph cimport Failure, FailureKind, Node, Op, Waiter
from owl._engine.memory cimport Buffer, Memory
from owl._engine.plan cimport Backend, Plan
from owl._engine.record cimport CutReason


cdef extern from "_engine/run/run.h" namespace "owl" nogil:
    cppclass Progress:
        uint64_t count()
        void wait(uint64_t seen, int milliseconds)
        void reset_after_fork()

    Progress& progress()

    cppclass ThreadWaiter(Waiter):
        ThreadWaiter()
        bool wait(int milliseconds)

    int64_t live_runs()
    uint64_t runs_submitted()
    bool any_run_within(uint64_t count)
    bool any_begun_before(uint64_t number)
    void fail_runs_after_fork(Failure* failure)


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


cdef extern from "_engine/run/executor.h" namespace "owl" nogil:
    cppclass IdleListener:
        pass

    cppclass Executor:
        const Backend& backend()
        Memory& memory()
        Buffer* stage(size_t bytes)
        int backlog()
        void abort()
        void quiesce()
        void freeze()
        void resume(bool in_child)


cdef extern from "_engine/run/fault.h" namespace "owl" nogil:
    void arm_fault(Op op, FailureKind kind, int skip, int count)
    void disarm_faults()
    void set_kernel_delay(int microseconds)
    void hold_compilations()
    void let_compilations_go()
    int compilations_held()


cdef extern from "_engine/run/trace.h" namespace "owl" nogil:
    enum class SubmitReason(uint8_t):
        pass

    cppclass SubmitCause:
        CutReason cut
        SubmitReason reason
        uint32_t asked_at

    cppclass Recorded "owl::Submission::Recorded":
        uint64_t sequence
        uint32_t site

    cppclass Submission:
        uint64_t window
        SubmitCause cause
        bool known
        shared_ptr[Plan] plan
        vector[Recorded] nodes

    cppclass Trace:
        void list(vector[Submission]* out)
