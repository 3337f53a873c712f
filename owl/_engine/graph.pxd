from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.string cimport string
from libcpp.vector cimport vector

from owl._engine.memory cimport Buffer


cdef extern from "_engine/graph/types.h" namespace "owl" nogil:
    enum: kMaxDims

    enum class DType(uint8_t):
        f32
        f64

    cppclass Shape:
        int32_t ndim
        int64_t dim[8]
        int64_t size()
        bint operator==(const Shape&)
        bint operator!=(const Shape&)

    enum class Elementwise(uint8_t):
        copy
        neg
        add
        sub
        mul
        div
        lt
        le
        gt
        ge
        eq
        ne
        exp
        ln
        sqrt
        pow
        abs
        isfinite
        where
        sigm_diff
        tanh_diff
        sigm_back
        tanh_back
        count_

    enum class Reduction(uint8_t):
        sum
        max
        min
        argmax
        argmin

    enum class PoolOp(uint8_t):
        max
        average

    enum class Distribution(uint8_t):
        normal
        bernoulli
        uniform


cdef extern from "_engine/graph/attributes.h" namespace "owl" nogil:
    struct MatmulAttributes:
        int64_t precision

    cppclass TransposeAttributes:
        int64_t order
        int source(int dimension)

    struct SliceAttributes:
        int64_t stride[8]

    struct ConcatAttributes:
        int64_t dimension

    struct ReduceAttributes:
        int64_t reduction
        int64_t axes
        int64_t mean

    struct CumsumAttributes:
        int64_t dimension
        int64_t reverse

    struct TakeAttributes:
        int64_t dimension

    struct SoftmaxAttributes:
        int64_t first
        int64_t end

    struct RandomAttributes:
        int64_t distribution
        double p0
        double p1

    struct ConvAttributes:
        int64_t pad_w
        int64_t pad_h
        int64_t stride_w
        int64_t stride_h
        int64_t dilation_w
        int64_t dilation_h
        int64_t groups
        int32_t algorithm
        int32_t precision

    struct PoolAttributes:
        int64_t op
        int64_t w
        int64_t h
        int64_t stride_w
        int64_t stride_h
        int64_t pad_w
        int64_t pad_h

    struct LrnAttributes:
        int64_t local_size
        double alpha
        double beta


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
        cumsum
        take
        take_back
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
    Op elementwise_op(Elementwise op)
    const char* operation_name(Op op)

    cppclass ElementwiseInfo:
        const char* name
        int arity
        const char* derivatives

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
        bool rematerializable
        uint16_t device
        uint16_t runner
        uint32_t n_inputs
        uint32_t site
        uint64_t sequence
        uint64_t position
        Shape shape
        uint32_t readers
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
    cppclass LockCounters:
        uint64_t taken
        uint64_t contended

    cppclass GraphLock:
        void lock()
        void unlock()
        LockCounters counters()

    bool kDebug

    cppclass Graph:
        GraphLock mutex
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
