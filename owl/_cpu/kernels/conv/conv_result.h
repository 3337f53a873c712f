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
    const int64_t plane = result_w(a) * result_h(a), rows = last - first;
    const Channels<T> y = {static_cast<T*>(a.y), a.c_out, plane, a.blocked_y};
    if (!pools(a)) {
        store_channels(block + (first - first_row) * pitch * kWidth<T>, pitch, first, rows, a.out_w, y, image, channel,
                       channels, activation);
        return;
    }
    T* position = a.argmax && a.pool.op == PoolOp::max ? s.position : nullptr;
    pool_block(a.pool, a.out_w, a.out_h, block, first_row, pitch, first, last, s.value, position, activation);
    const int64_t w = a.pool.out_w;
    store_channels(s.value, w, first, rows, w, y, image, channel, channels, Identity());
    const Channels<uint8_t> argmax = {a.argmax, a.c_out, plane, a.blocked_argmax};
    if (position) store_byte_channels(position, first * w, rows * w, argmax, image, channel, channels);
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
    const int64_t w = result_w(a), h = result_h(a), plane = w * h;
    const Channels<const T> gradient = {static_cast<const T*>(a.y_diff), a.c_out, plane, a.blocked_y_diff};
    load_channels(gradient, image, channel, channels, 0, h, w, pools(a) ? s.value : block, pools(a) ? w : pitch);
    if (!pools(a)) return;
    const T* mask = static_cast<const T*>(a.mask);
    if (a.pool.op == PoolOp::average) {
        scatter_average(a.pool, a.out_w, a.out_h, s.value, block, pitch);
        const int64_t whole = a.out_w * a.out_h, first = (image * a.c_out + channel) * whole;
        if (a.relu) mask_by_planes(mask + first, whole, channels, a.out_h, a.out_w, block, pitch);
        return;
    }
    if (a.relu) {
        const Channels<const T> pooled = {mask, a.c_out, plane, a.blocked_mask};
        load_channels(pooled, image, channel, channels, 0, h, w, s.position, w);
        mask_block(s.position, plane, s.value);
    }
    load_byte_channels({a.argmax, a.c_out, plane, a.blocked_argmax}, image, channel, channels, s.position);
    scatter_block(a.pool, a.out_w, a.out_h, s.value, s.position, block, pitch);
}

}  // namespace OWL_ISA
}  // namespace owl
