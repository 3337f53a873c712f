from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "_engine/memory/buffer.h" namespace "owl" nogil:
    cppclass Memory

    cppclass Buffer:
        void* data
        size_t bytes
        Memory* memory
        Buffer* retain()
        void release()

    int64_t live_buffers()


cdef extern from "_engine/memory/memory.h" namespace "owl" nogil:
    cppclass MemoryInfo:
        size_t in_use
        size_t cached
        size_t limit
        size_t peak

    cppclass Memory:
        const bool host
        size_t total()
        string download(const Buffer* source, void* to, size_t bytes)
        Buffer* allocate(size_t bytes)
        MemoryInfo info()
        void set_limit(size_t bytes)
        void trim()
        void settle_exports()
        void end_export(Buffer* buffer)

    Buffer* borrow(void* data, size_t bytes, void* owner)
    Buffer* borrow_of "owl::borrow"(void* data, size_t bytes, void* owner, Memory* memory)
    Memory& host_memory()
    size_t bytes_in_use()
    void lock_memory_for_fork()
    void unlock_memory_after_fork()


cdef extern from "_engine/memory/dlpack.h" namespace "owl::dlpack" nogil:
    enum:
        kCuda
        kFloat
        kReadOnly
        kCopied
        kMajor

    cppclass DlpackDevice "owl::dlpack::Device":
        int32_t kind
        int32_t number

    cppclass DlpackElements "owl::dlpack::Elements":
        uint8_t code
        uint8_t bits
        uint16_t lanes

    cppclass DlpackTensor "owl::dlpack::Tensor":
        void* data
        DlpackDevice device
        int32_t ndim
        DlpackElements elements
        int64_t* shape
        uint64_t byte_offset

    cppclass DlpackManaged "owl::dlpack::Managed":
        DlpackTensor tensor
        void (*deleter)(DlpackManaged* self) noexcept nogil

    cppclass DlpackVersioned "owl::dlpack::Versioned":
        uint32_t major
        void (*deleter)(DlpackVersioned* self) noexcept nogil
        DlpackTensor tensor

    DlpackManaged* lend(Buffer* buffer, const int64_t* shape, int ndim, int bits, DlpackDevice device)
    DlpackVersioned* lend_versioned(Buffer* buffer, const int64_t* shape, int ndim, int bits, DlpackDevice device,
                                    uint64_t flags)
    bool is_contiguous(const DlpackTensor& tensor)


cdef extern from "_engine/memory/reserve.h" namespace "owl" nogil:
    bool is_reserve_spent()
    bool refill_reserve()


cdef extern from "_engine/memory/deferred.h" namespace "owl" nogil:
    vector[void*] take_deferred_releases()
    bool has_deferred_releases()
