#include "kernels.h"

#include <exception>
#include <map>
#include <type_traits>

#include "_cuda/kernels/accesses.h"
#include "_cuda/kernels/simt.cuh"

// The texts are compiled each for itself.
using namespace owl::cuda;
#define OWL_CUDA_KERNEL(name, Args, threads) void name(const Args&);
#include "_cuda/kernels/catalogue.def"
#undef OWL_CUDA_KERNEL

namespace owl {
namespace cuda {

namespace {

template <class Args>
void visit(void* arguments, Widths types, const Kernel::Visit& visitor) {
    Args& args = *static_cast<Args*>(arguments);
    visit_accesses(args, [&](auto& field, bool written) {
        if (!field) return;
        using Pointer = std::remove_reference_t<decltype(field)>;
        field = const_cast<Pointer>(visitor(field, written, span(args, &field, types)));
    });
}

template <class Args, void (*kernel)(const Args&), int threads>
std::string run(const char* name, const void* arguments, int64_t blocks, uint64_t seed) {
    static_assert(sizeof(Args) <= kMostArgumentBytes && threads <= 1024, "no driver takes it");
    try {
        simt::launch(name, kernel, *static_cast<const Args*>(arguments), blocks, threads, seed);
    } catch (const std::exception& error) {
        simt::block() = nullptr;
        return error.what();
    }
    return "";
}

std::map<std::string, Kernel> all_kernels() {
    std::map<std::string, Kernel> kernels;
#define OWL_CUDA_KERNEL(name, Args, threads) \
    kernels[#name] = {#name, sizeof(Args), static_cast<unsigned>(threads), visit<Args>, run<Args, ::name, threads>};
#include "_cuda/kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
    return kernels;
}

}  // namespace

const Kernel* find_kernel(const std::string& name) {
    static const auto& kernels = *new std::map<std::string, Kernel>(all_kernels());
    const auto found = kernels.find(name);
    return found == kernels.end() ? nullptr : &found->second;
}

}  // namespace cuda
}  // namespace owl
