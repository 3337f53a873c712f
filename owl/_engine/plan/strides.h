// Strides, in elements, of arrays as kernels walk over them.
#pragma once
#include "_engine/graph/types.h"

namespace owl {

inline void dense_strides(const Shape& shape, int64_t* stride) {
    int64_t step = 1;
    for (int d = 0; d < shape.ndim; ++d) {
        stride[d] = step;
        step *= shape.dim[d];
    }
}

// Strides of an operand of shape `view` in a pass over `space`: a dimension of 1 is repeated.
inline void broadcast_strides(const Shape& view, const Shape& space, int64_t* stride) {
    dense_strides(view, stride);
    for (int d = 0; d < space.ndim; ++d)
        if (view.dim[d] == 1) stride[d] = 0;
}

}  // namespace owl
