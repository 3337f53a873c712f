// What is fixed of an operation besides its shapes, by name. A member takes a word of a node's attributes, or half of one.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "words.h"

namespace owl {

struct NoAttributes {};

struct MatmulAttributes {
    int64_t precision;  // a Precision
};

struct TransposeAttributes {
    int64_t order;  // the source dimension of each dimension, 4 bits each
    int source(int dimension) const { return static_cast<int>(order >> (4 * dimension) & 15); }
};

struct SliceAttributes {
    int64_t stride[kMaxDims];  // of each dimension in the source, 0 beyond the last
};

struct ConcatAttributes {
    int64_t dimension;
};

struct ReduceAttributes {
    int64_t reduction;  // a Reduction
    int64_t axes;       // bit mask
    int64_t mean;       // 1: divided by how many numbers there are
};

struct CumsumAttributes {
    int64_t dimension;
    int64_t reverse;  // 1: from the last number on
};

struct TakeAttributes {
    int64_t dimension;
};

// The group is a range of dimensions.
struct SoftmaxAttributes {
    int64_t first, end;
};

struct RandomAttributes {
    int64_t distribution;  // a Distribution
    double p0, p1;
};

struct ConvAttributes {
    int64_t pad_w, pad_h, stride_w, stride_h, dilation_w, dilation_h, groups;
    int32_t algorithm;  // a ConvAlgorithm
    int32_t precision;  // a Precision; of the gradient of the filters always the highest
};

struct PoolAttributes {
    int64_t op;  // a PoolOp
    int64_t w, h, stride_w, stride_h, pad_w, pad_h;
};

struct LrnAttributes {
    int64_t local_size;
    double alpha, beta;
};

constexpr int kMaxAttributes = 8;  // words

template <class Attributes>
constexpr int words_of() {
    if constexpr (std::is_empty_v<Attributes>) {
        return 0;
    } else {
        constexpr size_t words = sizeof(Attributes) / sizeof(int64_t);
        static_assert(sizeof(Attributes) % sizeof(int64_t) == 0 && words <= kMaxAttributes, "whole words");
        return static_cast<int>(words);
    }
}

// Nodes and plans keep attributes as words, which are hashed and compared without a look at what they mean.
template <class Attributes, class Holder>
Attributes attributes_of(const Holder& holder) {
    Attributes attributes;
    std::memcpy(&attributes, holder.attribute, words_of<Attributes>() * sizeof(int64_t));
    return attributes;
}

}  // namespace owl
