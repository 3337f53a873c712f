// The CUDA kernels as C++, for ctypes, and two of its own that show what the checks of shared arrays find.
#include <cstring>
#include <map>
#include <string>

#include "_cuda/kernels/copy.cu"
#include "_cuda/kernels/elementwise.cu"

struct SumLaunch {
    const float* x;
    float* y;
};
constexpr int kSumThreads = 64;

template <bool kForgetful>
void add_halves(const SumLaunch& a) {
    OWL_SHARED(float, part, kSumThreads);
    OWL_THREADS(t) part[t] = a.x[t];
    OWL_BARRIER();
    for (int half = kSumThreads / 2; half; half /= 2) {
        OWL_THREADS(t) if (t < half) part[t] = part[t] + part[t + half];
        if (!kForgetful) OWL_BARRIER();
    }
    OWL_THREADS(t) if (t == 0) a.y[0] = part[0];
}
OWL_KERNEL(sum_with_barriers, SumLaunch) { add_halves<false>(a); }
OWL_KERNEL(sum_without_barriers, SumLaunch) { add_halves<true>(a); }

namespace {

using owl::cuda::ElementwiseLaunch;

template <class Args>
const char* guarded(const char* name, void (*kernel)(const Args&), const Args& args, int64_t blocks, int threads,
                    uint64_t seed) {
    static thread_local std::string error;
    try {
        owl::simt::launch(name, kernel, args, blocks, threads, seed);
    } catch (const owl::simt::Race& race) {
        error = race.what();
        return error.c_str();
    }
    return nullptr;
}

}  // namespace

extern "C" {

size_t elementwise_size() { return sizeof(ElementwiseLaunch); }

// nullptr, or what is wrong.
const char* run_elementwise(const char* name, const ElementwiseLaunch* args, int64_t blocks, uint64_t seed) {
#define OWL_ENTRY(name) {#name, name}
    static const std::map<std::string, void (*)(const ElementwiseLaunch&)> kernels = {
        OWL_ENTRY(elementwise_f32_i32_16), OWL_ENTRY(elementwise_f32_i32_64), OWL_ENTRY(elementwise_f32_i64_16),
        OWL_ENTRY(elementwise_f32_i64_64), OWL_ENTRY(elementwise_f64_i32_16), OWL_ENTRY(elementwise_f64_i32_64),
        OWL_ENTRY(elementwise_f64_i64_16), OWL_ENTRY(elementwise_f64_i64_64), OWL_ENTRY(elementwise_rows_f32_16),
        OWL_ENTRY(elementwise_rows_f32_64), OWL_ENTRY(elementwise_rows_f64_16), OWL_ENTRY(elementwise_rows_f64_64),
        OWL_ENTRY(elementwise_groups_f32), OWL_ENTRY(elementwise_groups_f64),
    };
    const auto kernel = kernels.find(name);
    if (kernel == kernels.end()) return "no such kernel";
    const bool doubles = std::strstr(name, "f64");
    return guarded(name, kernel->second, *args, blocks, doubles ? owl::cuda::kElementwiseThreads<double> : owl::cuda::kElementwiseThreads<float>,
                   seed);
}

const char* run_copy(const char* name, const owl::cuda::CopyLaunch* args, int64_t blocks, uint64_t seed) {
#define OWL_COPIES(types) OWL_ENTRY(copy_##types##_i32), OWL_ENTRY(copy_##types##_i64)
    static const std::map<std::string, void (*)(const owl::cuda::CopyLaunch&)> kernels = {
        OWL_COPIES(f32_f32), OWL_COPIES(f32_f64), OWL_COPIES(f64_f32), OWL_COPIES(f64_f64), OWL_COPIES(u8_f32),
        OWL_COPIES(u8_f64), OWL_COPIES(u8_u8), OWL_ENTRY(copy_transposed_4), OWL_ENTRY(copy_transposed_8),
    };
    const auto kernel = kernels.find(name);
    if (kernel == kernels.end()) return "no such kernel";
    return guarded(name, kernel->second, *args, blocks, owl::cuda::kCopyThreads, seed);
}

const char* run_sum(int barriers, const float* x, float* y, uint64_t seed) {
    const SumLaunch args{x, y};
    return barriers ? guarded("sum_with_barriers", sum_with_barriers, args, 1, kSumThreads, seed)
                    : guarded("sum_without_barriers", sum_without_barriers, args, 1, kSumThreads, seed);
}
}
