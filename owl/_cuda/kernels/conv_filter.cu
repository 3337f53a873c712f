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
    OWL_SHARED(T, gradient, kConvDepth * kOutputPitch);
    OWL_SHARED(T, data, kConvDepth * kNumberPitch);
    // Of the positions in shared memory: the place in y_diff and in x, and the line and the column in x.
    OWL_SHARED(int64_t, place_y, kConvDepth);
    OWL_SHARED(int64_t, place_x, kConvDepth);
    OWL_SHARED(int64_t, line, kConvDepth);
    OWL_SHARED(int64_t, column, kConvDepth);
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

        const auto describe = [&](int d, int64_t position) {
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
            if (t < kConvDepth) describe(t, first + t);
            OWL_UNROLL
            for (int i = 0; i < kHigh * kWide; ++i) sum[i] = total[i] = T(0);
        }
        OWL_BARRIER();
        for (int64_t position = first; position < last; position += kConvDepth) {
            OWL_THREADS(t) {
                const int d = t % kConvDepth;
                const int64_t at = place_y[d], from = place_x[d], at_y = line[d], at_x = column[d];
                const T* y_diff = static_cast<const T*>(a.y_diff) + group * out * s.out_h * s.out_w + at;
                OWL_UNROLL
                for (int i = 0; i < kHigh; ++i) {
                    const int output = t / kConvDepth + i * (kConvThreads / kConvDepth);
                    T value = T(-0.0);
                    if (at >= 0 && first_output + output < out) value = y_diff[(first_output + output) * s.out_h * s.out_w];
                    gradient[d * kOutputPitch + output] = value;
                }
                OWL_UNROLL
                for (int i = 0; i < kConvDepth * kConvNumbers / kConvThreads; ++i) {
                    const int n = t / kConvDepth + i * (kConvThreads / kConvDepth);
                    T value = T(0);
                    if (inside(at_y + down[n], s.h) && inside(at_x + right[n], s.w))
                        value = static_cast<const T*>(a.x)[from + offset[n]];
                    data[d * kNumberPitch + n] = value;
                }
            }
            OWL_BARRIER();
            const int64_t done = position + kConvDepth - first;
            const bool ends = done % kConvStretch == 0 || first + done >= last;
            OWL_THREADS(t) {
                if (t < kConvDepth) describe(t, position + kConvDepth + t);
                for (int d = 0; d < kConvDepth; ++d) {
                    T x[kWide];
                    OWL_UNROLL
                    for (int j = 0; j < kWide; ++j) x[j] = data[d * kNumberPitch + t % kColumns + j * kColumns];
                    OWL_UNROLL
                    for (int i = 0; i < kHigh; ++i) {
                        const T g = gradient[d * kOutputPitch + t / kColumns + i * kRows];
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
            }
            OWL_BARRIER();
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
