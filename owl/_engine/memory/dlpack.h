// DLPack's tensors (https://dmlc.github.io/dlpack/latest/), by which libraries share memory: the layout of its header, before
// version 1.0 and from then on, and tensors over buffers.
#pragma once
#include <cstdint>

#include "buffer.h"

namespace owl {
namespace dlpack {

constexpr int kCuda = 2, kFloat = 2;  // kinds of devices, codes of elements
constexpr uint64_t kReadOnly = 1, kCopied = 2;
constexpr uint32_t kMajor = 1, kMinor = 0;

struct Device {
    int32_t kind, number;
};

struct Elements {
    uint8_t code, bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    Elements elements;
    int64_t* shape;
    int64_t* strides;  // in elements; nullptr: C-contiguous
    uint64_t byte_offset;
};

struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

struct Versioned {
    uint32_t major, minor;
    void* context;
    void (*deleter)(Versioned*);
    uint64_t flags;
    Tensor tensor;
};

// A tensor over a buffer's memory, C-contiguous, the shape in C's order; it takes over the reference. Its deleter may be called by
// any thread, without the GIL, in a forked child and after the interpreter's end: it tells the buffer's memory.
Managed* lend(Buffer* buffer, const int64_t* shape, int ndim, int bits, Device device);
Versioned* lend_versioned(Buffer* buffer, const int64_t* shape, int ndim, int bits, Device device, uint64_t flags);

bool is_contiguous(const Tensor& tensor);

}  // namespace dlpack
}  // namespace owl
