# Classes that only owl makes. Their pointers are set after they are made: an object that Python's __new__ made would have
# none, and the first use of it would crash.

cdef extern from *:
    """
    namespace owl {
    namespace {
    PyObject* error_of_new = nullptr;
    PyObject* refuse_new(PyTypeObject* type, PyObject*, PyObject*) {
        PyErr_Format(error_of_new, "[%s] is made by owl's functions, such as owl.zeros, and not by its class", type->tp_name);
        return nullptr;
    }
    // Cython makes objects by its own functions, which stay.
    inline void refuse_to_make(PyObject* type, PyObject* error) {
        error_of_new = error;
        auto* made = reinterpret_cast<PyTypeObject*>(type);
        made->tp_new = refuse_new;
        made->tp_vectorcall = nullptr;  // a call would make an object by Cython's function too
        PyType_Modified(made);
    }
    }  // namespace
    }  // namespace owl
    """
    void refuse_to_make "owl::refuse_to_make"(PyObject* type, PyObject* error)


for made_by_owl in (NArray, Rows, Promise, Evaluation, Wait, LoopReader, TaskStream, Borrowed, StagingMemory, ElementwiseOperation):
    refuse_to_make(<PyObject*>made_by_owl, <PyObject*>OwlTypeError)
