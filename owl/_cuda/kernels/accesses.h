// The memory that a launch reads and writes, by its arguments: visit(address, written). For those that order launches.
//
// Addresses are the arguments' own fields where these may be changed, so that a visitor can put others in their place.
#pragma once
#include "args.h"

namespace owl {
namespace cuda {

template <class Visit>
void visit_accesses(ElementwiseLaunch& a, Visit visit) {
    for (int k = 0; k < a.n_inputs; ++k) visit(a.input[k], false);
    for (int k = 0; k < a.n_outputs; ++k) visit(a.output[k], true);
    for (int s = 0; s < a.n_sums; ++s) {
        visit(a.part[s], true);
        visit(a.sum[s], true);
    }
}

template <class Visit>
void visit_accesses(CopyLaunch& a, Visit visit) {
    visit(a.src, false);
    visit(a.dst, true);
}

template <class Visit>
void visit_accesses(RandomLaunch& a, Visit visit) {
    visit(a.y, true);
}

template <class Visit>
void visit_accesses(ReduceLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.y, true);
    visit(a.part, true);
}

template <class Visit>
void visit_accesses(CumsumLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.y, true);
}

template <class Visit>
void visit_accesses(TakeLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.indices, false);
    visit(a.y, true);
}

template <class Visit>
void visit_accesses(SoftmaxLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.label, false);
    visit(a.y, true);
}

template <class Visit>
void visit_accesses(ConvLaunch& a, Visit visit) {
    visit(a.source, false);
    visit(a.filter, false);
    visit(a.bias, false);
    visit(a.result, true);
    visit(a.positions, true);
}

template <class Visit>
void visit_accesses(ConvGradientLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.y_diff, false);
    visit(a.part, true);
    visit(a.gradient, true);
}

template <class Visit>
void visit_accesses(PoolLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.y_diff, false);
    visit(a.positions, a.x != nullptr);
    visit(a.mask, false);
    visit(a.y, true);
    visit(a.x_diff, true);
}

template <class Visit>
void visit_accesses(LrnLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.scale, true);
    visit(a.y, true);
}

template <class Visit>
void visit_accesses(GemmLaunch& a, Visit visit) {
    visit(a.a, false);
    visit(a.b, false);
    visit(a.c, true);
}

template <class Visit>
void visit_accesses(GemmProgramLaunch& a, Visit visit) {
    visit(a.product.a, false);
    visit(a.product.b, false);
    for (int k = 1; k < a.n_inputs; ++k) visit(a.input[k], false);
    for (int k = 0; k < a.n_outputs; ++k) visit(a.output[k], true);
}

template <class Visit>
void visit_accesses(LrnBackwardLaunch& a, Visit visit) {
    visit(a.x, false);
    visit(a.y, false);
    visit(a.scale, false);
    visit(a.y_diff, false);
    visit(a.x_diff, true);
}

template <class Args, class Visit>
void visit_accesses(const Args& a, Visit visit) {
    visit_accesses(const_cast<Args&>(a), [&](const void* address, bool written) { visit(address, written); });
}

}  // namespace cuda
}  // namespace owl
