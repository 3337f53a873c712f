// Which bytes a kernel touches around the address of an argument: span(arguments, its field, types). A new argument struct needs
// one of these, beside its visit_accesses.
//
// Exact in its ends, so that the ends can be held against the block. What lies between the elements of a strided region counts.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "_cuda/kernels/args.h"

namespace owl {
namespace cuda {

struct Span {
    int64_t first, last;  // bytes from the address, `last` not included
};

// The bytes of the element types in a kernel's name: the first one's and the last one's.
struct Widths {
    int64_t from = 0, to = 0;
};

inline Widths widths(const std::string& kernel) {
    Widths found;
    for (size_t at = kernel.find('_'); at != std::string::npos; at = kernel.find('_', at + 1)) {
        const std::string word = kernel.substr(at + 1, kernel.find('_', at + 1) - at - 1);
        const bool tile = kernel.find("transposed") != std::string::npos;
        int64_t bytes = 0;
        if (word == "f64" || (tile && word == "8")) bytes = 8;
        if (word == "f32" || (tile && word == "4")) bytes = 4;
        if (word == "u8") bytes = 1;
        if (!bytes) continue;
        if (!found.from) found.from = bytes;
        found.to = bytes;
    }
    return found;
}

inline Span strided(const int64_t* shape, const int64_t* stride, int64_t ndim, int64_t width) {
    int64_t low = 0, high = 0;
    for (int64_t d = 0; d < ndim; ++d) {
        if (!shape[d]) return {0, 0};
        const int64_t reach = (shape[d] - 1) * stride[d];
        (reach < 0 ? low : high) += reach;
    }
    return {low * width, (high + 1) * width};
}

inline int64_t width(DType type) { return type == DType::f64 ? 8 : 4; }

// The number of the field among these, or -1.
template <class Fields>
int index_of(const void* field, const Fields& fields) {
    const auto at = static_cast<const char*>(field) - reinterpret_cast<const char*>(&fields[0]);
    return at >= 0 && at < static_cast<int64_t>(sizeof(fields)) ? static_cast<int>(at / static_cast<int64_t>(sizeof(void*))) : -1;
}

inline Span span(const ElementwiseLaunch& a, const void* field, Widths types) {
    auto index = [&](const auto& fields) { return index_of(field, fields); };
    const int64_t matrix[] = {a.rows, a.columns};
    const int64_t groups = std::max<int64_t>(1, (a.columns + kSumGroup - 1) / kSumGroup);
    if (const int k = index(a.input); k >= 0)
        return a.n_sums ? strided(matrix, a.stride[k], 2, width(a.input_type[k]))
                        : strided(a.shape, a.stride[k], a.ndim, width(a.input_type[k]));
    if (const int k = index(a.output); k >= 0)
        return {0, (a.n_sums ? a.rows * a.columns : a.size) * width(a.output_type[k])};
    return {0, a.rows * (index(a.part) >= 0 ? groups : 1) * types.to};
}

inline Span span(const CopyLaunch& a, const void* field, Widths types) {
    const bool from = field == &a.src;
    return strided(a.shape, from ? a.src_stride : a.dst_stride, a.ndim, from ? types.from : types.to);
}

inline Span span(const RandomLaunch& a, const void*, Widths types) { return {0, a.size * types.to}; }

inline Span span(const ReduceLaunch& a, const void* field, Widths types) {
    const int64_t outputs = a.kept.total;
    if (field == &a.x) return {0, outputs * a.reduced.total * a.run * types.to};
    return {0, outputs * (field == &a.part ? a.groups : 1) * types.to};
}

inline Span span(const CumsumLaunch& a, const void*, Widths types) { return {0, a.inner * a.length * a.outer * types.to}; }

inline Span span(const TakeLaunch& a, const void* field, Widths types) {
    if (field == &a.indices) return {0, a.count * types.to};
    const bool pieces = (field == &a.x) == (a.back == 1);
    return {0, a.inner * (pieces ? a.count : a.length) * a.outer * types.to};
}

inline Span span(const SoftmaxLaunch& a, const void* field, Widths types) {
    const bool losses = field == &a.y && a.kind == SoftmaxKind::loss;
    return {0, a.inner * (losses ? 1 : a.length) * a.outer * types.to};
}

inline Span span(const GemmLaunch& a, const void* field, Widths types) {
    const int64_t rows[] = {a.m, a.k}, columns[] = {a.k, a.n};
    const int64_t row_stride[] = {a.a_row, a.a_col}, column_stride[] = {a.b_row, a.b_col};
    if (field == &a.a) return strided(rows, row_stride, 2, types.to);
    if (field == &a.b) return strided(columns, column_stride, 2, types.to);
    return {0, a.m * a.n * types.to};
}

inline Span span(const GemmProgramLaunch& a, const void* field, Widths types) {
    const int64_t matrix[] = {a.product.m, a.product.n};
    if (const int k = index_of(field, a.input); k >= 0) return strided(matrix, a.stride[k], 2, width(a.input_type[k]));
    if (const int k = index_of(field, a.output); k >= 0) return {0, matrix[0] * matrix[1] * width(a.output_type[k])};
    return span(a.product, field, types);
}

inline Span span(const ConvLaunch& a, const void* field, Widths types) {
    const int64_t images = a.groups * a.batch;
    int64_t elements = a.groups * a.results;  // of the bias
    if (field == &a.source) elements = a.x.source * a.y.source * a.sources * images;
    if (field == &a.filter) elements = a.x.taps * a.y.taps * a.sources * a.results * a.groups;
    const int64_t pixels = a.pool.w ? a.pool.out_w * a.pool.out_h : a.x.result * a.y.result;
    if (field == &a.result || field == &a.positions) elements = pixels * a.results * images;
    return {0, field == &a.positions ? elements : elements * types.to};
}

inline Span span(const ConvGradientLaunch& a, const void* field, Widths types) {
    const ConvolutionSizes& s = a.sizes;
    int64_t elements = a.elements;
    if (field == &a.x) elements = s.w * s.h * s.c_in * s.batch;
    if (field == &a.y_diff) elements = s.out_w * s.out_h * s.c_out * s.batch;
    if (field == &a.part) elements = a.elements * a.parts;
    return {0, elements * types.to};
}

inline Span span(const PoolLaunch& a, const void* field, Widths types) {
    const PoolSizes& s = a.sizes;
    const bool mean = s.window.op == PoolOp::average;
    const bool data = field == &a.x || field == &a.x_diff || (field == &a.mask && mean);
    const int64_t elements = (data ? s.w * s.h : s.window.out_w * s.window.out_h) * s.planes;
    return {0, elements * (field == &a.positions ? a.position_bytes : types.to)};
}

template <class Lrn>
Span lrn_span(const Lrn& a, Widths types) {
    return {0, a.inner * a.channels * a.batch * types.to};
}
inline Span span(const LrnLaunch& a, const void*, Widths types) { return lrn_span(a, types); }
inline Span span(const LrnBackwardLaunch& a, const void*, Widths types) { return lrn_span(a, types); }

}  // namespace cuda
}  // namespace owl
