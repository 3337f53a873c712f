// CUDA for the planner and the scheduler: lowering, and an executor for each device.
#pragma once
#include <memory>

#include "_engine/plan/backend.h"
#include "_engine/run/executor.h"
#include "device.h"
#include "specialization.h"

namespace owl {

class CudaBackend final : public Backend {
   public:
    // `specializer`: nullptr where all programs are to run by the interpreter.
    explicit CudaBackend(cuda::Specializer* specializer) : specializer_(specializer) {}
    FusionRules rules() const override;
    void lower(Plan* plan, const Fusion& fusion, const Placement& placement) const override;

   private:
    cuda::Specializer* specializer_;
};

std::unique_ptr<Executor> make_cuda_executor(const cuda::Device& device, const Backend& backend, IdleListener* listener);

}  // namespace owl
