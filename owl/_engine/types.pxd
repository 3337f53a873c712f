from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "_engine/graph/types.h" namespace "owl" nogil:
    enum: kMaxDims

    enum class DType(uint8_t):
        f32
        f64
        u8

    size_t dtype_size(DType dtype)

    cppclass Shape:
        int32_t ndim
        int64_t dim[8]
        int64_t size()
        bint operator==(const Shape&)
        bint operator!=(const Shape&)

    enum class Ew(uint8_t):
        copy
        neg
        add
        sub
        mul
        div
        lt
        le
        gt
        ge
        eq
        ne
        pow
        abs
        sigm_diff
        tanh_diff
        relu_back
        sigm_back
        tanh_back
        count_

    enum class Reduction(uint8_t):
        sum
        max
        min
        argmax

    enum class Distribution(uint8_t):
        normal
        bernoulli
        uniform

    cppclass KernelTable:
        const char* isa
        int vector_bytes

    const KernelTable* select_kernels(const char* forced, const char** error)
