# What other extension modules may cimport: the array and its node.
from owl._engine.graph cimport Node


cdef class NArray:
    cdef Node* node
    cdef object __weakref__
