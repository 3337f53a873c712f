# Kernels of their own for programs that run often on a GPU: a thread of Python's takes what devices ask for, has it compiled
# and loaded, and gives the kernel back. It has the GIL only between these.

import signal
import threading

cdef Specializer* specializer = NULL  # never destroyed; NULL: no GPU yet, or OWL_CUDA_JIT=0
cdef object specializing_thread = None


# With the lock of devices held, before the first GPU device. In a forked child there is none before.
cdef int start_specializing() except -1:
    global specializer, specializing_thread
    wanted = setting("OWL_CUDA_JIT", "1", ("0", "1")) == "1"
    runs = number_setting("OWL_CUDA_JIT_RUNS", 50)
    if runs < 1:
        raise OwlValueError(f"OWL_CUDA_JIT_RUNS is 1 or more, not {runs}")
    if not wanted or specializer is not NULL:
        return 0
    specializer = new Specializer(min(runs, 1 << 30))
    specializing_thread = threading.Thread(target=make_kernels, name="owl-specialize", daemon=True)
    specializing_thread.start()
    return 0


# The thread's function.
def make_kernels():
    cdef const Specialization* program
    cdef Function function
    from owl._cuda import specializing

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the program's own threads
    while True:
        with nogil:
            program = specializer.take()
        if program is NULL:
            return
        function = NULL
        try:
            function = <Function><uintptr_t>specializing.function(opened_gpus[program.device], program.code)
        except BaseException as error:  # whatever it is, the interpreter goes on
            if not ending:
                specializing.warn(error)
        finally:
            specializer.finish(function)


# At exit: a compiler that is under way ends first, as libraries must not be taken down under it.
cdef int stop_specializing() except -1:
    if specializer is NULL or gpu_process != os.getpid():
        return 0
    from owl._cuda import edge

    specializer.close()
    edge.cancel_compiling()
    specializing_thread.join()
    return 0


def specialized_kernels(bint wait=False):
    """What became of programs that run often on GPUs: for `owl.testing.specialized_kernels`."""
    cdef SpecializerCounts now
    if specializer is NULL:
        return {"waiting": 0, "made": 0, "failed": 0, "launches": 0}
    if wait:
        with nogil:
            specializer.wait()
    now = specializer.counts()
    return {"waiting": now.waiting, "made": now.made, "failed": now.failed, "launches": now.launches}
