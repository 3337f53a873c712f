// Arguments of convolution, pooling and local response normalization.
#pragma once
#include "_cpu/kernels/kernels.h"
#include "_engine/graph/convolution.h"

namespace owl {

// Functions here have internal linkage: an inline one compiled for AVX-512 could be the copy that the linker keeps.

// Pooled size as Caffe has it: rounded up, but the last window begins inside the data or its left padding.
static inline int64_t pooled_size(int64_t n, int64_t window, int64_t stride, int64_t pad) {
    const int64_t reach = n + 2 * pad - window;
    const int64_t windows = (reach > 0 ? (reach + stride - 1) / stride : 0) + 1;
    return (windows - 1) * stride >= n + pad && windows > 1 ? windows - 1 : windows;
}

// A value that stays inside a plan may be blocked, [batch][block of channels][pixel][channel of the block], the last
// block as wide as there are channels left; so it takes the same room, and no kernel has to transpose it. Blocks do not
// depend on the instruction set. Groups of channels must be whole blocks.
constexpr int64_t kBlockChannels = 16;

struct ConvArgs : ConvolutionSizes {
    DType dtype;
    ConvAlgorithm algorithm;  // automatic: by shape, unless OWL_WINOGRAD=0 made the caller ask for direct

    // forward: y = pool(relu(conv(x, filter) + bias)), each step optional. y is pooled where `pool.op` is not none.
    // backward: where `pool.op` is set, `y_diff` is the gradient of the pooled output; that of a maximum goes where
    // `argmax` tells. Where `relu` is set as well, it passes only where `mask` is above 0: the pooled output of a
    // maximum, which masks it before it is spread, or for a mean an array of the size of what was pooled.
    bool relu;
    PoolWindow pool;
    uint8_t* argmax;  // forward: may be null

    bool blocked_x;       // for an algorithm that reads blocks
    bool blocked_y;       // forward
    bool blocked_y_diff;  // for an algorithm that reads blocks, or where it is pooled
    bool blocked_mask;    // of a maximum only
    bool blocked_argmax;
    bool blocked_x_diff;

    const void* x;
    const void* filter;
    const void* bias;  // [c_out] or null
    void* y;

    const void* y_diff;
    const void* mask;
    void* x_diff;
    void* filter_diff;  // may be null if bias_diff is not
    void* bias_diff;    // [c_out] or null; depends on y_diff alone, whatever the filter
    void* workspace;
};

struct PoolArgs : PoolSizes {
    DType dtype;
    uint8_t* argmax;  // forward: written unless null; backward: read unless null, else the maximum is found again in x
    const void* x;    // backward of max without argmax needs it
    void* y;          // backward of max with `relu` reads it

    bool relu;  // backward: of max, the gradient passes only where y > 0; of a mean, only where x > 0
    const void* y_diff;
    void* x_diff;
};

struct LrnArgs : LrnSizes {
    DType dtype;
    const void* x;
    void* scale;  // forward writes it unless it is null, backward reads it
    void* y;      // likewise

    const void* y_diff;
    void* x_diff;
};

// Winograd's algorithm, F(4x4, 3x3) or F(4x4, 5x5). Its rounding error spreads over a tile: in every direction it stays
// below 256 machine epsilons (3e-5) of the greatest sum of absolute products that makes up any number of the result.
// Windows of zeros, and tiles whose result is not finite, are as by definition.
static inline bool winograd_applies(const ConvArgs& a) {
    return a.dtype == DType::f32 && a.kw == a.kh && (a.kw == 3 || a.kw == 5) && a.stride_w == 1 && a.stride_h == 1 &&
           a.dilation_w == 1 && a.dilation_h == 1 && a.pad_w < a.kw && a.pad_h < a.kh;
}

// What all three directions of a convolution use, but for filters whose transformed gradients are too large.
static inline bool conv_uses_winograd(const ConvArgs& a) {
    if (a.algorithm == ConvAlgorithm::direct || !winograd_applies(a)) return false;
    if (a.c_in / a.groups < 8 || a.c_out / a.groups < 8) return false;
    const int64_t tiles = ((a.out_w + 3) / 4) * ((a.out_h + 3) / 4), points = (a.kw + 3) * (a.kh + 3);
    // The transforms cost about as much again as the products.
    return 2 * tiles * points < a.out_w * a.out_h * a.kw * a.kh;
}

static inline bool filter_gradient_uses_winograd(const ConvArgs& a) {
    // Beyond this many numbers a transformed gradient no longer stays in a core's cache while images pass by.
    constexpr int64_t kMostTransformedNumbers = 1 << 20;
    return conv_uses_winograd(a) && a.c_in / a.groups * a.c_out * (a.kw + 3) * (a.kh + 3) <= kMostTransformedNumbers;
}

}  // namespace owl
