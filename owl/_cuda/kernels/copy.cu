// Copies between strided regions: slices, concatenations, broadcasts, conversions of type, transposes.
//
// Dimensions are in the order of the destination's strides. Numbers are copied one by one, neighbors in the destination by
// neighboring threads. A transpose goes through a tile in shared memory instead, so that what is read is adjacent too.
#include "args.h"
#include "simt.cuh"

namespace owl {
namespace cuda {

template <class From, class To, class Index>
OWL_DEVICE void copy_numbers(const CopyLaunch& a) {
    OWL_THREADS(t) {
        const Index size = static_cast<Index>(a.size), step = static_cast<Index>(OWL_BLOCKS()) * kCopyThreads;
        for (Index at = static_cast<Index>(OWL_BLOCK()) * kCopyThreads + t; at < size; at += step) {
            int64_t from = 0, to = 0;
            Index rest = at;
            OWL_UNROLL
            for (int d = 0; d < kMaxDims; ++d) {
                if (d >= a.ndim) continue;
                const Index length = static_cast<Index>(a.shape[d]), place = rest % length;
                rest /= length;
                from += place * a.src_stride[d];
                to += place * a.dst_stride[d];
            }
            static_cast<To*>(a.dst)[to] = static_cast<To>(static_cast<const From*>(a.src)[from]);
        }
    }
}

// Where dst_stride[0] and src_stride[1] are 1. A block has a tile of a plane of dimensions 0 and 1.
template <class T>
OWL_DEVICE void copy_transposed(const CopyLaunch& a) {
    constexpr int kPitch = kCopyTile + 1;  // so that a column's elements lie in different banks
    OWL_SHARED(T, tile, kCopyTile * kPitch);
    const int64_t tiles0 = (a.shape[0] + kCopyTile - 1) / kCopyTile, tiles1 = (a.shape[1] + kCopyTile - 1) / kCopyTile;
    const int64_t i = OWL_BLOCK() % tiles0 * kCopyTile, j = OWL_BLOCK() / tiles0 % tiles1 * kCopyTile;
    int64_t plane = OWL_BLOCK() / (tiles0 * tiles1), from = 0, to = 0;
    OWL_UNROLL
    for (int d = 2; d < kMaxDims; ++d) {
        if (d >= a.ndim) continue;
        from += plane % a.shape[d] * a.src_stride[d];
        to += plane % a.shape[d] * a.dst_stride[d];
        plane /= a.shape[d];
    }
    const T* src = static_cast<const T*>(a.src) + from;
    T* dst = static_cast<T*>(a.dst) + to;
    OWL_THREADS(t) {
        for (int row = t / kCopyTile; row < kCopyTile; row += kCopyThreads / kCopyTile) {
            const int column = t % kCopyTile;
            if (i + row < a.shape[0] && j + column < a.shape[1])
                tile[row * kPitch + column] = src[(i + row) * a.src_stride[0] + j + column];
        }
    }
    OWL_BARRIER();
    OWL_THREADS(t) {
        for (int column = t / kCopyTile; column < kCopyTile; column += kCopyThreads / kCopyTile) {
            const int row = t % kCopyTile;
            if (i + row < a.shape[0] && j + column < a.shape[1])
                dst[i + row + (j + column) * a.dst_stride[1]] = tile[row * kPitch + column];
        }
    }
}

}  // namespace cuda
}  // namespace owl

// By the types, and the width of indices (32 bits where size + blocks * threads is below 2^31); of a transpose by the bytes of
// an element.
#define OWL_COPY(From, from, To, to)                                                     \
    OWL_KERNEL(copy_##from##_##to##_i32, owl::cuda::CopyLaunch) {                        \
        owl::cuda::copy_numbers<From, To, int32_t>(a);                                   \
    }                                                                                    \
    OWL_KERNEL(copy_##from##_##to##_i64, owl::cuda::CopyLaunch) {                        \
        owl::cuda::copy_numbers<From, To, int64_t>(a);                                   \
    }
OWL_COPY(float, f32, float, f32)
OWL_COPY(float, f32, double, f64)
OWL_COPY(double, f64, float, f32)
OWL_COPY(double, f64, double, f64)
OWL_COPY(uint8_t, u8, float, f32)
OWL_COPY(uint8_t, u8, double, f64)
OWL_COPY(uint8_t, u8, uint8_t, u8)
#undef OWL_COPY
OWL_KERNEL(copy_transposed_4, owl::cuda::CopyLaunch) { owl::cuda::copy_transposed<uint32_t>(a); }
OWL_KERNEL(copy_transposed_8, owl::cuda::CopyLaunch) { owl::cuda::copy_transposed<uint64_t>(a); }
