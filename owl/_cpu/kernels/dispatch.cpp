// The choice of an instruction set, once, when the module is loaded.
#include "kernels.h"

#include <string.h>

namespace owl {
namespace {

struct InstructionSet {
    const KernelTable* table;
    bool (*runs)();  // on this machine, under this operating system
    const char* refusal;
};

// The best first. __builtin_cpu_supports also asks whether the operating system saves the wide registers.
const InstructionSet kInstructionSets[] = {
#ifndef OWL_ONLY_GENERIC
    {&avx512::table,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
     },
     "OWL_ISA=avx512: this machine does not run AVX-512 (F, BW, DQ, VL)"},
    {&avx2::table, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); },
     "OWL_ISA=avx2: this machine does not run AVX2 with FMA"},
#endif
    {&generic::table, [] { return true; }, ""},
};

}  // namespace

const KernelTable* select_kernels(const char* forced, const char** error) {
    *error = nullptr;
    const bool free_choice = !forced || !*forced;
    for (const InstructionSet& set : kInstructionSets) {
        if (!free_choice && strcmp(forced, set.table->isa)) continue;
        if (set.runs()) return set.table;
        if (free_choice) continue;
        *error = set.refusal;
        return nullptr;
    }
    *error = "OWL_ISA must be avx512, avx2 or generic";
    return nullptr;
}

}  // namespace owl
