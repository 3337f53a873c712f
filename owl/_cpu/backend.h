// The CPU as a kind of device: kernels of one instruction set, chosen once, and executors that run plans with them.
#pragma once
#include "_cpu/kernels/kernels.h"
#include "_engine/plan/backend.h"
#include "_engine/run/executor.h"

namespace owl {

class CpuBackend final : public Backend {
   public:
    explicit CpuBackend(const KernelTable& kernels) : kernels_(kernels) {}
    FusionRules rules() const override { return {}; }
    void lower(Plan* plan, const Fusion& fusion, const Placement& placement) const override;

   private:
    const KernelTable& kernels_;
};

// The executor of one CPU device.
std::unique_ptr<Executor> make_cpu_executor(const Backend& backend, IdleListener* listener);

// A step's kernel, as lowering put it there.
inline const Kernel& kernel_of(const Step& step) { return *static_cast<const Kernel*>(step.kernel); }

}  // namespace owl
