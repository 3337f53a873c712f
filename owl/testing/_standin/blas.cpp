// cuBLAS, as far as owl calls it: it holds each call against what cuBLAS demands and what owl means, and computes by owl's own
// kernel.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "_cuda/blas.h"
#include "_cuda/kernels/args.h"
#include "abi.h"
#include "launches.h"

namespace owl {
namespace cuda {

#define OWL_BLAS(result, name, symbol, parameters) OWL_STANDIN_EXPORT result symbol parameters;
#include "_cuda/blas.def"
#undef OWL_BLAS

struct cublasContext {
    int number = 0;  // from 1
    CUctx_st* context = nullptr;
    CUstream_st* stream = nullptr;
    Place workspace;
    size_t workspace_bytes = 0;
};

namespace {

// As cublas_api.h has them.
constexpr BlasStatus kNotReadyYet = 1, kInvalid = 7, kInternal = 14, kUnsupported = 15;
constexpr size_t kWorkspaceAlignment = 256;

// Both guarded by the state's lock.
Handles<cublasContext>& handles() {
    static auto& all = *new Handles<cublasContext>;
    return all;
}
std::string& products() {
    static auto& lines = *new std::string;
    return lines;
}

const char* name_of(BlasStatus status) {
    switch (status) {
        case 0: return "CUBLAS_STATUS_SUCCESS";
        case kNotReadyYet: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case 3: return "CUBLAS_STATUS_ALLOC_FAILED";
        case kInvalid: return "CUBLAS_STATUS_INVALID_VALUE";
        case 8: return "CUBLAS_STATUS_ARCH_MISMATCH";
        case 13: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case kInternal: return "CUBLAS_STATUS_INTERNAL_ERROR";
        case kUnsupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return nullptr;
    }
}

// One call of cuBLAS. What the driver refuses is an internal error there.
template <class Body>
BlasStatus blas_call(const char* symbol, BlasHandle handle, Body body) {
    const BlasStatus status = call(symbol, Needs::context, [&](State& now, Lock&) -> BlasStatus {
        if (!handles().lives(handle)) return kNotReadyYet;
        if (handle->context != current_context()) {
            now.add_problem(std::string(symbol) + " is called while another device's context is current");
            return kInternal;
        }
        return body(now);
    });
    return !status || name_of(status) ? status : kInternal;
}

struct Request {
    int transpose_a, transpose_b, m, n, k;
    int lda, ldb, ldc, a_type, b_type, c_type, compute, algorithm;
};

// "" or what is wrong with a product.
std::string check(const Request& r) {
    if (r.transpose_a < 0 || r.transpose_a > 1 || r.transpose_b < 0 || r.transpose_b > 1) return "an unknown transposition";
    if (r.m < 0 || r.n < 0 || r.k < 0) return "a negative dimension";
    if (r.lda < std::max(1, r.transpose_a ? r.k : r.m)) return "a's leading dimension is too small";
    if (r.ldb < std::max(1, r.transpose_b ? r.n : r.k)) return "b's leading dimension is too small";
    if (r.ldc < std::max(1, r.m)) return "c's leading dimension is too small";
    return "";
}

bool are_types_known(const Request& r) {
    if (r.a_type != r.b_type || r.a_type != r.c_type || r.algorithm != kBlasDefaultAlgorithm || r.ldc != r.m) return false;
    if (r.a_type == kBlasDouble) return r.compute == kBlasCompute64;
    return r.a_type == kBlasFloat && (r.compute == kBlasCompute32 || r.compute == kBlasComputeTf32);
}

template <class T>
bool is_number(const void* given, T wanted) {
    T number;
    std::memcpy(&number, given, sizeof number);
    return number == wanted;
}
bool is_plain(const void* alpha, const void* beta, bool doubles) {
    if (!alpha || !beta) return false;
    return doubles ? is_number(alpha, 1.0) && is_number(beta, 0.0) : is_number(alpha, 1.0f) && is_number(beta, 0.0f);
}

void remember(const cublasContext& handle, const Request& r) {
    char line[256];
    std::snprintf(line, sizeof line,
                  "handle=%d stream=%d workspace=%zu transpose_a=%d transpose_b=%d m=%d n=%d k=%d lda=%d ldb=%d ldc=%d type=%d "
                  "compute=%d\n",
                  handle.number, handle.stream->number, handle.workspace_bytes, r.transpose_a, r.transpose_b, r.m, r.n, r.k, r.lda,
                  r.ldb, r.ldc, r.a_type, r.compute);
    products() += line;
}

GemmLaunch launch_of(const Request& r, const void* a, const void* b, void* c) {
    GemmLaunch launch{};
    launch.m = r.m;
    launch.n = r.n;
    launch.k = r.k;
    launch.a_row = r.transpose_a ? r.lda : 1;
    launch.a_col = r.transpose_a ? 1 : r.lda;
    launch.b_row = r.transpose_b ? r.ldb : 1;
    launch.b_col = r.transpose_b ? 1 : r.ldb;
    launch.a = a;
    launch.b = b;
    launch.c = c;
    return launch;
}

// Puts a product into the handle's stream. cuBLAS writes into its workspace whenever it likes.
void issue_product(State& now, cublasContext& handle, const Request& r, const GemmLaunch& launch) {
    using Tile = SmallTile<float>;
    const Kernel& kernel = *find_kernel(r.a_type == kBlasDouble ? "gemm_f64_small" : "gemm_f32_small");
    CUstream_st& stream = *handle.stream;
    const Touch by = tick(now, stream, "cublasGemmEx");
    if (kChecked) {
        const Place& place = handle.workspace;
        const std::string race =
            place.block->history.touch(place.offset, place.offset + handle.workspace_bytes, true, stream.clock, by);
        if (!race.empty()) now.add_problem(race);
    }
    const auto* given = reinterpret_cast<const char*>(&launch);
    auto arguments = std::make_shared<std::vector<char>>(given, given + sizeof launch);
    std::vector<Place> places;
    const std::string wrong = translate(now, kernel, stream, stream.clock, by, *arguments, places);
    if (!wrong.empty()) now.add_problem(wrong);
    const int64_t down = (r.m + Tile::kRows - 1) / Tile::kRows, across = (r.n + Tile::kColumns - 1) / Tile::kColumns;
    Operation operation;
    operation.breaks = now.broken_launch.hit() || !wrong.empty();
    operation.work = [&kernel, arguments, places, blocks = down * across, seed = now.seed + by.number] {
        return kernel.run(kernel.name.c_str(), arguments->data(), blocks, seed);
    };
    issue(now, stream, std::move(operation));
}

}  // namespace

BlasStatus cublasCreate_v2(BlasHandle* handle) {
    const BlasStatus status = call("cublasCreate_v2", Needs::context, [&](State&, Lock&) -> BlasStatus {
        if (!handle) return kInvalid;
        *handle = handles().make();
        (*handle)->number = static_cast<int>(handles().size());
        (*handle)->context = current_context();
        return kSuccess;
    });
    return !status || name_of(status) ? status : kInternal;
}

BlasStatus cublasDestroy_v2(BlasHandle handle) {
    return blas_call("cublasDestroy_v2", handle, [&](State&) -> BlasStatus {
        handles().retire(handle);
        return kSuccess;
    });
}

// cuBLAS then takes its workspace from a pool of its own again.
BlasStatus cublasSetStream_v2(BlasHandle handle, Stream stream) {
    return blas_call("cublasSetStream_v2", handle, [&](State& now) -> BlasStatus {
        if (!now.streams.lives(stream) || stream->context != handle->context) return kInvalid;
        handle->stream = stream;
        handle->workspace = {};
        handle->workspace_bytes = 0;
        return kSuccess;
    });
}

BlasStatus cublasSetWorkspace_v2(BlasHandle handle, void* workspace, size_t bytes) {
    return blas_call("cublasSetWorkspace_v2", handle, [&](State& now) -> BlasStatus {
        const Address address = reinterpret_cast<Address>(workspace);
        const Place place = now.memory.find(address, bytes);
        if (!place.block || place.block->device != handle->context->device || address % kWorkspaceAlignment) return kInvalid;
        handle->workspace = place;
        handle->workspace_bytes = bytes;
        return kSuccess;
    });
}

BlasStatus cublasGemmEx(BlasHandle handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha,
                        const void* a, int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c,
                        int c_type, int ldc, int compute, int algorithm) {
    return blas_call("cublasGemmEx", handle, [&](State& now) -> BlasStatus {
        const Request request{transpose_a, transpose_b, m, n, k, lda, ldb, ldc, a_type, b_type, c_type, compute, algorithm};
        const std::string wrong = check(request);
        if (!wrong.empty()) {
            now.add_problem("cublasGemmEx: " + wrong);
            return kInvalid;
        }
        if (!are_types_known(request) || !is_plain(alpha, beta, a_type == kBlasDouble)) return kUnsupported;
        if (!handle->stream || !handle->workspace.block) {
            now.add_problem(handle->stream ? "cublasGemmEx has no workspace of its own: its bits may change from call to call"
                                           : "cublasGemmEx is called without a stream");
            return kUnsupported;
        }
        if (!now.streams.lives(handle->stream)) return kInvalid;
        remember(*handle, request);
        if (m && n) issue_product(now, *handle, request, launch_of(request, a, b, c));
        return kSuccess;
    });
}

const char* cublasGetStatusName(BlasStatus status) { return name_of(status); }

// Takes what products were asked for, a line each, as far as they fit; returns the bytes of all that there were.
OWL_STANDIN_EXPORT size_t owl_standin_products(char* buffer, size_t size) {
    if (forked()) return 0;
    Lock lock(state().mutex);
    const std::string text = std::move(products());
    products().clear();
    if (size) {
        const size_t copied = std::min(size - 1, text.size());
        std::memcpy(buffer, text.data(), copied);
        buffer[copied] = 0;
    }
    return text.size();
}

}  // namespace cuda
}  // namespace owl
