// The sizes of convolutions, poolings and normalizations, as the kernels of every device take them.
//
// Kernel files include this: it is as words.h says.
//
// Data is dense and column-major, [w, h, channels, batch]; filters are [kw, kh, c_in / groups, c_out]. Convolution is
// the mathematical one: the filter is flipped, so y(i) sums x(i * stride - pad + k * dilation) * filter(size - 1 - k).
#pragma once
#include "words.h"

namespace owl {

struct ConvolutionSizes {
    int64_t w, h, c_in, batch;
    int64_t kw, kh, c_out;
    int64_t pad_w, pad_h, stride_w, stride_h, dilation_w, dilation_h, groups;
    int64_t out_w, out_h;  // before pooling
};

struct PoolWindow {
    PoolOp op;
    int64_t w, h;
    int64_t stride_w, stride_h;
    int64_t pad_w, pad_h;
    int64_t out_w, out_h;
};

// x is [w, h, planes], y is [out_w, out_h, planes]: channels and batch alike are planes.
struct PoolSizes {
    int64_t w, h, planes;
    PoolWindow window;
};

// Across channels: scale(c) = 1 + alpha / local_size * sum of x^2 over the local_size channels around c,
// y = x * scale^-beta. `inner` is w * h.
struct LrnSizes {
    int64_t inner, channels, batch;
    int64_t local_size;  // odd
    double alpha, beta;
};

}  // namespace owl
