// The functions that the stand-in exports, with the driver's ABI. Those that owl calls are declared by its own table, so that a
// signature that differs does not compile.
#pragma once
#include "state.h"

#define OWL_STANDIN_EXPORT extern "C" __attribute__((visibility("default")))

namespace owl {
namespace cuda {

#define OWL_DRIVER(name, symbol, parameters) OWL_STANDIN_EXPORT Result symbol parameters;
#include "_cuda/driver.def"
#undef OWL_DRIVER

}  // namespace cuda
}  // namespace owl
