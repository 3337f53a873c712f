#include "graphs.h"

#include <algorithm>
#include <atomic>

#include "accesses.h"
#include "block_sizes.h"
#include "functions.h"

namespace owl {
namespace cuda {
namespace {
constexpr size_t kMostGraphs = 64;  // of a device, about: the one that was launched longest ago makes room
}

struct Graphs::PlanGraph {
    Graph graph = nullptr;
    GraphExec exec = nullptr;
    std::vector<std::vector<GraphNode>> nodes;     // of each step
    std::vector<std::vector<Function>> functions;  // likewise: those that the nodes have
    std::vector<std::vector<uint64_t>> arguments;  // likewise
    uint64_t last_run = 0;
    std::atomic<bool> unused{false};  // its plan is gone, or launches it no more: to be destroyed
};

class Graphs::State final : public PlanState {
   public:
    ~State() override {
        if (graph) graph->unused.store(true);
    }
    int runs = 0;
    size_t steps = 0;  // of the plan, that a graph is made of
    bool refused = false;
    std::shared_ptr<PlanGraph> graph;
};

size_t Graphs::wanted(Plan* plan) const {
    if (!device_.graph_runs) return 0;
    if (!plan->state) {
        auto state = std::make_unique<State>();
        state->steps = steps_of(*plan);
        plan->state = std::move(state);
    }
    auto& state = static_cast<State&>(*plan->state);
    if (!state.steps || state.refused || ++state.runs < device_.graph_runs) return 0;
    return state.steps;
}

// The first ones of which a graph can be made, if they are worth one.
size_t Graphs::steps_of(const Plan& plan) const {
    size_t steps = 0;
    int launches = 0;
    for (; steps < plan.steps.size(); ++steps) {
        const Step& step = plan.steps[steps];
        if (step.empty) continue;
        if (static_cast<const Call*>(step.kernel)->kind != CallKind::launch) break;
        ++launches;
    }
    return launches >= device_.graph_steps ? steps : 0;
}

bool Graphs::launch(const Plan& plan, uint64_t run, uint64_t over) {
    auto& state = static_cast<State&>(*plan.state);
    bool ready = state.graph && !state.graph->unused.load();
    if (!ready) {
        make_room(over);
        state.graph = std::make_shared<PlanGraph>();
        ready = build(plan, state.steps, state.graph.get());
        if (ready) graphs_.push_back(state.graph);
    } else {
        ready = update(plan, state.graph.get());
    }
    if (ready && !device_.driver->launch_graph(state.graph->exec, device_.compute)) {
        state.graph->last_run = run;
        return true;
    }
    state.refused = true;  // once is enough: not asked for again
    state.graph->unused.store(true);
    return false;
}

bool Graphs::build(const Plan& plan, size_t steps, PlanGraph* graph) const {
    if (device_.driver->create_graph(&graph->graph, 0)) return false;
    if (add_nodes(plan, steps, graph) && !device_.driver->instantiate_graph(&graph->exec, graph->graph, 0)) return true;
    destroy(graph);
    return false;
}

bool Graphs::add_nodes(const Plan& plan, size_t steps, PlanGraph* graph) const {
    const auto before = dependencies(plan, steps);
    graph->nodes.resize(steps);
    graph->functions.resize(steps);
    graph->arguments.resize(steps);
    for (size_t i = 0; i < steps; ++i) {
        const Step& step = plan.steps[i];
        if (step.empty) continue;
        graph->arguments[i] = step.args;
        std::vector<GraphNode> waits;
        for (int k : before[i]) waits.push_back(graph->nodes[static_cast<size_t>(k)].back());
        void* arguments = graph->arguments[i].data();
        const auto& call = *static_cast<const Call*>(step.kernel);
        for (int k = 0; k < call.n_launches; ++k) {
            graph->functions[i].push_back(function_of(device_, call, k));
            const KernelNodeParameters node = parameters(call.launches[k], graph->functions[i].back(), &arguments);
            graph->nodes[i].push_back(nullptr);
            GraphNode& made = graph->nodes[i].back();
            if (device_.driver->add_kernel_node(&made, graph->graph, waits.data(), waits.size(), &node)) return false;
            waits = {made};
        }
    }
    return true;
}

bool Graphs::update(const Plan& plan, PlanGraph* graph) const {
    for (size_t i = 0; i < graph->nodes.size(); ++i) {
        const Step& step = plan.steps[i];
        if (step.empty) continue;
        const bool same = graph->arguments[i] == step.args;
        if (!same) graph->arguments[i] = step.args;
        void* arguments = graph->arguments[i].data();
        const auto& call = *static_cast<const Call*>(step.kernel);
        for (int k = 0; k < call.n_launches; ++k) {
            const auto launch = static_cast<size_t>(k);
            const Function function = function_of(device_, call, k);
            if (same && function == graph->functions[i][launch]) continue;
            graph->functions[i][launch] = function;
            const KernelNodeParameters node = parameters(call.launches[k], function, &arguments);
            if (device_.driver->set_kernel_node(graph->exec, graph->nodes[i][launch], &node)) return false;
        }
    }
    return true;
}

KernelNodeParameters Graphs::parameters(const Launch& launch, Function function, void** arguments) {
    return {function, launch.blocks, 1, 1, block_size(launch.kernel), 1, 1, 0, arguments, nullptr, nullptr, nullptr};
}

void Graphs::destroy(PlanGraph* graph) const {
    if (graph->exec) device_.driver->destroy_graph_exec(graph->exec);
    if (graph->graph) device_.driver->destroy_graph(graph->graph);
    graph->exec = nullptr;
    graph->graph = nullptr;
}

// For one more. A graph that is under way is destroyed later: not all versions of the driver say that they keep it until then.
void Graphs::make_room(uint64_t over) {
    const auto is_over = [&](const std::shared_ptr<PlanGraph>& graph) {
        if (!graph->unused.load() || graph->last_run > over) return false;
        destroy(graph.get());
        return true;
    };
    graphs_.erase(std::remove_if(graphs_.begin(), graphs_.end(), is_over), graphs_.end());
    if (graphs_.size() < kMostGraphs) return;
    const auto earlier = [](const auto& a, const auto& b) { return a->last_run < b->last_run; };
    (*std::min_element(graphs_.begin(), graphs_.end(), earlier))->unused.store(true);
}

}  // namespace cuda
}  // namespace owl
