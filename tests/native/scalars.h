// owl's mathematics on one number after the other.
#pragma once
#include <cstddef>

namespace owl {

// By the functions' places in SCALAR_FUNCTIONS of native.pyx; false if there are fewer.
bool compute_scalars(int function, const float* x, const float* y, float* out, size_t count);
bool compute_scalars(int function, const double* x, const double* y, double* out, size_t count);

}  // namespace owl
