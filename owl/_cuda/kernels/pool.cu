// Max and average pooling, forward and backward. A thread makes one element: backward it gathers from the windows that its pixel
// is in, in their order, so that a sum has the CPU's order of additions.
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {

// The part of a window that lies inside the data.
struct PoolSpan {
    int64_t begin, end;
};
OWL_DEVICE PoolSpan clipped(int64_t index, int64_t window, int64_t stride, int64_t pad, int64_t n) {
    const int64_t start = index * stride - pad;
    return {larger(start, 0), smaller(start + window, n)};
}

// The windows that a pixel is in: none, where they leave gaps.
OWL_DEVICE PoolSpan windows_of(int64_t at, int64_t window, int64_t stride, int64_t pad, int64_t windows) {
    const int64_t low = at + pad - window + 1;
    return {low > 0 ? quotient(low + stride - 1, stride) : 0, smaller(quotient(at + pad, stride) + 1, windows)};
}

// Windows that tile the data without a gap give each pixel one gradient, which is stored rather than added to 0.
OWL_DEVICE bool windows_tile(const PoolSizes& s) {
    const PoolWindow& p = s.window;
    return p.w == p.stride_w && p.h == p.stride_h && p.pad_w == 0 && p.pad_h == 0 && p.out_w * p.w >= s.w &&
           p.out_h * p.h >= s.h;
}

// The first of equal values wins, and a NaN beats everything: of a window that is not empty.
template <class T>
OWL_DEVICE T find_maximum(const T* plane, int64_t w, PoolSpan y, PoolSpan x, int64_t& where_y, int64_t& where_x) {
    T best = plane[y.begin * w + x.begin];
    where_y = y.begin;
    where_x = x.begin;
    for (int64_t i = y.begin; i < y.end; ++i) {
        for (int64_t j = x.begin; j < x.end; ++j) {
            const T candidate = plane[i * w + j];
            if (!(candidate > best) && candidate == candidate) continue;
            best = candidate;
            where_y = i;
            where_x = j;
        }
    }
    return best;
}

template <class T>
OWL_DEVICE void pool_windows(const PoolLaunch& a) {
    OWL_THREADS(t) {
        const PoolSizes& s = a.sizes;
        const PoolWindow& p = s.window;
        const int64_t size = p.out_w * p.out_h * s.planes;
        const T inverse_area = T(1) / static_cast<T>(p.w * p.h);
        for (int64_t at = OWL_BLOCK() * kPoolThreads + t; at < size; at += OWL_BLOCKS() * kPoolThreads) {
            int64_t number = at;
            const int64_t at_x = take_digit(number, p.out_w), at_y = take_digit(number, p.out_h);
            const PoolSpan y = clipped(at_y, p.h, p.stride_h, p.pad_h, s.h), x = clipped(at_x, p.w, p.stride_w, p.pad_w, s.w);
            const T* plane = static_cast<const T*>(a.x) + number * s.w * s.h;
            const bool empty = y.begin >= y.end || x.begin >= x.end;
            int64_t position = 0;
            T value = T(0);
            if (p.op == PoolOp::max && !empty) {
                int64_t where_y, where_x;
                value = find_maximum(plane, s.w, y, x, where_y, where_x);
                position = (where_y - at_y * p.stride_h + p.pad_h) * p.w + where_x - at_x * p.stride_w + p.pad_w;
            } else {
                for (int64_t i = y.begin; i < y.end; ++i)
                    for (int64_t j = x.begin; j < x.end; ++j) value = value + plane[i * s.w + j];
                value = value * inverse_area;
            }
            if (a.y) static_cast<T*>(a.y)[at] = value;
            if (!a.positions) continue;
            if (a.position_bytes == 1)
                static_cast<uint8_t*>(a.positions)[at] = static_cast<uint8_t>(position);
            else
                static_cast<int64_t*>(a.positions)[at] = position;
        }
    }
}

template <class T>
OWL_DEVICE void pool_gradients(const PoolLaunch& a) {
    OWL_THREADS(t) {
        const PoolSizes& s = a.sizes;
        const PoolWindow& p = s.window;
        const int64_t size = s.w * s.h * s.planes;
        const T inverse_area = T(1) / static_cast<T>(p.w * p.h);
        const bool tiles = windows_tile(s);
        for (int64_t at = OWL_BLOCK() * kPoolThreads + t; at < size; at += OWL_BLOCKS() * kPoolThreads) {
            int64_t plane = at;
            const int64_t at_x = take_digit(plane, s.w), at_y = take_digit(plane, s.h);
            const PoolSpan y = windows_of(at_y, p.h, p.stride_h, p.pad_h, p.out_h);
            const PoolSpan x = windows_of(at_x, p.w, p.stride_w, p.pad_w, p.out_w);
            T sum = T(0);
            for (int64_t i = y.begin; i < y.end; ++i) {
                for (int64_t j = x.begin; j < x.end; ++j) {
                    const int64_t window = (plane * p.out_h + i) * p.out_w + j;
                    T share = static_cast<const T*>(a.y_diff)[window];
                    if (p.op == PoolOp::average) {
                        share = share * inverse_area;
                    } else {
                        const int64_t here = (at_y - i * p.stride_h + p.pad_h) * p.w + at_x - j * p.stride_w + p.pad_w;
                        const int64_t maximum = a.position_bytes == 1 ? static_cast<const uint8_t*>(a.positions)[window]
                                                                      : static_cast<const int64_t*>(a.positions)[window];
                        if (a.mask && !(static_cast<const T*>(a.mask)[window] > T(0))) share = T(0);
                        share = here == maximum ? share : T(0);
                    }
                    sum = tiles ? share : sum + share;
                }
            }
            if (a.mask && p.op == PoolOp::average && !(static_cast<const T*>(a.mask)[at] > T(0))) sum = T(0);
            static_cast<T*>(a.x_diff)[at] = sum;
        }
    }
}

}  // namespace cuda
}  // namespace owl

OWL_KERNEL(pool_forward_f32, owl::cuda::PoolLaunch) { owl::cuda::pool_windows<float>(a); }
OWL_KERNEL(pool_forward_f64, owl::cuda::PoolLaunch) { owl::cuda::pool_windows<double>(a); }
OWL_KERNEL(pool_backward_f32, owl::cuda::PoolLaunch) { owl::cuda::pool_gradients<float>(a); }
OWL_KERNEL(pool_backward_f64, owl::cuda::PoolLaunch) { owl::cuda::pool_gradients<double>(a); }
