// A tile of a convolution's result, or of its adjoint in the data: shared by the kernels that differ in how they multiply.
#pragma once
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

// How a block computes a tile of kConvPixels pixels times kChannels channels, of which a thread has kWide times kHigh: here by
// fma, with neighboring threads at neighboring pixels.
template <class T, int channels>
struct ConvTile {
    static constexpr int kChannels = channels, kDepth = kConvDepth;  // products in a panel
    static constexpr int kColumns = 16, kRows = kConvThreads / kColumns;  // of threads: pixels and channels
    static constexpr int kWide = kConvPixels / kColumns, kHigh = kChannels / kRows;
    static constexpr int kPitch = kConvPixels;  // of a panel of data
    // Neighbors among a channel's numbers lie in different banks.
    static constexpr int kFilterPitch = kChannels + 1, kFilterPanel = kDepth * kFilterPitch;

    OWL_DEVICE static int filter_place(int channel, int d) { return d * kFilterPitch + channel; }
    OWL_DEVICE static int pixel(int t, int j) { return t % kColumns + j * kColumns; }
    OWL_DEVICE static int first_channel(int t) { return t / kColumns; }  // of a thread, and each kRows-th one after that
    OWL_DEVICE static int own(int i, int j) { return i * kWide + j; }    // where the sum is of channel i and pixel j
    OWL_DEVICE static T taken(T number) { return number; }  // into shared memory

    template <class Data, class Filters>
    OWL_DEVICE static void multiply(Data& data, int panel, Filters& filters, int filter_panel, int t, T* sum) {
        for (int d = 0; d < kDepth; ++d) {
            T x[kWide];
            OWL_UNROLL
            for (int j = 0; j < kWide; ++j) x[j] = data[panel + d * kPitch + pixel(t, j)];
            OWL_UNROLL
            for (int i = 0; i < kHigh; ++i) {
                const T f = filters[filter_panel + filter_place(first_channel(t) + i * kRows, d)];
                OWL_UNROLL
                for (int j = 0; j < kWide; ++j) sum[own(i, j)] = fma(x[j], f, sum[own(i, j)]);
            }
        }
    }
};

