// Max and average pooling, forward and backward. A chunk is a group of planes, a vector's lanes at a time; a plane is a
// channel of an image, and planes do not mix.
#include "conv_pool.h"
#include "_cpu/kernels/kernel_maker.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kPlanesPerChunk = 16;  // a whole number of vectors in every instruction set

template <class T>
struct Scratch {
    T *data, *pooled, *position;
    Scratch(const PoolArgs& a, Carver& carver) {
        data = carver.take<T>(max64(a.w * a.h, a.window.out_w * a.window.out_h) * kWidth<T>);
        pooled = carver.take<T>(a.window.out_w * a.window.out_h * kWidth<T>);
        position = carver.take<T>(a.window.out_w * a.window.out_h * kWidth<T>);
    }
};

template <class T>
void forward(const PoolArgs& a, int64_t first_plane, int64_t count, void* memory) {
    Carver carver{static_cast<char*>(memory)};
    const Scratch<T> s(a, carver);
    const PoolWindow& pool = a.window;
    const int64_t in = a.w * a.h, out = pool.out_w * pool.out_h;
    T* position = a.argmax && pool.op == PoolOp::max ? s.position : nullptr;
    load_block(static_cast<const T*>(a.x) + first_plane * in, in, count, a.h, a.w, s.data, a.w);
    pool_block(pool, a.w, a.h, s.data, 0, a.w, 0, pool.out_h, s.pooled, position, Identity());
    T* y = static_cast<T*>(a.y) + first_plane * out;
    store_block(s.pooled, pool.out_w, pool.out_h, pool.out_w, y, out, count, Identity());
    if (position) store_byte_block(position, out, a.argmax + first_plane * out, out, count);
}

template <class T>
void backward(const PoolArgs& a, int64_t first_plane, int64_t count, void* memory) {
    Carver carver{static_cast<char*>(memory)};
    const Scratch<T> s(a, carver);
    const PoolWindow& pool = a.window;
    const int64_t in = a.w * a.h, out = pool.out_w * pool.out_h;
    const T* gradient = static_cast<const T*>(a.y_diff) + first_plane * out;
    if (pool.op == PoolOp::max && a.argmax) {
        load_byte_block(a.argmax + first_plane * out, out, count, out, s.position);
    } else if (pool.op == PoolOp::max) {
        load_block(static_cast<const T*>(a.x) + first_plane * in, in, count, a.h, a.w, s.data, a.w);
        pool_block(pool, a.w, a.h, s.data, 0, a.w, 0, pool.out_h, s.pooled, s.position, Identity());
    }
    load_block(gradient, out, count, pool.out_h, pool.out_w, s.pooled, pool.out_w);
    if (pool.op == PoolOp::average) {
        scatter_average(pool, a.w, a.h, s.pooled, s.data, a.w);
        if (a.relu)
            mask_by_planes(static_cast<const T*>(a.x) + first_plane * in, in, count, a.h, a.w, s.data, a.w);
    } else {
        if (a.relu) {
            const T* y = static_cast<const T*>(a.y) + first_plane * out;
            load_block(y, out, count, pool.out_h, pool.out_w, s.data, pool.out_w);
            mask_block(s.data, out, s.pooled);
        }
        scatter_block(pool, a.w, a.h, s.pooled, s.position, s.data, a.w);
    }
    store_block(s.data, a.w, a.h, a.w, static_cast<T*>(a.x_diff) + first_plane * in, in, count, Identity());
}

template <class T, bool Backward>
void run_typed(const PoolArgs& a, int64_t begin, int64_t end, void* scratch) {
    const int64_t last = min64(end * kPlanesPerChunk, a.planes);
    for (int64_t plane = begin * kPlanesPerChunk; plane < last; plane += kWidth<T>) {
        const int64_t count = min64(kWidth<T>, last - plane);
        if (Backward) backward<T>(a, plane, count, scratch);
        else forward<T>(a, plane, count, scratch);
    }
}

template <bool Backward>
void run(const PoolArgs& a, int64_t begin, int64_t end, void* scratch) {
    by_dtype(a.dtype, [&](auto zero) { run_typed<decltype(zero), Backward>(a, begin, end, scratch); });
}

int64_t chunks(const PoolArgs& a) { return ceil_div(a.planes, kPlanesPerChunk); }

size_t scratch_bytes(const PoolArgs& a) {
    Carver carver{nullptr};
    by_dtype(a.dtype, [&](auto zero) { Scratch<decltype(zero)>(a, carver); });
    return carver.used;
}

template <bool Backward>
using PoolKernel = OnePhaseKernel<PoolArgs, chunks, run<Backward>, scratch_bytes>;

}  // namespace

extern const Kernel pool_forward_kernel, pool_backward_kernel;
const Kernel pool_forward_kernel = PoolKernel<false>::named("pool_forward");
const Kernel pool_backward_kernel = PoolKernel<true>::named("pool_backward");

}  // namespace OWL_ISA
}  // namespace owl
