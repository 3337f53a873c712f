// Convolution, and its adjoint in the data.
//
// An element of the result has one accumulator, from 0, and adds its products by fma: by channel of the source, then by row of
// the filter, then by column. A tap beyond the source's edge adds a product with 0. That is the order of the CPU's direct
// algorithm, so the bits are its bits. A bias is added last.
//
// Where a group has more than a few channels, a block makes a tile of pixels, all of one class, times channels: a matrix
// product through shared memory, whose left factor is never stored (implicit GEMM). A product beyond the last one is
// 0 * -0, which changes no sum, not even -0.
#include "conv.cuh"

namespace owl {
namespace cuda {

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

#define OWL_CONV_TILES(name, T, channels, pools, blocks)                                            \
    OWL_KERNEL_AT_ONCE(name, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, blocks) {              \
        owl::cuda::convolve_tiles<T, owl::cuda::ConvTile<T, channels>, pools>(a);                   \
    }
#define OWL_CONV(T, type, narrow_blocks)                                                            \
    OWL_CONV_TILES(conv_wide_##type, T, owl::cuda::kConvWide<T>, false, 4)                          \
    OWL_CONV_TILES(conv_pool_wide_##type, T, owl::cuda::kConvWide<T>, true, 4)                      \
    OWL_CONV_TILES(conv_pool_narrow_##type, T, owl::cuda::kConvNarrow, true, narrow_blocks)         \
    OWL_CONV_TILES(conv_narrow_##type, T, owl::cuda::kConvNarrow, false, narrow_blocks)             \
    OWL_KERNEL_AT_ONCE(conv_single_##type, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {     \
        owl::cuda::convolve_single<T>(a);                                                           \
    }
OWL_CONV(float, f32, 5)
OWL_CONV(double, f64, 4)
#undef OWL_CONV
#undef OWL_CONV_TILES
