// Shapes, dtypes and hashing: the words that every other file of the engine uses.
#pragma once
#include <cstdint>
#include <cstring>

#include "words.h"

namespace owl {

// Column-major: dim[0] varies fastest in memory.
struct Shape {
    int32_t ndim = 0;
    int64_t dim[kMaxDims];

    int64_t size() const {
        int64_t n = 1;
        for (int i = 0; i < ndim; ++i) n *= dim[i];
        return n;
    }
    bool operator==(const Shape& other) const {
        return ndim == other.ndim && std::memcmp(dim, other.dim, sizeof(int64_t) * ndim) == 0;
    }
    bool operator!=(const Shape& other) const { return !(*this == other); }
};

inline uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 29);
}

inline uint64_t hash_shape(const Shape& shape, DType dtype) {
    uint64_t hash = mix(static_cast<uint64_t>(dtype), shape.ndim);
    for (int i = 0; i < shape.ndim; ++i) hash = mix(hash, shape.dim[i]);
    return hash;
}

}  // namespace owl
