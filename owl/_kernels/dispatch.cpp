// The choice of an instruction set, once, when the module is loaded.
#include "kernels.h"

#include <string.h>

namespace owl {
namespace {

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool runs_avx512() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

bool runs_avx2() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

const KernelTable* table_of_avx512() {
#if defined(__x86_64__)
    return &avx512::table;
#else
    return nullptr;
#endif
}

const KernelTable* table_of_avx2() {
#if defined(__x86_64__)
    return &avx2::table;
#else
    return nullptr;
#endif
}

}  // namespace

const KernelTable* select_kernels(const char* forced, const char** error) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    *error = nullptr;
    if (!forced || !*forced) {
        if (runs_avx512()) return table_of_avx512();
        if (runs_avx2()) return table_of_avx2();
        return &generic::table;
    }
    if (!strcmp(forced, "generic")) return &generic::table;
    if (!strcmp(forced, "avx512")) {
        if (runs_avx512()) return table_of_avx512();
        *error = "OWL_ISA=avx512: this machine does not run AVX-512 (F, BW, DQ, VL)";
    } else if (!strcmp(forced, "avx2")) {
        if (runs_avx2()) return table_of_avx2();
        *error = "OWL_ISA=avx2: this machine does not run AVX2 with FMA";
    } else {
        *error = "OWL_ISA must be avx512, avx2 or generic";
    }
    return nullptr;
}

}  // namespace owl
