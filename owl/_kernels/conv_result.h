// The last step of a forward convolution and the first of a backward one, over a block of channels in scratch: bias,
// relu and pooling, and the way back through them.
#pragma once
#include "conv_pool.h"
#include "conv_shape.h"

namespace owl {
namespace OWL_ISA {

template <class T, bool Relu>
struct Activation {
    Vec<T> bias;
    OWL_INLINE Vec<T> operator()(Vec<T> v) const {
        v = v + bias;
        return Relu ? select(lt(v, Vec<T>{}), Vec<T>{}, v) : v;  // max(v, 0), by one comparison
    }
};

// Where the result of a pooling convolution waits to be stored.
template <class T>
struct PoolScratch {
    T *value, *position;
    PoolScratch(const ConvArgs& a, int64_t rows, Carver& carver) {
        const int64_t n = pools(a) ? rows * a.pool.out_w * kWidth<T> : 0;
        value = carver.take<T>(n);
        position = carver.take<T>(n);
    }
};

// Rows [first, last) of the result for the `channels` channels from `channel` on. The block holds the convolution's
// sums from row `first_row` on, `pitch` pixels a row.
template <class T, bool Relu>
void store_result_with(const ConvArgs& a, int64_t image, int64_t channel, int64_t channels, const T* block,
                       int64_t first_row, int64_t pitch, int64_t first, int64_t last, const PoolScratch<T>& s) {
    // Adding -0 changes nothing, not even -0.
    Activation<T, Relu> activation{set1(T(-0.0))};
    if (a.bias) {
        const T* bias = static_cast<const T*>(a.bias) + channel;
        activation.bias = channels >= kWidth<T> ? load(bias) : load_partial(bias, int(channels));
    }
    const int64_t plane = result_w(a) * result_h(a);
    const int64_t at = (image * a.c_out + channel) * plane + first * result_w(a);
    T* y = static_cast<T*>(a.y) + at;
    if (!pools(a)) {
        store_block(block + (first - first_row) * pitch * kWidth<T>, pitch, last - first, a.out_w, y, plane, channels,
                    activation);
        return;
    }
    T* position = a.argmax && a.pool.op == PoolOp::max ? s.position : nullptr;
    pool_block(a.pool, a.out_w, a.out_h, block, first_row, pitch, first, last, s.value, position, activation);
    store_block(s.value, a.pool.out_w, last - first, a.pool.out_w, y, plane, channels, Identity());
    if (position) store_byte_block(position, (last - first) * a.pool.out_w, a.argmax + at, plane, channels);
}

template <class T>
void store_result(const ConvArgs& a, int64_t image, int64_t channel, int64_t channels, const T* block,
                  int64_t first_row, int64_t pitch, int64_t first, int64_t last, const PoolScratch<T>& s) {
    if (a.relu) store_result_with<T, true>(a, image, channel, channels, block, first_row, pitch, first, last, s);
    else store_result_with<T, false>(a, image, channel, channels, block, first_row, pitch, first, last, s);
}

// The gradient of the convolution's sums, whole images, into a block with `pitch` pixels a row.
template <class T>
void load_gradient(const ConvArgs& a, int64_t image, int64_t channel, int64_t channels, T* block, int64_t pitch,
                   const PoolScratch<T>& s) {
    const int64_t plane = result_w(a) * result_h(a), at = (image * a.c_out + channel) * plane;
    const T* gradient = static_cast<const T*>(a.y_diff) + at;
    if (!pools(a)) {
        load_block(gradient, plane, channels, a.out_h, a.out_w, block, pitch);
        return;
    }
    load_block(gradient, plane, channels, a.pool.out_h, a.pool.out_w, s.value, a.pool.out_w);
    const T* mask = static_cast<const T*>(a.mask);
    if (a.pool.op == PoolOp::average) {
        spread_average(a.pool, a.out_w, a.out_h, s.value, block, pitch);
        const int64_t whole = a.out_w * a.out_h, first = (image * a.c_out + channel) * whole;
        if (a.relu) mask_by_planes(mask + first, whole, channels, a.out_h, a.out_w, block, pitch);
        return;
    }
    if (a.relu) {
        load_block(mask + at, plane, channels, a.pool.out_h, a.pool.out_w, s.position, a.pool.out_w);
        mask_block(s.position, plane, s.value);
    }
    load_byte_block(a.argmax + at, plane, channels, plane, s.position);
    unpool_block(a.pool, a.out_w, a.out_h, s.value, s.position, block, pitch);
}

}  // namespace OWL_ISA
}  // namespace owl
