// The convolution kernels: each hands its call to the algorithm that the shape calls for.
#include "conv_algorithms.h"
#include "_cpu/kernels/simd.h"

namespace owl {
namespace OWL_ISA {
namespace {

enum class Direction { forward, data, filter };

template <Direction D>
const Kernel& choose(const void* args) {
    const ConvArgs& a = *static_cast<const ConvArgs*>(args);
    const bool adjoint = D == Direction::data;
    if (D == Direction::filter) {
        if (filter_gradient_uses_winograd(a)) return winograd_backward_filter;
        return grouped_applies(a, adjoint) ? grouped_backward_filter : direct_backward_filter;
    }
    if (conv_uses_winograd(a)) return adjoint ? winograd_backward_data : winograd_forward;
    if (grouped_applies(a, adjoint)) return adjoint ? grouped_backward_data : grouped_forward;
    if (pointwise_applies(a, adjoint)) return adjoint ? pointwise_backward_data : pointwise_forward;
    return adjoint ? direct_backward_data : direct_forward;
}

template <Direction D>
int phases(const void* args) { return choose<D>(args).phases(args); }
template <Direction D>
int64_t chunks(const void* args, int phase) { return choose<D>(args).chunks(args, phase); }
template <Direction D>
void run(const void* args, int phase, int64_t begin, int64_t end, void* scratch) {
    choose<D>(args).run(args, phase, begin, end, scratch);
}
template <Direction D>
size_t scratch(const void* args) { return choose<D>(args).scratch(args); }
template <Direction D>
size_t workspace(const void* args) { return choose<D>(args).workspace(args); }

}  // namespace

#define OWL_CONV_KERNEL(kernel, name, D) \
    extern const Kernel kernel;          \
    const Kernel kernel = {name, phases<D>, chunks<D>, run<D>, scratch<D>, workspace<D>};
OWL_CONV_KERNEL(conv_forward_kernel, "conv_forward", Direction::forward)
OWL_CONV_KERNEL(conv_backward_data_kernel, "conv_backward_data", Direction::data)
OWL_CONV_KERNEL(conv_backward_filter_kernel, "conv_backward_filter", Direction::filter)
#undef OWL_CONV_KERNEL

}  // namespace OWL_ISA
}  // namespace owl
