from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.memory cimport shared_ptr
from libcpp cimport bool
from libcpp.string cimport string
from libcpp.vector cimport vector

from owl._engine.types cimport DType, Ew, Shape


cdef extern from "_engine/graph/operation.h" namespace "owl" nogil:
    enum class Op(uint16_t):
        leaf
        cast
        matmul
        transpose
        reshape
        slice
        concat
        reduce
        softmax
        log_softmax
        cross_entropy
        cross_entropy_back
        random
        to_device
        conv_forward
        conv_backward_data
        conv_backward_filter
        conv_backward_bias
        pool_forward
        pool_backward
        lrn_forward
        lrn_scale
        lrn_backward
        count_

    enum: kOperations
    Op elementwise_op(Ew op)
    const char* operation_name(Op op)

    cppclass ElementwiseInfo:
        const char* name
        int arity
        const char* cuda
        const char* derivatives
        const char* public_name
        const char* doc

    const ElementwiseInfo& elementwise_info(int op)


cdef extern from "_engine/graph/failure.h" namespace "owl" nogil:
    enum class FailureKind(uint8_t):
        out_of_memory
        injected
        forked
        dropped
        promise

    cppclass AtomicBool "std::atomic<bool>":
        void store(bool value)
        bool load()

    cppclass Origin "owl::Failure::Origin":
        uint16_t op
        uint32_t site

    cppclass Failure:
        Failure(FailureKind kind, string message)
        FailureKind kind
        string message
        vector[Origin] origins
        AtomicBool observed
        Failure* retain()
        void release()

    vector[Failure*] take_unobserved_failures()
    bool has_unobserved_failures()
    vector[Failure*] held_unobserved_failures()
    void forget_failures_after_fork()
    void lock_failures_for_fork()
    void unlock_failures_after_fork()


cdef extern from "_engine/memory/memory.h" namespace "owl" nogil:
    cppclass Buffer:
        void* data
        size_t bytes
        Buffer* retain()
        void release()

    cppclass MemoryInfo:
        size_t in_use
        size_t cached
        size_t limit
        size_t peak

    cppclass MemoryPool:
        Buffer* allocate(size_t bytes)
        MemoryInfo info()
        void set_limit(size_t bytes)
        void trim()

    Buffer* borrow(void* data, size_t bytes, void* owner)
    MemoryPool& host_memory()
    int64_t live_buffers()
    bool is_reserve_spent()
    bool refill_reserve()
    vector[void*] take_deferred_releases()
    bool has_deferred_releases()
    void lock_memory_for_fork()
    void unlock_memory_after_fork()


cdef extern from "_engine/graph/node.h" namespace "owl" nogil:
    cppclass Waiter:
        pass

    enum class State(uint8_t):
        recorded
        submitted
        done
        failed
        dead

    cppclass Node:
        Op op
        DType dtype
        State state
        bool parked
        bool leftover
        uint16_t device
        uint32_t n_inputs
        uint32_t site
        uint64_t sequence
        uint64_t position
        uint64_t signature
        uint64_t shape_hash
        Shape shape
        uint32_t handles
        uint32_t readers
        uint32_t pins
        RecordingStream* stream
        Buffer* buffer
        Failure* failure
        uint64_t mark
        int32_t index
        Waiter* waiters
        Node** inputs()
        bool pending()
        bool finished()
        bool live()
        size_t bytes()


cdef extern from "_engine/graph/graph.h" namespace "owl" nogil:
    cppclass Mutex "std::mutex":
        void lock()
        void unlock()

    cppclass Graph:
        Mutex mutex
        void hold(Node* node)
        void unhold(Node* node)
        void add_handle(Node* node)
        void drop_handle(Node* node)
        void release_inputs(Node* node)
        void pin(Node* node)
        void unpin(Node* node)
        void complete(Node* node, Buffer* buffer)
        void fail(Node* node, Failure* failure)
        void add_waiter(Node* node, Waiter* waiter)
        void remove_waiter(Node* node, Waiter* waiter)
        uint64_t new_mark()
        void ancestors(Node* const* targets, int count, vector[Node*]* out)
        void trim()
        int64_t live_nodes()

    Graph& graph()


cdef extern from "_engine/record/detector.h" namespace "owl" nogil:
    cppclass Detector:
        uint64_t recorded()


cdef extern from "_engine/record/stream.h" namespace "owl" nogil:
    ctypedef vector[Node*] Window

    cppclass AtomicSize "std::atomic<size_t>":
        void store(size_t value)
        size_t load()

    cppclass WindowBounds:
        AtomicSize nodes
        AtomicSize bytes

    WindowBounds& window_bounds()

    enum class Border(uint8_t):
        anchor
        bounds
        random
        demand
        wait_for_all
        pause

    cppclass ClosedWindow:
        Window nodes
        uint64_t hash
        Border border
        bool known
        void close(const RecordingStream* stream, Expectations* expectations)
        bool settled()

    cppclass RandomNumbers:
        uint64_t identity
        uint64_t draws

    cppclass RecordingStream:
        uint64_t id
        shared_ptr[RandomNumbers] numbers
        shared_ptr[RandomNumbers] own_numbers
        uint64_t numbers_era
        uint64_t own_era
        size_t open_bytes
        uint64_t random
        int device
        bool orphan
        bool ended
        void* holder
        bool attention
        uint64_t cut
        Window open
        vector[ClosedWindow] waiting
        Window leftovers
        Detector detector
        bool ends_with_demand()
        void note_demand()
        void note_cut(uint64_t place)
        bool reset()
        const ClosedWindow* waiting_window(const Node* node)

    cppclass Expectations:
        void remember(const ClosedWindow& window)

    void sort_by_sequence(vector[Node*]* nodes)
    uint64_t purge(const RecordingStream* stream, Window* window)


cdef extern from "_engine/record/recorder.h" namespace "owl" nogil:
    cppclass Draft:
        Op op
        DType dtype
        uint8_t scalar_mask
        uint16_t device
        uint32_t site
        Shape shape
        uint32_t n_inputs
        void add_scalar(int operand, double value)
        void add_attribute(int64_t value)
        void add_number(double value)
        void add_argument(int64_t value)
        void add_input(Node* node)
        bool reserve(uint32_t inputs)
        Node* input(uint32_t k)

    Node* record(const Draft& draft, RecordingStream* stream, RecordingStream** doubtful)
    Node* record_leaf(const Shape& shape, DType dtype, int device, uint32_t site, Buffer* buffer, RecordingStream* stream)
