// Convolution of float32 numbers on tensor cores, and its adjoint in the data, where set_matmul_precision("high") allows it.
//
// Data and filters are rounded to TF32, which has 10 bits of mantissa, to nearest, ties away from 0. Their products are exact in
// float32 and are added in float32, in an order that the hardware chooses. The bias, relu and pooling are conv.cu's.
//
// The bound: a rounded number is off by a factor of at most 1 + 2^-11. How tensor cores round a sum is not documented; where they
// cut it off, an addition is off by at most 1 + 2^-23. Without overflow and underflow, a sum of k products is off by at most
//   ((1 + 2^-11)^2 * (1 + 2^-23)^k - 1) * (sum of the products' sizes), which is about 2^-10 + k * 2^-23 of it.
// Wherever an element is in a tile, its products are handed in by the same eights. A GPU before compute capability 8.0 has no
// such tensor cores: there the kernels are conv.cu's, which round no number.
#include "conv.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define OWL_TENSOR_CORES 1
#else
#define OWL_TENSOR_CORES 0
#endif

namespace owl {
namespace cuda {

OWL_DEVICE float rounded_to_tf32(float x) {
    uint32_t bits = as_bits(x);
#if OWL_TENSOR_CORES
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
    if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & ~0x1fffu;  // neither an infinity nor a NaN
#endif
    return from_bits(bits);
}

// Four warps have 32 channels times 32 pixels each, as 2 times 4 fragments of 16 channels and 8 pixels, to which one instruction
// adds 8 products. It takes and gives them as PTX's m16n8k8 has them: thread (g, q) of a warp, 8 times 4, has
//   of the filters, channels g and g + 8 times products q and q + 4;
//   of the data, products q and q + 4 of pixel g;
//   of the sums, channels g and g + 8 times pixels 2 q and 2 q + 1.
// Pixels of a window are in the fragments of one thread.
struct TensorTile {
    static constexpr int kChannels = kConvWide<float>, kDepth = 16;
    static constexpr int kRows = 8, kHigh = 4, kWide = 8;
    static constexpr int kTall = 2, kLong = 4, kSums = 4;  // a thread's fragments of channels and of pixels, and sums of each
    static constexpr int kStep = 8;                        // products
    // So that the numbers of a fragment lie in different banks.
    static constexpr int kPitch = kConvPixels + 8, kFilterPitch = kDepth + 4, kFilterPanel = kChannels * kFilterPitch;
    static_assert(kChannels == 64 && kConvPixels == 64 && kConvThreads == 128, "four warps share a tile");

    OWL_DEVICE static int filter_place(int channel, int d) { return channel * kFilterPitch + d; }
    OWL_DEVICE static int g(int t) { return t % 32 / 4; }
    OWL_DEVICE static int q(int t) { return t % 4; }
    OWL_DEVICE static int fragment_pixel(int t, int j) { return j * (kConvPixels / kLong) + t / 32 % 2 * 8; }
    OWL_DEVICE static int pixel(int t, int j) { return fragment_pixel(t, j / 2) + 2 * q(t) + j % 2; }
    OWL_DEVICE static int first_channel(int t) { return t / 64 * 32 + g(t); }
    OWL_DEVICE static int own(int i, int j) { return (i / 2 * kLong + j / 2) * kSums + i % 2 * 2 + j % 2; }
    OWL_DEVICE static float taken(float number) { return rounded_to_tf32(number); }

    // A thread's numbers r of its fragments i and j, whose products begin at d.
    template <class Filters>
    OWL_DEVICE static float filter_number(Filters& filters, int panel, int t, int d, int i, int r) {
        return filters[panel + filter_place(first_channel(t) + i * 16 + r % 2 * 8, d + q(t) + r / 2 * 4)];
    }
    template <class Data>
    OWL_DEVICE static float data_number(Data& data, int panel, int t, int d, int j, int r) {
        return data[panel + (d + q(t) + r * 4) * kPitch + fragment_pixel(t, j) + g(t)];
    }

#if OWL_TENSOR_CORES
    template <class Data, class Filters>
    OWL_DEVICE static void multiply(Data& data, int panel, Filters& filters, int filter_panel, int t, float* sum) {
        __syncwarp();
        OWL_UNROLL
        for (int d = 0; d < kDepth; d += kStep) {
            uint32_t f[kTall][4], x[kLong][2];
            OWL_UNROLL
            for (int i = 0; i < kTall; ++i)
                OWL_UNROLL
                for (int r = 0; r < 4; ++r) f[i][r] = as_bits(filter_number(filters, filter_panel, t, d, i, r));
            OWL_UNROLL
            for (int j = 0; j < kLong; ++j)
                OWL_UNROLL
                for (int r = 0; r < 2; ++r) x[j][r] = as_bits(data_number(data, panel, t, d, j, r));
            OWL_UNROLL
            for (int i = 0; i < kTall; ++i)
                OWL_UNROLL
                for (int j = 0; j < kLong; ++j) add_products(f[i], x[j], sum + (i * kLong + j) * kSums);
        }
    }
    OWL_DEVICE static void add_products(const uint32_t* f, const uint32_t* x, float* sum) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(f[0]), "r"(f[1]), "r"(f[2]), "r"(f[3]), "r"(x[0]), "r"(x[1]));
    }
#else
    // In C++ a thread does its part of the instruction with the numbers that the others of its warp would hand in.
    template <class Data, class Filters>
    OWL_DEVICE static void multiply(Data& data, int panel, Filters& filters, int filter_panel, int t, float* sum) {
        const int warp = t / 32 * 32;
        for (int d = 0; d < kDepth; d += kStep)
            for (int s = 0; s < kTall * kLong * kSums; ++s) {
                const int i = s / kSums / kLong, j = s / kSums % kLong, row = g(t) + s % kSums / 2 * 8, column = 2 * q(t) + s % 2;
                for (int k = 0; k < kStep; ++k) {
                    const int filter_owner = warp + row % 8 * 4 + k % 4, data_owner = warp + column * 4 + k % 4;
                    const float f = filter_number(filters, filter_panel, filter_owner, d, i, row / 8 + k / 4 * 2);
                    sum[s] = fma(f, data_number(data, panel, data_owner, d, j, k / 4), sum[s]);
                }
            }
    }
#endif
};

#if defined(__CUDA_ARCH__) && !OWL_TENSOR_CORES
using TileOfTf32 = ConvTile<float, kConvWide<float>>;
#else
using TileOfTf32 = TensorTile;
#endif

}  // namespace cuda
}  // namespace owl

OWL_KERNEL_AT_ONCE(conv_tf32, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {
    owl::cuda::convolve_tiles<float, owl::cuda::TileOfTf32, false>(a);
}
OWL_KERNEL_AT_ONCE(conv_pool_tf32, owl::cuda::ConvLaunch, owl::cuda::kConvThreads, 4) {
    owl::cuda::convolve_tiles<float, owl::cuda::TileOfTf32, true>(a);
}
