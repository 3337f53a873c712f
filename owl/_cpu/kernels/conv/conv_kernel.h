// Makes kernels of classes. A class computes one direction of a convolution by one algorithm, in two phases:
//
//   chunks(phase)                          how many there are
//   run_phase(phase, begin, end, memory)   computes some, with a thread's scratch memory
//   workspace()                            bytes that the phases share
//   Scratch(d, carver)                     the parts of the scratch memory
//
// All but `run_phase` are asked before the arrays are there, so they depend on shapes alone.
#pragma once
#include "conv_block.h"

namespace owl {
namespace OWL_ISA {
namespace {

// Each file has these for itself. GCC gives a template external linkage although its argument is a template of an
// unnamed namespace, and the linker would take classes of one name in two files for the same one.

// The class for the type of the numbers.
template <template <class> class Algorithm, bool... Adjoint>
struct ByDtype {
    template <class F>
    static auto with(const ConvArgs& a, F f) {
        return a.dtype == DType::f64 ? f(Algorithm<double>(a, Adjoint...)) : f(Algorithm<float>(a, Adjoint...));
    }
};

template <class Choice>
struct ConvKernel {
    static constexpr Kernel named(const char* name) { return {name, phases, chunks, run, scratch, workspace}; }

private:
    template <class F>
    static auto with(const void* args, F f) { return Choice::with(*static_cast<const ConvArgs*>(args), f); }

    static int phases(const void*) { return 2; }
    static int64_t chunks(const void* args, int phase) {
        return with(args, [&](const auto& d) { return d.chunks(phase); });
    }
    static void run(const void* args, int phase, int64_t begin, int64_t end, void* memory) {
        with(args, [&](const auto& d) { d.run_phase(phase, begin, end, memory); });
    }
    template <class D>
    static size_t scratch_of(const D& d) {
        Carver carver{nullptr};
        typename D::Scratch(d, carver);
        return carver.used;
    }
    static size_t scratch(const void* args) {
        return with(args, [](const auto& d) { return scratch_of(d); });
    }
    static size_t workspace(const void* args) {
        return with(args, [](const auto& d) { return size_t(d.workspace()); });
    }
};

}  // namespace
}  // namespace OWL_ISA
}  // namespace owl
