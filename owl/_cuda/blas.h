// cuBLAS, NVIDIA's library of matrix products: opened where it is installed, for products that are large. No function here takes
// the GIL.
#pragma once
#include "_engine/graph/words.h"
#include "driver.h"

namespace owl {
namespace cuda {

struct Device;

// As cublas_api.h has them; its header is not needed to build owl.
using BlasStatus = int;
using BlasHandle = struct cublasContext*;
constexpr int kBlasFloat = 0, kBlasDouble = 1;  // CUDA_R_32F, CUDA_R_64F
constexpr int kBlasCompute32 = 68, kBlasCompute64 = 70, kBlasComputeTf32 = 77;
constexpr int kBlasDefaultAlgorithm = -1;

// A product of m x k and k x n numbers goes to cuBLAS if it has at least as many multiplications as one of matrices with this
// side, and no side is shorter than an eighth of it. Shapes alone decide. An estimate: no GPU has measured it.
constexpr int64_t kBlasBorder = 512;
bool is_blas_product(int64_t m, int64_t n, int64_t k, int64_t border);

struct BlasLibrary {
#define OWL_BLAS(result, name, symbol, parameters) result(*name) parameters = nullptr;
#include "blas.def"
#undef OWL_BLAS

    // cuBLAS's name for a status, such as "CUBLAS_STATUS_EXECUTION_FAILED".
    std::string describe(BlasStatus status) const;
};

// The library of that path; later calls return the first one's. nullptr where it cannot be opened or lacks a function: `error`
// says which.
const BlasLibrary* load_blas(const char* path, std::string* error);

// What computes the products of one stream.
struct Blas {
    const BlasLibrary* library = nullptr;
    BlasHandle handle = nullptr;
};

// Gives a device a handle for its compute stream, with a workspace of its own in the device's memory: cuBLAS promises equal bits
// for equal calls only then. `hopper`: compute capability 9.0 or later. Returns what went wrong; nothing if all is well. The
// device's context must be current. What is made lives as long as the process.
std::string open_blas(const BlasLibrary* library, bool hopper, Device* device);

// The arguments of a step that cuBLAS computes: c = a b, all in column-major order.
struct BlasProduct {
    const void *a, *b;
    void* c;
    int32_t m, n, k;
    int32_t lda, ldb;  // rows of a and b as they lie in memory
    bool a_transposed, b_transposed;
    DType dtype;
    Precision precision;
};

// By the executor's thread.
BlasStatus multiply(const Blas& blas, const BlasProduct& product);

}  // namespace cuda
}  // namespace owl
