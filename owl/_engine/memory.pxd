from libc.stdint cimport int64_t
from libcpp cimport bool
from libcpp.vector cimport vector


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
