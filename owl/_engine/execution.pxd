from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from owl._engine.graph cimport Buffer, Failure, FailureKind, MemoryInfo, Node, Op, Waiter
from owl._engine.types cimport KernelTable


cdef extern from "_engine/plan/plan.h" namespace "owl" nogil:
    cppclass PlanOutput:
        int32_t node

    cppclass Plan:
        uint64_t id
        uint64_t hash
        uint16_t device
        vector[PlanOutput] outputs
        vector[int32_t] leftovers
        size_t arena_bytes
        size_t output_bytes
        string explain()

    void compile_plan(Plan* plan, const KernelTable& kernels, bool fuse)


cdef extern from "_engine/run/run.h" namespace "owl" nogil:
    cppclass Run:
        vector[Node*] inputs
        vector[Node*] outputs
        uint16_t device

    bool await_dependencies(Run* run, void (*enqueue)(Run*) noexcept nogil)

    cppclass Progress:
        uint64_t count()
        void wait(uint64_t seen, int milliseconds)
        void reset_after_fork()

    Progress& progress()

    cppclass ThreadWaiter(Waiter):
        ThreadWaiter()
        bool wait(int milliseconds)

    int64_t live_runs()
    uint64_t runs_handed_over()
    bool any_run_within(uint64_t count)
    bool any_begun_before(uint64_t number)
    void fail_runs_after_fork(Failure* failure)


cdef extern from "_engine/plan/plan_cache.h" namespace "owl" nogil:
    cppclass PlannerCounters:
        uint64_t windows
        uint64_t plans
        uint64_t hits
        uint64_t nodes
        uint64_t dead
        uint64_t leftovers
        uint64_t recomputed
        uint64_t bytes_outside
        uint64_t bytes_inside

    cppclass Canonical:
        bool describe(const vector[Node*]& nodes, uint64_t mark, bool may_leave, StoredPlaces& stored)
        shared_ptr[Plan] make_plan(const vector[Node*]& nodes)
        Run* make_run(const vector[Node*]& nodes, shared_ptr[Plan] plan)

    cppclass StoredPlaces:
        void add(const Node* node)
        size_t size()

    cppclass WindowHistory:
        bool is_regular(uint64_t hash)

    size_t chunk_end(const vector[Node*]& nodes, size_t begin)

    cppclass PlanCache:
        shared_ptr[Plan] find(const Canonical& window)
        void insert(shared_ptr[Plan] plan)
        void clear()
        size_t size()


cdef extern from "_engine/run/executor.h" namespace "owl" nogil:
    cppclass Executor:
        void submit(Run* run)
        int backlog()
        bool idle()
        void abort()
        void quiesce()
        void freeze()
        void resume(bool in_child)

    unique_ptr[Executor] make_cpu_executor(const KernelTable& kernels, void (*on_idle)() noexcept nogil)


cdef extern from "_cpu/team.h" namespace "owl" nogil:
    cppclass Team:
        int size()
        void resize(int threads)
        void lock_for_fork()
        void unlock_after_fork(bool in_child)

    Team& team()
    int default_threads()


cdef extern from "_engine/run/fault.h" namespace "owl" nogil:
    void arm_fault(Op op, FailureKind kind, int skip, int count)
    void disarm_faults()
    void set_kernel_delay(int microseconds)
