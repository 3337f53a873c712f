from libcpp.memory cimport unique_ptr

from owl._engine.plan cimport Backend
from owl._engine.run cimport Executor, IdleListener


cdef extern from "_null/remote.h" namespace "owl" nogil:
    unique_ptr[Executor] make_remote_executor(const Backend& backend, IdleListener* listener)
