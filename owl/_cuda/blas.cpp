#include "blas.h"

#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>

#include "device.h"

namespace owl {
namespace cuda {
namespace {

// What NVIDIA recommends; but of a small device's memory not more than a small part.
constexpr size_t kWorkspace = size_t{4} << 20, kHopperWorkspace = size_t{32} << 20, kWorkspaceShare = 256;

size_t workspace_bytes(bool hopper, size_t total) {
    return std::min(hopper ? kHopperWorkspace : kWorkspace, total / kWorkspaceShare);
}

int compute_type(const BlasProduct& product) {
    if (product.dtype == DType::f64) return kBlasCompute64;
    return product.precision == Precision::high ? kBlasComputeTf32 : kBlasCompute32;
}

}  // namespace

bool is_blas_product(int64_t m, int64_t n, int64_t k, int64_t border) {
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // of cuBLAS's own arguments
    const auto side = static_cast<double>(border);
    const int64_t shortest = std::max<int64_t>(1, border / 8);
    return std::min({m, n, k}) >= shortest && std::max({m, n, k}) <= kMost &&
           static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) >= side * side * side;
}

std::string BlasLibrary::describe(BlasStatus status) const {
    const char* name = status_name(status);
    return name ? name : "status " + std::to_string(status);
}

const BlasLibrary* load_blas(const char* path, std::string* error) {
    static std::mutex mutex;
    static const BlasLibrary* loaded = nullptr;
    std::lock_guard<std::mutex> guard(mutex);
    if (loaded) return loaded;
    void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        *error = dlerror();
        return nullptr;
    }
    auto library = std::make_unique<BlasLibrary>();
#define OWL_BLAS(result, name, symbol, parameters)                                \
    library->name = reinterpret_cast<result(*) parameters>(dlsym(handle, #symbol)); \
    if (!library->name) {                                                         \
        *error = std::string(path) + " has no " #symbol;                          \
        dlclose(handle);                                                          \
        return nullptr;                                                           \
    }
#include "blas.def"
#undef OWL_BLAS
    return loaded = library.release();  // never closed: threads may outlive all that could
}

std::string open_blas(const BlasLibrary* library, bool hopper, Device* device) {
    BlasHandle handle = nullptr;
    if (const BlasStatus status = library->create(&handle)) return library->describe(status);
    const size_t bytes = workspace_bytes(hopper, device->total_bytes);
    Address workspace = 0;
    std::string problem;
    BlasStatus status = library->set_stream(handle, device->compute);  // which resets the workspace
    const Result refused = status ? kSuccess : device->driver->allocate(&workspace, bytes);
    if (refused) problem = "a workspace of " + std::to_string(bytes) + " bytes: " + device->driver->describe(refused);
    if (!status && !refused) status = library->set_workspace(handle, reinterpret_cast<void*>(workspace), bytes);
    if (status) problem = library->describe(status);
    if (problem.empty()) {
        device->blas = {library, handle};
        return {};
    }
    library->destroy(handle);
    if (workspace) device->driver->free(workspace);
    return problem;
}

BlasStatus multiply(const Blas& blas, const BlasProduct& product) {
    const bool doubles = product.dtype == DType::f64;
    const int type = doubles ? kBlasDouble : kBlasFloat;
    const double one = 1, zero = 0;
    const float one_f = 1, zero_f = 0;
    const void* alpha = doubles ? static_cast<const void*>(&one) : &one_f;
    const void* beta = doubles ? static_cast<const void*>(&zero) : &zero_f;
    return blas.library->multiply(blas.handle, product.a_transposed, product.b_transposed, product.m, product.n, product.k, alpha,
                                  product.a, type, product.lda, product.b, type, product.ldb, beta, product.c, type, product.m,
                                  compute_type(product), kBlasDefaultAlgorithm);
}

}  // namespace cuda
}  // namespace owl
