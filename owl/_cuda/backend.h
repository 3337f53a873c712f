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
    // `specializer`: nullptr where all programs are to run by the interpreter. Products from `blas_border` on (see blas.h) go to
    // cuBLAS; 0: none do.
    CudaBackend(cuda::Specializer* specializer, int64_t blas_border) : specializer_(specializer), blas_border_(blas_border) {}
    FusionRules rules() const override;
    void lower(Plan* plan, const Fusion& fusion, const Placement& placement) const override;
    StepForm form_of(const Step& step) const override;

   private:
    cuda::Specializer* specializer_;
    const int64_t blas_border_;
};

std::unique_ptr<Executor> make_cuda_executor(const cuda::Device& device, const Backend& backend, IdleListener* listener);

}  // namespace owl
