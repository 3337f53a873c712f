from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from owl._engine.memory cimport Buffer
from owl._engine.plan cimport Backend
from owl._engine.run cimport Executor, IdleListener


cdef extern from "_cuda/driver.h" namespace "owl::cuda" nogil:
    ctypedef void* Context
    ctypedef void* Stream
    ctypedef void* Event
    ctypedef void* Function

    cppclass Driver:
        string describe(int error)
        int init(unsigned flags)
        int retain_context(Context* context, int device)
        int memory_info(size_t* free, size_t* total)

    const Driver* load_driver(const char* library, string* error)


cdef extern from "_cuda/blas.h" namespace "owl::cuda" nogil:
    const int64_t kBlasBorder

    cppclass BlasLibrary:
        pass

    const BlasLibrary* load_blas(const char* path, string* error)
    string open_blas(const BlasLibrary* library, bool hopper, CudaDevice* device)


cdef extern from "_cuda/device.h" namespace "owl::cuda" nogil:
    cppclass CudaDevice "owl::cuda::Device":
        const Driver* driver
        int index
        Context context
        size_t total_bytes
        Stream compute
        Stream copy
        vector[Event] compute_events
        vector[Event] copy_events
        vector[Function] functions
        bool blocking
        int graph_runs
        int graph_steps

    cppclass ContextGuard:
        ContextGuard(const CudaDevice& device)
        bool is_current()


cdef extern from "_cuda/memory.h" namespace "owl::cuda" nogil:
    string duplicate(const Buffer* source, Buffer** to)


cdef extern from "_cuda/lending.h" namespace "owl::cuda" nogil:
    void* lend_memory(void* parameter, size_t size, int index)
    void return_memory(void* parameter, void* data, int index)


cdef extern from "_cuda/specialization.h" namespace "owl::cuda" nogil:
    cppclass Specialization:
        const int device
        const string code

    cppclass SpecializerCounts:
        uint64_t waiting
        uint64_t made
        uint64_t failed
        uint64_t launches

    cppclass Specializer:
        Specializer(uint32_t runs)
        const Specialization* take()
        void finish(Function function)
        void close()
        void wait()
        SpecializerCounts counts()
        void lock_for_fork()
        void unlock_after_fork(bool in_child)


cdef extern from "_cuda/backend.h" namespace "owl" nogil:
    cppclass CudaBackend(Backend):
        CudaBackend(Specializer* specializer, int64_t blas_border)

    unique_ptr[Executor] make_cuda_executor(const CudaDevice& device, const Backend& backend, IdleListener* listener)
