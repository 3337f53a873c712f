// One instruction set's table of kernels.
//
// The members are copied from the other files while the module is loaded, on whatever machine that is: so this file is
// compiled once per instruction set, but for the baseline of the architecture.
#include "registry.h"

#if defined(__AVX__)
#error "table.cpp must not be compiled for an instruction set beyond the baseline: it runs at load time"
#endif
#define OWL_STRING_(x) #x
#define OWL_STRING(x) OWL_STRING_(x)

namespace owl {
namespace OWL_ISA {

extern const KernelTable table;
const KernelTable table = {
    OWL_STRING(OWL_ISA),
    vector_bytes,
    elementwise_kernel,
    gemm_kernel,
    copy_kernel,
    reduce_kernel,
    cumsum_kernel,
    take_kernel,
    take_back_kernel,
    softmax_kernel,
    random_kernel,
    conv_forward_kernel,
    conv_backward_data_kernel,
    conv_backward_filter_kernel,
    pool_forward_kernel,
    pool_backward_kernel,
    lrn_forward_kernel,
    lrn_backward_kernel,
};

}  // namespace OWL_ISA
}  // namespace owl
