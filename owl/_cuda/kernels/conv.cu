// Convolution, and its adjoint in the data.
//
// An element of the result has one accumulator, from 0, and adds its products by fma: by channel of the source, then by row of
// the filter, then by column. A tap beyond the source's edge adds a product with 0. That is the order of the CPU's direct
// algorithm, so the bits are its bits. A bias is added last.
//
// Where a group has more than a few channels, a block makes a tile of pixels, all of one class, times channels: a matrix
// product through shared memory, whose left factor is never stored (implicit GEMM). A product beyond the last one is
// 0 * -0, which changes no sum, not even -0.
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/scalars.h"
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {


// One class of positions of the result along a dimension: their number, and their taps. Position j reads, for tap t, position
// step * j + origin + t * delta of the source, times the filter's number `last_number - t * tap_step`.
struct ConvClass {
    int64_t positions, taps, origin, delta, last_number;
};

OWL_DEVICE ConvClass class_of(const ConvAxis& axis, int64_t r) {
    ConvClass found{};
    found.positions = r < axis.result ? tiles_of(axis.result - r, axis.classes) : 0;
    int64_t first = 0;
    const int64_t most = smaller(axis.taps, axis.tap_step);
    while (first < most && (r + axis.lead + first * axis.slope) % axis.classes != 0) ++first;
    if (first >= most) return found;
    found.taps = tiles_of(axis.taps - first, axis.tap_step);
    found.origin = (r + axis.lead + first * axis.slope) / axis.classes;
    found.delta = axis.tap_step * axis.slope / axis.classes;
    found.last_number = axis.taps - 1 - first;
    return found;
}

// A tile's facts that all threads need, in shared memory: there are too few registers for them beside the sums.
enum TileFact { kTapsX, kTapsY, kDeltaX, kDeltaY, kLastX, kLastY, kPixelsX, kPixelsY, kClassX, kClassY, kTileFacts };

// What a relu makes of a sum: max(value, 0).
template <class T>
OWL_DEVICE T rectified(T value, bool relu) {
    return relu && value < T(0) ? T(0) : value;
}

// One result of a pooling. `value` and `exists` are of the window's pixels; those beyond the edge do not count. The first of equal
// maxima wins, and a NaN beats everything, as in pool.cu.
template <class T>
OWL_DEVICE T pooled(PoolOp op, const T* value, const bool* exists, int& position) {
    T best = T(0), sum = T(0);
    bool any = false;
    position = 0;
    OWL_UNROLL
    for (int k = 0; k < kConvPooled; ++k) {
        if (!exists[k]) continue;
        sum = sum + value[k];
        if (any && !(value[k] > best) && value[k] == value[k]) continue;
        best = value[k];
        position = k;
        any = true;
    }
    return op == PoolOp::max ? best : sum * (T(1) / static_cast<T>(kConvPooled));
}

// A thread's results of a window, for its channels: first_channel and each kRows-th one after that.
template <class T, int kHigh, int kRows>
OWL_DEVICE void store_pooled(const ConvLaunch& a, const T* sum, int64_t window, int64_t group, int64_t first_channel) {
    int64_t image = window;
    const int64_t at_x = take_digit(image, a.pool.out_w), at_y = take_digit(image, a.pool.out_h);
    if (image >= a.batch) return;
    bool exists[kConvPooled];
    OWL_UNROLL
    for (int k = 0; k < kConvPooled; ++k)
        exists[k] = inside(at_x * a.pool.stride_w - a.pool.pad_w + k % a.pool.w, a.x.result) &&
                    inside(at_y * a.pool.stride_h - a.pool.pad_h + k / a.pool.w, a.y.result);
    OWL_UNROLL
    for (int i = 0; i < kHigh; ++i) {
        const int64_t channel = first_channel + i * kRows;
        if (channel >= a.results) continue;
        const int64_t all = group * a.results + channel;
        T value[kConvPooled];
        OWL_UNROLL
        for (int k = 0; k < kConvPooled; ++k) {
            value[k] = sum[i * kConvPooled + k];
            if (a.bias) value[k] = value[k] + static_cast<const T*>(a.bias)[all];
            value[k] = rectified(value[k], a.relu);
        }
        int position;
        const T result = pooled(a.pool.op, value, exists, position);
        const int64_t at = ((image * a.groups * a.results + all) * a.pool.out_h + at_y) * a.pool.out_w + at_x;
        static_cast<T*>(a.result)[at] = result;
        if (a.positions) static_cast<uint8_t*>(a.positions)[at] = static_cast<uint8_t>(position);
    }
}

// `pools`: pixel k * (kConvPixels / kConvPooled) + q of a tile is pixel k of its q-th window, so that a thread has all of a window.
template <class T, int kChannels, bool pools>
OWL_DEVICE void convolve_tiles(const ConvLaunch& a) {
    constexpr int kColumns = 16, kRows = kConvThreads / kColumns;  // of threads: pixels and channels
    constexpr int kWide = kConvPixels / kColumns, kHigh = kChannels / kRows;
    constexpr int kPitch = kChannels + 1;  // so that one channel's numbers lie in different banks
    constexpr int kPanel = kConvDepth * kConvPixels, kFilterPanel = kConvDepth * kPitch;
    // Two panels of each: while the threads multiply one, they fetch the next.
    OWL_SHARED(T, data, 2 * kPanel);
    OWL_SHARED(T, filters, 2 * kFilterPanel);
    // Of the products of four panels: the offset to add to a pixel's place in the source, and the place in a channel's filter.
    OWL_SHARED(int64_t, offset, 2 * kConvDescribed);
    OWL_SHARED(int64_t, line, 2 * kConvDescribed);
    OWL_SHARED(int64_t, column, 2 * kConvDescribed);
    OWL_SHARED(int64_t, number, 2 * kConvDescribed);
    OWL_SHARED(int64_t, known, kTileFacts);
    OWL_PRIVATE(T, sum, kHigh * kWide);
    OWL_PRIVATE(int64_t, place, 3);  // of the pixel that a thread loads: all in all, its line, its column

    const int64_t classes_x = smaller(a.x.classes, a.x.result), classes = classes_x * smaller(a.y.classes, a.y.result);
    constexpr int kResults = pools ? kConvPixels / kConvPooled : kConvPixels;  // of a tile, per channel
    static_assert(!pools || (kWide == kConvPooled && kResults == kColumns), "a thread has all pixels of a window");
    const int64_t most_pixels = pools ? a.pool.out_w * a.pool.out_h * a.batch
                                      : tiles_of(a.x.result, a.x.classes) * tiles_of(a.y.result, a.y.classes) * a.batch;
    const int64_t channel_tiles = tiles_of(a.results, kChannels), pixel_tiles = tiles_of(most_pixels, kResults);
    const int64_t tiles = channel_tiles * pixel_tiles * a.groups * classes;
    for (int64_t tile = OWL_BLOCK(); tile < tiles; tile += OWL_BLOCKS()) {
        int64_t class_y = tile;
        const int64_t first_channel = take_digit(class_y, channel_tiles) * kChannels;
        const int64_t first_pixel = take_digit(class_y, pixel_tiles) * kResults;
        const int64_t group = take_digit(class_y, a.groups), class_x = take_digit(class_y, classes_x);
        const ConvClass x = class_of(a.x, class_x), y = class_of(a.y, class_y);
        const int64_t pixels = pools ? most_pixels : x.positions * y.positions * a.batch, products = a.sources * x.taps * y.taps;
        if (first_pixel >= pixels) continue;

        const auto describe = [&](int64_t product) {
            const int d = ring_place(product);
            if (product >= products) {
                line[d] = kFarAway;
                number[d] = -1;
                return;
            }
            int64_t channel = product;
            const int64_t tap_x = take_digit(channel, known[kTapsX]), tap_y = take_digit(channel, known[kTapsY]);
            const int64_t down = tap_y * known[kDeltaY], right = tap_x * known[kDeltaX];
            line[d] = down;
            column[d] = right;
            offset[d] = (channel * a.y.source + down) * a.x.source + right;
            const int64_t row = known[kLastY] - tap_y * a.y.tap_step;
            number[d] = channel * a.source_step + row * a.x.taps + known[kLastX] - tap_x * a.x.tap_step;
        };

        OWL_THREADS(t) {
            int64_t image = first_pixel + t % kResults;
            bool exists = image < pixels;
            int64_t pixel_x, pixel_y;
            if (pools) {
                const int k = t % kConvPixels / kResults;
                pixel_x = take_digit(image, a.pool.out_w) * a.pool.stride_w - a.pool.pad_w + k % a.pool.w;
                pixel_y = take_digit(image, a.pool.out_h) * a.pool.stride_h - a.pool.pad_h + k / a.pool.w;
                exists = exists && inside(pixel_x, a.x.result) && inside(pixel_y, a.y.result);
            } else {
                pixel_x = take_digit(image, x.positions);
                pixel_y = take_digit(image, y.positions);
            }
            const int64_t at_x = pixel_x * a.x.step + x.origin, at_y = pixel_y * a.y.step + y.origin;
            place[0] = ((image * a.groups + group) * a.sources * a.y.source + at_y) * a.x.source + at_x;
            place[1] = exists ? at_y : kFarAway;
            place[2] = at_x;
            OWL_UNROLL
            for (int i = 0; i < kHigh * kWide; ++i) sum[i] = T(0);
            if (t == 0) {
                known[kTapsX] = x.taps;
                known[kTapsY] = y.taps;
                known[kDeltaX] = x.delta;
                known[kDeltaY] = y.delta;
                known[kLastX] = x.last_number;
                known[kLastY] = y.last_number;
                known[kPixelsX] = x.positions;
                known[kPixelsY] = y.positions;
                known[kClassX] = class_x;
                known[kClassY] = class_y;
            }
        }
        OWL_BARRIER();
        OWL_THREADS(t) if (t < kConvDescribed) describe(t);
        OWL_BARRIER();
        const T* filter = static_cast<const T*>(a.filter) + group * a.sources * a.results * a.x.taps * a.y.taps;
        // A thread's share of the panel from a product on, from memory to `pixel` and `weight`, and from there to shared memory.
        constexpr int kEach = kPanel / kConvThreads, kFilterEach = kConvDepth * kChannels / kConvThreads;
        const auto fetch = [&](int t, int64_t product, T* pixel, T* weight) {
            OWL_UNROLL
            for (int i = 0; i < kEach; ++i) {
                const int d = ring_place(product + t / kConvPixels + i * (kConvThreads / kConvPixels));
                pixel[i] = T(0);
                if (inside(place[1] + line[d], a.y.source) && inside(place[2] + column[d], a.x.source))
                    pixel[i] = static_cast<const T*>(a.source)[place[0] + offset[d]];
            }
            const int64_t at = number[ring_place(product + t % kConvDepth)];
            OWL_UNROLL
            for (int i = 0; i < kFilterEach; ++i) {
                const int64_t channel = first_channel + t / kConvDepth + i * (kConvThreads / kConvDepth);
                weight[i] = at >= 0 && channel < a.results ? filter[channel * a.result_step + at] : T(-0.0);
            }
        };
        const auto put = [&](int t, int panel, const T* pixel, const T* weight) {
            OWL_UNROLL
            for (int i = 0; i < kEach; ++i) data[panel * kPanel + t + i * kConvThreads] = pixel[i];
            const int at = panel * kFilterPanel + t % kConvDepth * kPitch + t / kConvDepth;
            OWL_UNROLL
            for (int i = 0; i < kFilterEach; ++i) filters[at + i * (kConvThreads / kConvDepth)] = weight[i];
        };
        OWL_THREADS(t) {
            T pixel[kEach], weight[kFilterEach];
            fetch(t, 0, pixel, weight);
            put(t, 0, pixel, weight);
        }
        OWL_BARRIER();
        int now = 0;  // the panel in hand
        OWL_ROLLED
        for (int64_t product = 0; product < products; product += kConvDepth) {
            const int64_t next = product + kConvDepth;
            OWL_THREADS(t) {
                T next_pixel[kEach], next_weight[kFilterEach];
                if (next < products) fetch(t, next, next_pixel, next_weight);
                if (product % kConvDescribed == 0 && t < kConvDescribed) describe(product + kConvDescribed + t);
                for (int d = 0; d < kConvDepth; ++d) {
                    T pixel[kWide];
                    OWL_UNROLL
                    for (int j = 0; j < kWide; ++j)
                        pixel[j] = data[now * kPanel + d * kConvPixels + t % kColumns + j * kColumns];
                    OWL_UNROLL
                    for (int i = 0; i < kHigh; ++i) {
                        const T f = filters[now * kFilterPanel + d * kPitch + t / kColumns + i * kRows];
                        OWL_UNROLL
                        for (int j = 0; j < kWide; ++j) sum[i * kWide + j] = fma(pixel[j], f, sum[i * kWide + j]);
                    }
                }
                if (next < products) put(t, 1 - now, next_pixel, next_weight);
            }
            OWL_BARRIER();
            now = 1 - now;
        }
        OWL_THREADS(t) {
            if constexpr (pools) {
                const int64_t window = first_pixel + t % kColumns, channel = first_channel + t / kColumns;
                store_pooled<T, kHigh, kRows>(a, OWL_OWN(sum, t), window, group, channel);
            } else {
                OWL_UNROLL
                for (int j = 0; j < kWide; ++j) {
                    int64_t image = first_pixel + t % kColumns + j * kColumns;
                    const int64_t at_x = take_digit(image, known[kPixelsX]) * a.x.classes + known[kClassX];
                    const int64_t at_y = take_digit(image, known[kPixelsY]) * a.y.classes + known[kClassY];
                    if (image >= a.batch) continue;
                    OWL_UNROLL
                    for (int i = 0; i < kHigh; ++i) {
                        const int64_t channel = first_channel + t / kColumns + i * kRows;
                        if (channel >= a.results) continue;
                        const int64_t all = group * a.results + channel;
                        T value = sum[i * kWide + j];
                        if (a.bias) value = value + static_cast<const T*>(a.bias)[all];
                        const int64_t row = (image * a.groups * a.results + all) * a.y.result + at_y;
                        static_cast<T*>(a.result)[row * a.x.result + at_x] = rectified(value, a.relu);
                    }
                }
            }
        }
        OWL_BARRIER();
    }
}

// A thread for each element, where a group has few channels: tiles would be nearly empty.
template <class T>
OWL_DEVICE void convolve_single(const ConvLaunch& a) {
    OWL_THREADS(t) {
        const int64_t size = a.x.result * a.y.result * a.results * a.groups * a.batch;
        for (int64_t at = OWL_BLOCK() * kConvThreads + t; at < size; at += OWL_BLOCKS() * kConvThreads) {
            int64_t image = at;
            const int64_t at_x = take_digit(image, a.x.result), at_y = take_digit(image, a.y.result);
            const int64_t channel = take_digit(image, a.results), group = take_digit(image, a.groups);
            const int64_t pixel_x = quotient(at_x, a.x.classes), pixel_y = quotient(at_y, a.y.classes);
            const ConvClass x = class_of(a.x, at_x - pixel_x * a.x.classes), y = class_of(a.y, at_y - pixel_y * a.y.classes);
            const T* filter = static_cast<const T*>(a.filter) + channel * a.result_step +
                              group * a.sources * a.results * a.x.taps * a.y.taps;
            const T* source = static_cast<const T*>(a.source) + (image * a.groups + group) * a.sources * a.y.source * a.x.source;
            T sum = T(0);
            for (int64_t c = 0; c < a.sources; ++c) {
                for (int64_t tap_y = 0; tap_y < y.taps; ++tap_y) {
                    const int64_t line = pixel_y * a.y.step + y.origin + tap_y * y.delta;
                    const T* row = source + (c * a.y.source + line) * a.x.source;
                    const T* numbers = filter + c * a.source_step + (y.last_number - tap_y * a.y.tap_step) * a.x.taps;
                    for (int64_t tap_x = 0; tap_x < x.taps; ++tap_x) {
                        const int64_t column = pixel_x * a.x.step + x.origin + tap_x * x.delta;
                        const bool exists = inside(line, a.y.source) && inside(column, a.x.source);
                        sum = fma(exists ? row[column] : T(0), numbers[x.last_number - tap_x * a.x.tap_step], sum);
                    }
                }
            }
            if (a.bias) sum = sum + static_cast<const T*>(a.bias)[group * a.results + channel];
            static_cast<T*>(a.result)[at] = rectified(sum, a.relu);
        }
    }
}

}  // namespace cuda
}  // namespace owl

#define OWL_CONV(T, type)                                                                                    \
    OWL_KERNEL_AT_ONCE(conv_wide_##type, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {                \
        owl::cuda::convolve_tiles<T, owl::cuda::kConvWide<T>, false>(a);                                     \
    }                                                                                                        \
    OWL_KERNEL_AT_ONCE(conv_pool_wide_##type, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {           \
        owl::cuda::convolve_tiles<T, owl::cuda::kConvWide<T>, true>(a);                                      \
    }                                                                                                        \
    OWL_KERNEL_AT_ONCE(conv_pool_narrow_##type, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {         \
        owl::cuda::convolve_tiles<T, owl::cuda::kConvNarrow, true>(a);                                       \
    }                                                                                                        \
    OWL_KERNEL_AT_ONCE(conv_narrow_##type, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {              \
        owl::cuda::convolve_tiles<T, owl::cuda::kConvNarrow, false>(a);                                      \
    }                                                                                                        \
    OWL_KERNEL_AT_ONCE(conv_single_##type, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {              \
        owl::cuda::convolve_single<T>(a);                                                                    \
    }
OWL_CONV(float, f32)
OWL_CONV(double, f64)
#undef OWL_CONV
