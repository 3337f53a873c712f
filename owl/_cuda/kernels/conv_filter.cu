// The gradients of a convolution's filter and bias: sums over positions, which are the pixels of the result in all images.
//
// Order of a filter's number: positions are cut into parts; a part into stretches of kConvStretch positions, whose products are
// added by fma, from 0; the stretches' sums are added in order; then the parts' sums in order, in a launch of its own. A pixel
// beyond the data's edge adds a product with 0. Of the bias: each of a part's lanes adds every kConvThreads-th position, then
// halves of the lanes are added; then the parts.
//
// So an error is at most (roundings + 1) * u * (sum of the terms' sizes), where u is 2^-24 or 2^-53 and the roundings in a row are
//   filter: kConvStretch + part_positions / kConvStretch + parts
//   bias:   part_positions / kConvThreads + 7 + parts
// The sums and their bits depend on shapes alone. They are others than on the CPU.
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/scalars.h"
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {

// A block makes the sums of one part for a tile of output channels times numbers of the filter.
template <class T, int kOutputs>
OWL_DEVICE void correlate_tiles(const ConvGradientLaunch& a) {
    constexpr int kColumns = 16, kRows = kConvThreads / kColumns;  // of threads: numbers and output channels
    constexpr int kWide = kConvNumbers / kColumns, kHigh = kOutputs / kRows;
    constexpr int kOutputPitch = kOutputs + 1, kNumberPitch = kConvNumbers + 1;  // for different banks
    constexpr int kOutputPanel = kConvDepth * kOutputPitch, kNumberPanel = kConvDepth * kNumberPitch;
    // Two panels of each: while the threads multiply one, they fetch the next.
    OWL_SHARED(T, gradient, 2 * kOutputPanel);
    OWL_SHARED(T, data, 2 * kNumberPanel);
    // Of the positions of four panels: the place in y_diff and in x, and the line and the column in x.
    OWL_SHARED(int64_t, place_y, 2 * kConvDescribed);
    OWL_SHARED(int64_t, place_x, 2 * kConvDescribed);
    OWL_SHARED(int64_t, line, 2 * kConvDescribed);
    OWL_SHARED(int64_t, column, 2 * kConvDescribed);
    // Of the filter's numbers: the offsets to add to these.
    OWL_SHARED(int64_t, offset, kConvNumbers);
    OWL_SHARED(int64_t, down, kConvNumbers);
    OWL_SHARED(int64_t, right, kConvNumbers);
    OWL_PRIVATE(T, sum, kHigh * kWide);
    OWL_PRIVATE(T, total, kHigh * kWide);

    const ConvolutionSizes& s = a.sizes;
    const int64_t in = s.c_in / s.groups, out = s.c_out / s.groups, area = s.kw * s.kh, numbers = in * area;
    const int64_t positions = s.out_w * s.out_h * s.batch;
    const int64_t output_tiles = tiles_of(out, kOutputs), number_tiles = tiles_of(numbers, kConvNumbers);
    const int64_t tiles = output_tiles * number_tiles * s.groups * a.parts;
    for (int64_t tile = OWL_BLOCK(); tile < tiles; tile += OWL_BLOCKS()) {
        int64_t part = tile;
        const int64_t first_output = take_digit(part, output_tiles) * kOutputs;
        const int64_t first_number = take_digit(part, number_tiles) * kConvNumbers;
        const int64_t group = take_digit(part, s.groups);
        const int64_t first = part * a.part_positions, last = smaller(first + a.part_positions, positions);

        const auto describe = [&](int64_t position) {
            const int d = ring_place(position);
            if (position >= last) {
                place_y[d] = -1;
                line[d] = kFarAway;
                return;
            }
            int64_t image = position;
            const int64_t at_x = take_digit(image, s.out_w), at_y = take_digit(image, s.out_h);
            place_y[d] = (image * s.c_out * s.out_h + at_y) * s.out_w + at_x;
            line[d] = at_y * s.stride_h - s.pad_h;
            column[d] = at_x * s.stride_w - s.pad_w;
            place_x[d] = (image * s.c_in * s.h + at_y * s.stride_h - s.pad_h) * s.w + at_x * s.stride_w - s.pad_w;
        };

        OWL_THREADS(t) {
            if (t < kConvNumbers) {
                int64_t channel = first_number + t;
                const bool exists = channel < numbers;
                const int64_t tap_x = take_digit(channel, s.kw), tap_y = take_digit(channel, s.kh);
                down[t] = exists ? tap_y * s.dilation_h : kFarAway;
                right[t] = tap_x * s.dilation_w;
                offset[t] = ((group * in + channel) * s.h + tap_y * s.dilation_h) * s.w + tap_x * s.dilation_w;
            }
            if (t < kConvDescribed) describe(first + t);
            OWL_UNROLL
            for (int i = 0; i < kHigh * kWide; ++i) sum[i] = total[i] = T(0);
        }
        OWL_BARRIER();
        // A thread's share of the panel from a position on, from memory to `slope` and `value`, and from there to shared memory.
        constexpr int kEach = kConvDepth * kConvNumbers / kConvThreads, kStep = kConvThreads / kConvDepth;
        constexpr int kOutputEach = (kOutputs + kStep - 1) / kStep;
        const auto fetch = [&](int t, int64_t position, T* slope, T* value) {
            const int d = ring_place(position + t % kConvDepth);
            const int64_t at = place_y[d], from = place_x[d], at_y = line[d], at_x = column[d];
            const T* y_diff = static_cast<const T*>(a.y_diff) + group * out * s.out_h * s.out_w + at;
            OWL_UNROLL
            for (int i = 0; i < kOutputEach; ++i) {
                const int output = t / kConvDepth + i * kStep;
                slope[i] = T(-0.0);
                if (at >= 0 && output < kOutputs && first_output + output < out)
                    slope[i] = y_diff[(first_output + output) * s.out_h * s.out_w];
            }
            OWL_UNROLL
            for (int i = 0; i < kEach; ++i) {
                const int n = t / kConvDepth + i * kStep;
                value[i] = T(0);
                if (inside(at_y + down[n], s.h) && inside(at_x + right[n], s.w))
                    value[i] = static_cast<const T*>(a.x)[from + offset[n]];
            }
        };
        const auto put = [&](int t, int panel, const T* slope, const T* value) {
            const int at = panel * kOutputPanel + t % kConvDepth * kOutputPitch + t / kConvDepth;
            OWL_UNROLL
            for (int i = 0; i < kOutputEach; ++i)
                if (t / kConvDepth + i * kStep < kOutputs) gradient[at + i * kStep] = slope[i];
            const int to = panel * kNumberPanel + t % kConvDepth * kNumberPitch + t / kConvDepth;
            OWL_UNROLL
            for (int i = 0; i < kEach; ++i) data[to + i * kStep] = value[i];
        };
        if (first < last) {
            OWL_THREADS(t) {
                T slope[kOutputEach], value[kEach];
                fetch(t, first, slope, value);
                put(t, 0, slope, value);
            }
        }
        OWL_BARRIER();
        int now = 0;  // the panel in hand
        OWL_ROLLED
        for (int64_t position = first; position < last; position += kConvDepth) {
            const int64_t next = position + kConvDepth, done = next - first;
            const bool ends = done % kConvStretch == 0 || next >= last;
            OWL_THREADS(t) {
                T slope[kOutputEach], value[kEach];
                if (next < last) fetch(t, next, slope, value);
                if ((position - first) % kConvDescribed == 0 && t < kConvDescribed) describe(position + kConvDescribed + t);
                for (int d = 0; d < kConvDepth; ++d) {
                    T x[kWide];
                    OWL_UNROLL
                    for (int j = 0; j < kWide; ++j)
                        x[j] = data[now * kNumberPanel + d * kNumberPitch + t % kColumns + j * kColumns];
                    OWL_UNROLL
                    for (int i = 0; i < kHigh; ++i) {
                        const T g = gradient[now * kOutputPanel + d * kOutputPitch + t / kColumns + i * kRows];
                        OWL_UNROLL
                        for (int j = 0; j < kWide; ++j) sum[i * kWide + j] = fma(x[j], g, sum[i * kWide + j]);
                    }
                }
                OWL_UNROLL
                for (int i = 0; i < kHigh * kWide; ++i) {
                    if (!ends) continue;
                    total[i] = total[i] + sum[i];
                    sum[i] = T(0);
                }
                if (next < last) put(t, 1 - now, slope, value);
            }
            OWL_BARRIER();
            now = 1 - now;
        }
        OWL_THREADS(t) {
            T* result = static_cast<T*>(a.part) + part * a.elements;
            OWL_UNROLL
            for (int j = 0; j < kWide; ++j) {
                const int64_t n = first_number + t % kColumns + j * kColumns;
                if (n >= numbers) continue;
                const int64_t tap = n - quotient(n, area) * area;
                OWL_UNROLL
                for (int i = 0; i < kHigh; ++i) {
                    const int64_t output = first_output + t / kColumns + i * kRows;
                    if (output < out) result[(group * out + output) * numbers + n + area - 1 - 2 * tap] = total[i * kWide + j];
                }
            }
        }
    }
}

// A block makes the sum of one part for a channel.
template <class T>
OWL_DEVICE void add_positions(const ConvGradientLaunch& a) {
    OWL_SHARED(T, lane, kConvThreads);
    const ConvolutionSizes& s = a.sizes;
    const int64_t plane = s.out_w * s.out_h, positions = plane * s.batch;
    for (int64_t tile = OWL_BLOCK(); tile < s.c_out * a.parts; tile += OWL_BLOCKS()) {
        int64_t part = tile;
        const int64_t channel = take_digit(part, s.c_out);
        const int64_t first = part * a.part_positions, last = smaller(first + a.part_positions, positions);
        OWL_THREADS(t) {
            T sum = T(0);
            for (int64_t position = first + t; position < last; position += kConvThreads) {
                int64_t image = position;
                const int64_t pixel = take_digit(image, plane);
                sum = sum + static_cast<const T*>(a.y_diff)[(image * s.c_out + channel) * plane + pixel];
            }
            lane[t] = sum;
        }
        OWL_BARRIER();
        for (int half = kConvThreads / 2; half; half /= 2) {
            OWL_THREADS(t) if (t < half) lane[t] = lane[t] + lane[t + half];
            OWL_BARRIER();
        }
        OWL_THREADS(t) if (t == 0) static_cast<T*>(a.part)[part * a.elements + channel] = lane[0];
    }
}

// The parts' sums in order, where there are several.
template <class T>
OWL_DEVICE void add_parts(const ConvGradientLaunch& a) {
    OWL_THREADS(t) {
        for (int64_t at = OWL_BLOCK() * kConvThreads + t; at < a.elements; at += OWL_BLOCKS() * kConvThreads) {
            const T* part = static_cast<const T*>(a.part) + at;
            T sum = part[0];
            for (int64_t p = 1; p < a.parts; ++p) sum = sum + part[p * a.elements];
            static_cast<T*>(a.gradient)[at] = sum;
        }
    }
}

}  // namespace cuda
}  // namespace owl

#define OWL_CONV_GRADIENTS(T, type)                                             \
    OWL_KERNEL_AT_ONCE(conv_filter_##type, owl::cuda::ConvGradientLaunch, owl::cuda::kConvThreads, 4) { \
        owl::cuda::correlate_tiles<T, owl::cuda::kConvOutputs<T>>(a);           \
    }                                                                           \
    OWL_KERNEL_AT_ONCE(conv_filter_few_##type, owl::cuda::ConvGradientLaunch, owl::cuda::kConvThreads, 5) { \
        owl::cuda::correlate_tiles<T, owl::cuda::kConvFewOutputs>(a);           \
    }                                                                           \
    OWL_KERNEL(conv_bias_##type, owl::cuda::ConvGradientLaunch) {               \
        owl::cuda::add_positions<T>(a);                                         \
    }                                                                           \
    OWL_KERNEL(conv_parts_##type, owl::cuda::ConvGradientLaunch) {              \
        owl::cuda::add_parts<T>(a);                                             \
    }
OWL_CONV_GRADIENTS(float, f32)
OWL_CONV_GRADIENTS(double, f64)
#undef OWL_CONV_GRADIENTS
