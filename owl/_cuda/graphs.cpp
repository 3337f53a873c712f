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
    bool fits = false;  // a graph can be made of the plan
    bool refused = false;
    std::shared_ptr<PlanGraph> graph;
};

bool Graphs::wants(Plan* plan) const {
    if (!device_.graph_runs) return false;
    if (!plan->state) {
        auto state = std::make_unique<State>();
        int steps = 0;
        bool launches = true;
        for (const Step& step : plan->steps) {
            if (step.empty) continue;
            ++steps;
            launches = launches && static_cast<const Call*>(step.kernel)->kind == CallKind::launch;
        }
        state->fits = launches && steps >= device_.graph_steps;
        plan->state = std::move(state);
    }
    auto& state = static_cast<State&>(*plan->state);
    if (!state.fits || state.refused) return false;
    return ++state.runs >= device_.graph_runs;
}

bool Graphs::launch(const Plan& plan, uint64_t run, uint64_t over) {
    auto& state = static_cast<State&>(*plan.state);
    bool ready = state.graph && !state.graph->unused.load();
    if (!ready) {
        make_room(over);
        state.graph = std::make_shared<PlanGraph>();
        ready = build(plan, state.graph.get());
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

bool Graphs::build(const Plan& plan, PlanGraph* graph) const {
    if (device_.driver->create_graph(&graph->graph, 0)) return false;
    if (add_nodes(plan, graph) && !device_.driver->instantiate_graph(&graph->exec, graph->graph, 0)) return true;
    destroy(graph);
    return false;
}

bool Graphs::add_nodes(const Plan& plan, PlanGraph* graph) const {
    const auto before = dependencies(plan);
    graph->nodes.resize(plan.steps.size());
    graph->functions.resize(plan.steps.size());
    graph->arguments.resize(plan.steps.size());
    for (size_t i = 0; i < plan.steps.size(); ++i) {
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
            if (device_.driver->add_kernel_node(&graph->nodes[i].back(), graph->graph, waits.data(), waits.size(), &node)) return false;
            waits = {graph->nodes[i].back()};
        }
    }
    return true;
}

bool Graphs::update(const Plan& plan, PlanGraph* graph) const {
    for (size_t i = 0; i < plan.steps.size(); ++i) {
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

// Makes room for one more. A graph that is under way is destroyed later: not all versions of the driver say that they keep it until then.
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
