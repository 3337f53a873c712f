// What the planner asks of a kind of device, and the way from a plan's nodes to its steps.
#pragma once
#include <memory>

#include "placement.h"

namespace owl {

// How a step is executed, as far as owl.explain tells it.
struct StepForm {
    int launches = 1;
    bool specialized = false;  // its program has a kernel of its own by now
};

class Backend {
   public:
    virtual ~Backend() = default;
    // What may share a pass.
    virtual FusionRules rules() const = 0;
    // Turns the groups of a plan into steps, and adds what they need besides arrays: workspace and scratch memory.
    virtual void lower(Plan* plan, const Fusion& fusion, const Placement& placement) const = 0;
    // Of one of its steps. Any thread, at any time.
    virtual StepForm form_of(const Step&) const { return {}; }
};

// Compiles `plan->nodes` and `plan->inputs` to steps. `fuse` off: one step per operation.
void compile_plan(Plan* plan, const Backend& backend, bool fuse);

// The same values and outputs, one step per operation in the order of recording, and without an arena: each value is
// made and let go of by itself.
std::unique_ptr<Plan> unfused_form(const Plan& plan, const Backend& backend);

}  // namespace owl
