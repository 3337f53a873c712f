#include "_engine/graph/graph.h"
#include "backend.h"

namespace owl {

void compile_plan(Plan* plan, const Backend& backend, bool fuse) {
    graph().mutex.assert_not_held();
    const Fusion fusion = analyse(plan, backend.rules(), fuse);
    plan->root = fusion.root;
    plan->fused = fuse;
    const Placement placement = place_arrays(plan, fusion);
    backend.lower(plan, fusion, placement);
}

std::unique_ptr<Plan> unfused_form(const Plan& plan, const Backend& backend) {
    auto copy = std::make_unique<Plan>();
    copy->nodes = plan.nodes;
    // What was left over stays so, and what was stored for its sake is: the outputs are the same.
    for (PlanNode& node : copy->nodes) node.live = node.rematerializable = false;
    for (const PlanOutput& output : plan.outputs) copy->nodes[output.node].live = true;
    copy->inputs = plan.inputs;
    copy->device = plan.device;
    copy->memory = plan.memory;
    copy->n_scalars = plan.n_scalars;
    copy->n_arguments = plan.n_arguments;
    copy->has_arena = false;
    compile_plan(copy.get(), backend, false);
    return copy;
}

}  // namespace owl
