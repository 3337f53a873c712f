// The convolution kernels: each hands its call to the algorithm that the shape calls for.
#include "conv_algorithms.h"
#include "simd.h"

namespace owl {
namespace OWL_ISA {
namespace {

enum class Direction { forward, data, filter };

template <Direction D>
const Kernel& choose(const void* args) {
    const ConvArgs& a = *static_cast<const ConvArgs*>(args);
    const bool winograd = D == Direction::filter ? filter_gradient_uses_winograd(a) : conv_uses_winograd(a);
    const bool grouped = !winograd && grouped_applies(a, D == Direction::data);
    switch (D) {
        case Direction::forward: return winograd ? winograd_forward : grouped ? grouped_forward : direct_forward;
        case Direction::data:
            return winograd ? winograd_backward_data : grouped ? grouped_backward_data : direct_backward_data;
        default: return winograd ? winograd_backward_filter : grouped ? grouped_backward_filter : direct_backward_filter;
    }
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
