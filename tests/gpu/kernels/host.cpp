// The CUDA kernels as C++, for ctypes, and two of its own that show what the checks of shared arrays find.
#include <cstring>
#include <string>

#include "_cuda/kernels/conv.cu"
#include "_cuda/kernels/conv_filter.cu"
#include "_cuda/kernels/conv_tf32.cu"
#include "_cuda/kernels/copy.cu"
#include "_cuda/kernels/cumsum.cu"
#include "_cuda/kernels/elementwise.cu"
#include "_cuda/kernels/gemm.cu"
#include "_cuda/kernels/gemm_program.cu"
#include "_cuda/kernels/lrn.cu"
#include "_cuda/kernels/pool.cu"
#include "_cuda/kernels/random.cu"
#include "_cuda/kernels/reduce.cu"
#include "_cuda/kernels/softmax.cu"
#include "_cuda/kernels/take.cu"

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

using namespace owl::cuda;

// By a kernel's name: -1 if the catalogue has it not.
int argument_bytes(const char* wanted) {
#define OWL_CUDA_KERNEL(name, Args, threads) \
    if (std::strcmp(wanted, #name) == 0) return static_cast<int>(sizeof(Args));
#include "_cuda/kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
    return -1;
}
int threads_of_a_block(const char* wanted) {
#define OWL_CUDA_KERNEL(name, Args, threads) \
    if (std::strcmp(wanted, #name) == 0) return threads;
#include "_cuda/kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
    return -1;
}

// nullptr, or what is wrong.
const char* run_kernel(const char* wanted, const void* args, int64_t blocks, uint64_t seed) {
#define OWL_CUDA_KERNEL(name, Args, threads) \
    if (std::strcmp(wanted, #name) == 0)     \
        return guarded(#name, name, *static_cast<const Args*>(args), blocks, threads, seed);
#include "_cuda/kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
    return "no such kernel";
}

const char* run_sum(int barriers, const float* x, float* y, uint64_t seed) {
    const SumLaunch args{x, y};
    return barriers ? guarded("sum_with_barriers", sum_with_barriers, args, 1, kSumThreads, seed)
                    : guarded("sum_without_barriers", sum_without_barriers, args, 1, kSumThreads, seed);
}
}
