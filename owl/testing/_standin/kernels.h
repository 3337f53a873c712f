// The kernels of catalogue.def, as C++, and those of modules that are loaded later.
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

    std::string name;
    size_t argument_bytes;
    unsigned threads;
    void (*visit)(void* arguments, Widths types, const Visit& visit);
    // Returns what was wrong, or "".
    std::function<std::string(const char* name, const void* arguments, int64_t blocks, uint64_t seed)> run;
};

// nullptr: there is none of this name.
const Kernel* find_kernel(const std::string& name);
// Of a library that open_module() gave; likewise. The one kernel of such a module is launched as elementwise.cu's are.
const Kernel* find_kernel(void* library, const std::string& name);

// A shared library in memory, as building.py makes one of a kernel's text. nullptr: it is none, or cannot be loaded.
void* open_module(const void* image);

}  // namespace cuda
}  // namespace owl
