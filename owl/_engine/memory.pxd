from libc.stdint cimport int64_t
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

    Buffer* borrow(void* data, size_t bytes, void* owner)
    Memory& host_memory()
    size_t bytes_in_use()
    void lock_memory_for_fork()
    void unlock_memory_after_fork()


cdef extern from "_engine/memory/reserve.h" namespace "owl" nogil:
    bool is_reserve_spent()
    bool refill_reserve()


cdef extern from "_engine/memory/deferred.h" namespace "owl" nogil:
    vector[void*] take_deferred_releases()
    bool has_deferred_releases()
