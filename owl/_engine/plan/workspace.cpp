#include "workspace.h"

#include <algorithm>

namespace owl {
namespace {

void point_to(Step* step, size_t slot) {
    for (Patch patch : step->workspace) {
        patch.slot = static_cast<int32_t>(slot);
        step->patches.push_back(patch);
    }
}

void find_first_and_last(Plan* plan) {
    std::vector<Step*> last(plan->slots.size(), nullptr);
    for (Step& step : plan->steps) {
        for (const Patch& patch : step.patches) {
            if (!last[patch.slot]) step.begins.push_back(patch.slot);
            last[patch.slot] = &step;
        }
    }
    for (size_t slot = 0; slot < last.size(); ++slot)
        if (last[slot]) last[slot]->ends.push_back(static_cast<int32_t>(slot));
}

}  // namespace

void find_empty_steps(Plan* plan) {
    for (Step& step : plan->steps)
        step.empty = std::all_of(step.operations.begin(), step.operations.end(),
                                 [&](int32_t i) { return plan->nodes[i].shape.size() == 0; });
}

void place_workspaces(Plan* plan, const std::vector<size_t>& bytes) {
    if (plan->has_arena) {
        const size_t most = bytes.empty() ? 0 : *std::max_element(bytes.begin(), bytes.end());
        if (!most) return;
        const size_t slot = plan->slots.size();
        plan->slots.push_back({Slot::arena, -1, plan->arena_bytes, most});
        plan->arena_bytes += most;
        for (Step& step : plan->steps) point_to(&step, slot);
        return;
    }
    for (size_t i = 0; i < bytes.size(); ++i) {
        if (!bytes[i]) continue;
        const size_t slot = plan->slots.size();
        plan->slots.push_back({Slot::own, static_cast<int32_t>(plan->own_bytes.size()), 0});
        plan->own_bytes.push_back(bytes[i]);
        point_to(&plan->steps[i], slot);
    }
    find_first_and_last(plan);
}

}  // namespace owl
