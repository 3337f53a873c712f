from libc.stdint cimport uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport unique_ptr
from libcpp.vector cimport vector

from owl._engine.graph cimport Failure, Node
from owl._engine.memory cimport Buffer
from owl._engine.plan cimport PlanCache, StoredPlaces
from owl._engine.record cimport RecordingStream, Window
from owl._engine.run cimport Executor, IdleListener, Trace


cdef extern from "_engine/window/scheduler.h" namespace "owl" nogil:
    cppclass SchedulerCounters:
        uint64_t windows
        uint64_t plans
        uint64_t hits
        uint64_t nodes
        uint64_t dead
        uint64_t rematerializable_nodes
        uint64_t recomputed
        uint64_t bytes_outside
        uint64_t bytes_inside

    cppclass Scheduler(IdleListener):
        vector[RecordingStream*] streams
        vector[Executor*] executors
        PlanCache plans
        StoredPlaces stored_places
        Trace trace
        SchedulerCounters counters
        bool early_start
        bool fuse
        RecordingStream* add_stream()
        void purge_stream(RecordingStream* stream)
        bool has_room(int bound)
        int add_executor(unique_ptr[Executor] executor)
        void upload(Node* leaf, Buffer* staged)
        void attend(RecordingStream* stream, bool cut_here)
        void request(Node** targets, int count, uint32_t asked_at)
        void flush(RecordingStream* stream)
        void submit_open_window(RecordingStream* stream)
        void find_needed(Node* node, Window* nodes)
        void fail_recorded(Failure* failure)
        void unlock_and_compile()
        bool any_compiling_within(uint64_t number)
        void forget_compile_thread()

    Scheduler& scheduler()
