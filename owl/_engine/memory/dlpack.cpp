#include "dlpack.h"

#include <vector>

#include "memory.h"

namespace owl {
namespace dlpack {
namespace {

template <class Kind>
struct Lent {
    Buffer* buffer;
    std::vector<int64_t> shape, strides;
    Kind managed;
};

template <class Kind>
void end(Kind* managed) {
    auto* lent = static_cast<Lent<Kind>*>(managed->context);
    lent->buffer->memory->end_export(lent->buffer);
    delete lent;
}

template <class Kind>
Kind* make(Buffer* buffer, const int64_t* shape, int ndim, int bits, Device device) {
    auto* lent = new Lent<Kind>();
    lent->buffer = buffer;
    lent->shape.assign(shape, shape + ndim);
    lent->strides.assign(static_cast<size_t>(ndim), 1);
    for (int d = ndim - 1; d > 0; --d) lent->strides[d - 1] = lent->strides[d] * shape[d];
    lent->managed.context = lent;
    lent->managed.deleter = end<Kind>;
    lent->managed.tensor = {buffer->data,         device, ndim, {kFloat, static_cast<uint8_t>(bits), 1}, lent->shape.data(),
                            lent->strides.data(), 0};
    return &lent->managed;
}

}  // namespace

Managed* lend(Buffer* buffer, const int64_t* shape, int ndim, int bits, Device device) {
    return make<Managed>(buffer, shape, ndim, bits, device);
}

Versioned* lend_versioned(Buffer* buffer, const int64_t* shape, int ndim, int bits, Device device, uint64_t flags) {
    auto* managed = make<Versioned>(buffer, shape, ndim, bits, device);
    managed->major = kMajor;
    managed->minor = kMinor;
    managed->flags = flags;
    return managed;
}

// The stride of a dimension of one element does not matter, and none does where there are no elements.
bool is_contiguous(const Tensor& tensor) {
    if (!tensor.strides) return true;
    int64_t expected = 1;
    bool contiguous = true;
    for (int d = tensor.ndim - 1; d >= 0; --d) {
        if (!tensor.shape[d]) return true;
        if (tensor.shape[d] != 1 && tensor.strides[d] != expected) contiguous = false;
        expected *= tensor.shape[d];
    }
    return contiguous;
}

}  // namespace dlpack
}  // namespace owl
