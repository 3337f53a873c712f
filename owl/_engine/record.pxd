from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from owl._engine.graph cimport DType, Node, Op, Shape
from owl._engine.memory cimport Buffer


cdef extern from "_engine/record/stream.h" namespace "owl" nogil:
    ctypedef vector[Node*] Window

    cppclass AtomicSize "std::atomic<size_t>":
        void store(size_t value)
        size_t load()

    cppclass WindowBounds:
        AtomicSize nodes
        AtomicSize bytes

    WindowBounds& window_bounds()
    RecordingStream* stream_of(const Node* node)

    enum class CutReason(uint8_t):
        pass

    cppclass ClosedWindow:
        Window nodes

    cppclass RandomNumbers:
        uint64_t identity
        uint64_t draws

    cppclass RecordingStream:
        uint64_t id
        shared_ptr[RandomNumbers] numbers
        shared_ptr[RandomNumbers] own_numbers
        uint64_t numbers_era
        uint64_t own_era
        uint64_t random
        int device
        bool orphan
        bool ended
        void* holder
        bool differentiates
        bool attention
        uint32_t site
        void* tape
        void* draws
        int compiling
        vector[ClosedWindow] waiting


cdef extern from "_engine/record/recorder.h" namespace "owl" nogil:
    cppclass Draft:
        Op op
        DType dtype
        uint16_t device
        uint32_t site
        Shape shape
        uint8_t scalar_mask
        uint8_t n_scalars
        double scalar[3]
        int64_t argument[3]
        uint32_t n_inputs
        vector[Node*] many_inputs
        void add_scalar(int operand, double value)
        void set_attributes[Attributes](const Attributes& attributes)
        void take_attributes(const Draft& other)
        void add_argument(int64_t value)
        void add_input(Node* node)
        bool reserve(uint32_t inputs)
        Node* input(uint32_t k)

    Attributes attributes_of[Attributes](const Draft& draft)

    Node* record(const Draft& draft, RecordingStream* stream, RecordingStream** owner_unknown)
    Node* record_leaf(const Shape& shape, DType dtype, int device, uint32_t site, Buffer* buffer, RecordingStream* stream)
