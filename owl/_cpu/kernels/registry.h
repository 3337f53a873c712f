// The kernels that one instruction set's table is put together from; each lives in the file named after it.
#pragma once
#include "kernels.h"

namespace owl {
namespace OWL_ISA {
extern const int vector_bytes;
extern const Kernel elementwise_kernel, gemm_kernel, copy_kernel, reduce_kernel, cumsum_kernel, take_kernel, take_back_kernel;
extern const Kernel softmax_kernel, random_kernel;
extern const Kernel conv_forward_kernel, conv_backward_data_kernel, conv_backward_filter_kernel;
extern const Kernel pool_forward_kernel, pool_backward_kernel, lrn_forward_kernel, lrn_backward_kernel;
}  // namespace OWL_ISA
}  // namespace owl
