// Faults on purpose, for tests of what happens when something fails: owl.testing arms them.
#pragma once
#include "_engine/graph/failure.h"
#include "_engine/graph/operation.h"

namespace owl {

// Arms a fault: after `skip` kernels that contain operation `op`, the next `count` such kernels fail.
void arm_fault(Op op, FailureKind kind, int skip, int count);
void disarm_faults();
bool faults_armed();
// Should this kernel fail, and how?
bool take_fault(Op op, FailureKind* kind);

// Between these two calls, compilations that begin wait before they compile.
void hold_compilations();
void let_compilations_go();
int compilations_held();
void wait_while_compilations_are_held();

// A pause before every kernel, in microseconds: makes windows of time wide enough for tests to hit them.
void set_kernel_delay(int microseconds);
int kernel_delay();

}  // namespace owl