// `pools`: pixel k * (kConvPixels / kConvPooled) + q of a tile is pixel k of its q-th window. The j-th pixel of a thread is pixel
// j / (kWide / kConvPooled) of a window, so that a thread has all of a window.
template <class T, class Tile, bool pools>
OWL_DEVICE void convolve_tiles(const ConvLaunch& a) {
    constexpr int kChannels = Tile::kChannels, kDepth = Tile::kDepth, kWide = Tile::kWide, kHigh = Tile::kHigh;
    constexpr int kPanel = kDepth * Tile::kPitch, kFilterPanel = Tile::kFilterPanel;
    static_assert(kConvDescribed % kDepth == 0, "whole panels are described");
    // Two panels of each: while the threads multiply one, they fetch the next.
    OWL_SHARED(T, data, 2 * kPanel);
    OWL_SHARED(T, filters, 2 * kFilterPanel);
    // Of 2 * kConvDescribed products: the offset to add to a pixel's place in the source, and the place in a channel's filter.
    OWL_SHARED(int64_t, offset, 2 * kConvDescribed);
    OWL_SHARED(int64_t, line, 2 * kConvDescribed);
    OWL_SHARED(int64_t, column, 2 * kConvDescribed);
    OWL_SHARED(int64_t, number, 2 * kConvDescribed);
    OWL_SHARED(int64_t, known, kTileFacts);
    OWL_PRIVATE(T, sum, kHigh * kWide);
    OWL_PRIVATE(int64_t, place, 3);  // of the pixel that a thread loads: all in all, its line, its column

    const int64_t classes_x = smaller(a.x.classes, a.x.result), classes = classes_x * smaller(a.y.classes, a.y.result);
    constexpr int kResults = pools ? kConvPixels / kConvPooled : kConvPixels;  // of a tile, per channel
    static_assert(kWide % kConvPooled == 0, "a thread has all pixels of a window");
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
        OWL_THREADS(t) if (t < 2 * kConvDescribed) describe(t);
        OWL_BARRIER();
        const T* filter = static_cast<const T*>(a.filter) + group * a.sources * a.results * a.x.taps * a.y.taps;
        // A thread's share of the panel from a product on, from memory to `pixel` and `weight`, and from there to shared memory.
        constexpr int kEach = kDepth * kConvPixels / kConvThreads, kFilterEach = kDepth * kChannels / kConvThreads;
        const auto fetch = [&](int t, int64_t product, T* pixel, T* weight) {
            OWL_UNROLL
            for (int i = 0; i < kEach; ++i) {
                const int d = ring_place(product + t / kConvPixels + i * (kConvThreads / kConvPixels));
                pixel[i] = T(0);
                if (inside(place[1] + line[d], a.y.source) && inside(place[2] + column[d], a.x.source))
                    pixel[i] = static_cast<const T*>(a.source)[place[0] + offset[d]];
            }
            const int64_t at = number[ring_place(product + t % kDepth)];
            OWL_UNROLL
            for (int i = 0; i < kFilterEach; ++i) {
                const int64_t channel = first_channel + t / kDepth + i * (kConvThreads / kDepth);
                weight[i] = at >= 0 && channel < a.results ? filter[channel * a.result_step + at] : T(-0.0);
            }
        };
        const auto put = [&](int t, int panel, const T* pixel, const T* weight) {
            OWL_UNROLL
            for (int i = 0; i < kEach; ++i) {
                const int d = t / kConvPixels + i * (kConvThreads / kConvPixels);
                data[panel * kPanel + d * Tile::kPitch + t % kConvPixels] = Tile::taken(pixel[i]);
            }
            OWL_UNROLL
            for (int i = 0; i < kFilterEach; ++i) {
                const int channel = t / kDepth + i * (kConvThreads / kDepth);
                filters[panel * kFilterPanel + Tile::filter_place(channel, t % kDepth)] = Tile::taken(weight[i]);
            }
        };
        OWL_THREADS(t) {
            T pixel[kEach], weight[kFilterEach];
            fetch(t, 0, pixel, weight);
            put(t, 0, pixel, weight);
        }
        OWL_BARRIER();
        int now = 0;  // the panel in hand
        OWL_ROLLED
        for (int64_t product = 0; product < products; product += kDepth) {
            const int64_t next = product + kDepth;
            OWL_THREADS(t) {
                T pixel[kEach], weight[kFilterEach];
                if (next < products) fetch(t, next, pixel, weight);
                if (next % kConvDescribed == 0 && t < kConvDescribed) describe(next + kConvDescribed + t);
                Tile::multiply(data, now * kPanel, filters, now * kFilterPanel, t, OWL_OWN(sum, t));
                if (next < products) put(t, 1 - now, pixel, weight);
            }
            OWL_BARRIER();
            now = 1 - now;
        }
        OWL_THREADS(t) {
            const int64_t channel_of_thread = first_channel + Tile::first_channel(t);
            if constexpr (pools) {
                OWL_UNROLL
                for (int w = 0; w < kWide / kConvPooled; ++w) {
                    T of_window[kHigh * kConvPooled];
                    OWL_UNROLL
                    for (int e = 0; e < kHigh * kConvPooled; ++e)
                        of_window[e] = sum[Tile::own(e / kConvPooled, e % kConvPooled * (kWide / kConvPooled) + w)];
                    const int64_t window = first_pixel + Tile::pixel(t, w) % kResults;
                    store_pooled<T, kHigh, Tile::kRows>(a, of_window, window, group, channel_of_thread);
                }
            } else {
                OWL_UNROLL
                for (int j = 0; j < kWide; ++j) {
                    int64_t image = first_pixel + Tile::pixel(t, j);
                    const int64_t at_x = take_digit(image, known[kPixelsX]) * a.x.classes + known[kClassX];
                    const int64_t at_y = take_digit(image, known[kPixelsY]) * a.y.classes + known[kClassY];
                    if (image >= a.batch) continue;
                    OWL_UNROLL
                    for (int i = 0; i < kHigh; ++i) {
                        const int64_t channel = channel_of_thread + i * Tile::kRows;
                        if (channel >= a.results) continue;
                        const int64_t all = group * a.results + channel;
                        T value = sum[Tile::own(i, j)];
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

}  // namespace cuda
}  // namespace owl
