#include "kernels.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

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

template <class Args, class Body>
std::string run_body(const char* name, Body body, const void* arguments, int64_t blocks, int threads, uint64_t seed) {
    try {
        simt::launch(name, body, *static_cast<const Args*>(arguments), blocks, threads, seed);
    } catch (const std::exception& error) {
        simt::block() = nullptr;
        return error.what();
    }
    return "";
}

template <class Args, void (*kernel)(const Args&), int threads>
std::string run(const char* name, const void* arguments, int64_t blocks, uint64_t seed) {
    static_assert(sizeof(Args) <= kMostArgumentBytes && threads <= 1024, "no driver takes it");
    return run_body<Args>(name, kernel, arguments, blocks, threads, seed);
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

// A module has a copy of simt.cuh's variable of its own, and takes the block in hand with each call.
const Kernel* find_kernel(void* library, const std::string& name) {
    using Enter = void (*)(simt::Block*, const ElementwiseLaunch&);
    const auto enter = reinterpret_cast<Enter>(dlsym(library, ("enter_" + name).c_str()));
    if (!enter) return nullptr;
    const int threads = widths(name).to == 8 ? kElementwiseThreads<double> : kElementwiseThreads<float>;
    auto run = [enter, threads](const char* shown, const void* arguments, int64_t blocks, uint64_t seed) {
        auto body = [enter](const ElementwiseLaunch& args) { enter(simt::block(), args); };
        return run_body<ElementwiseLaunch>(shown, body, arguments, blocks, threads, seed);
    };
    return new Kernel{name, sizeof(ElementwiseLaunch), static_cast<unsigned>(threads), visit<ElementwiseLaunch>, run};
}

// The length of an ELF file stands in its head: the table of sections is its end.
void* open_module(const void* image) {
    if (std::strncmp(static_cast<const char*>(image), ELFMAG, SELFMAG)) return nullptr;
    Elf64_Ehdr head;
    std::memcpy(&head, image, sizeof head);
    const size_t bytes = head.e_shoff + size_t{head.e_shentsize} * head.e_shnum;
    // dlopen() knows libraries by their paths, so no number comes twice.
    static int last = STDERR_FILENO;
    const int memory = memfd_create("owl-module", MFD_CLOEXEC), file = fcntl(memory, F_DUPFD_CLOEXEC, last + 1);
    close(memory);
    if (file < 0) return nullptr;
    last = file;
    void* library = nullptr;
    if (write(file, image, bytes) == static_cast<ssize_t>(bytes))
        library = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
    close(file);
    return library;
}

}  // namespace cuda
}  // namespace owl
