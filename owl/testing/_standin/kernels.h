// The kernels of catalogue.def, as C++.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "spans.h"

namespace owl {
namespace cuda {

struct Kernel {
    // Takes an argument's address and whether it is written, and what to put in its place.
    using Visit = std::function<const void*(const void* address, bool written, Span span)>;

    const char* name;
    size_t argument_bytes;
    unsigned threads;
    void (*visit)(void* arguments, Widths types, const Visit& visit);
    // Returns what was wrong, or "".
    std::string (*run)(const char* name, const void* arguments, int64_t blocks, uint64_t seed);
};

// nullptr: there is none of this name.
const Kernel* find_kernel(const std::string& name);

}  // namespace cuda
}  // namespace owl
