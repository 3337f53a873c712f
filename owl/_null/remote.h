// A device whose memory the host cannot read, on any machine: for tests of all that crosses devices.
//
// Its addresses are not addresses: a constant is added that no address of a processor has, so whatever follows one faults at
// once, on any thread. Only its own execution and its copies take the constant off. Its kernels are the CPU's. It issues
// runs ahead, and completes them late and in order.
#pragma once
#include "_engine/run/executor.h"

namespace owl {

// `backend`: the CPU's.
std::unique_ptr<Executor> make_remote_executor(const Backend& backend, IdleListener* listener);

}  // namespace owl
