// Which function a launch calls.
#pragma once
#include "calls.h"
#include "device.h"
#include "specialization.h"

namespace owl {
namespace cuda {

// What the call's launch `i` is in the next run, which counts: a program may have got a kernel of its own since the last one.
// Blocks and arguments stay the same.
inline Function function_of(const Device& device, const Call& call, int i) {
    if (i == 0 && call.specialization)
        if (const Function own = call.specialization->next()) return own;
    return device.functions[static_cast<size_t>(call.launches[i].kernel)];
}

}  // namespace cuda
}  // namespace owl
