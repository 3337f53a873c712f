from libc.stdint cimport uint64_t
from libcpp cimport bool
from libcpp.memory cimport unique_ptr

from owl._engine.plan cimport Backend
from owl._engine.run cimport Executor, IdleListener


cdef extern from "_cpu/kernels/kernels.h" namespace "owl" nogil:
    cppclass KernelTable:
        const char* isa
        int vector_bytes

    const KernelTable* select_kernels(const char* forced, const char** error)


cdef extern from "_cpu/backend.h" namespace "owl" nogil:
    cppclass CpuBackend(Backend):
        CpuBackend(const KernelTable& kernels)

    unique_ptr[Executor] make_cpu_executor(const Backend& backend, IdleListener* listener)


cdef extern from "_cpu/team.h" namespace "owl" nogil:
    cppclass Team:
        int size()
        void resize(int threads)
        void lock_for_fork()
        void unlock_after_fork(bool in_child)

    Team& team()


cdef extern from "_cpu/host_copy.h" namespace "owl" nogil:
    void copy_on_host(void* to, const void* source, size_t bytes)
    uint64_t shared_copies()
    void forget_host_copies()
