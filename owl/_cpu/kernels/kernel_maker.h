// Makes kernels of functions: what most kernels have in common is written here once.
#pragma once
#include "kernels.h"
#include "lanes.h"

namespace owl {
namespace OWL_ISA {
namespace {

// Each file has these for itself, as conv_kernel.h says.

// Calls `f` with a zero of the type that the arrays have.
template <class F>
auto by_dtype(DType dtype, F f) { return dtype == DType::f64 ? f(double{}) : f(float{}); }

template <class Args>
size_t no_scratch(const Args&) { return 0; }

// A kernel of one phase that shares no workspace.
template <class Args, int64_t (*Chunks)(const Args&), void (*Run)(const Args&, int64_t begin, int64_t end, void* scratch),
          size_t (*ScratchBytes)(const Args&) = no_scratch<Args>>
struct OnePhaseKernel {
    static constexpr Kernel named(const char* name) { return {name, phases, chunks, run, scratch, workspace}; }

private:
    static const Args& arguments(const void* args) { return *static_cast<const Args*>(args); }
    static int phases(const void*) { return 1; }
    static int64_t chunks(const void* args, int) { return Chunks(arguments(args)); }
    static void run(const void* args, int, int64_t begin, int64_t end, void* scratch) {
        Run(arguments(args), begin, end, scratch);
    }
    static size_t scratch(const void* args) { return ScratchBytes(arguments(args)); }
    static size_t workspace(const void*) { return 0; }
};

}  // namespace
}  // namespace OWL_ISA
}  // namespace owl
