// Of the driver: graphs of kernels. The nodes of a graph that is launched come in any order that their dependencies allow, and
// only these order them.
#include "graphs.h"

#include <algorithm>

#include "abi.h"
#include "kernels.h"
#include "launches.h"

namespace owl {
namespace cuda {

namespace {

Result take_node(State& now, const KernelNodeParameters& p, Launched* taken) {
    if (p.kernel) return kNotSupported;
    if (p.context && p.context != current_context()) return kInvalidContext;
    const LaunchSizes sizes{p.grid_x, p.grid_y, p.grid_z, p.block_x, p.block_y, p.block_z, p.shared_bytes};
    return take_launch(now, p.function, sizes, p.parameters, p.extra, taken);
}

// Some order in which each node comes after all that it depends on.
std::vector<size_t> any_order(State& now, const CUgraph_st& graph) {
    std::vector<size_t> order, ready, left(graph.before.size());
    for (size_t node = 0; node < left.size(); ++node) {
        left[node] = graph.before[node].size();
        if (!left[node]) ready.push_back(node);
    }
    while (!ready.empty()) {
        std::swap(ready[now.random() % ready.size()], ready.back());
        const size_t node = ready.back();
        ready.pop_back();
        order.push_back(node);
        for (size_t later = 0; later < left.size(); ++later)
            for (size_t earlier : graph.before[later])
                if (earlier == node && !--left[later]) ready.push_back(later);
    }
    return order;
}

}  // namespace

Result cuGraphCreate(Graph* graph, unsigned flags) {
    return call("cuGraphCreate", Needs::init, [&](State& now, Lock&) -> Result {
        if (!graph || flags) return kInvalidValue;
        *graph = now.graphs.make();
        return kSuccess;
    });
}

Result cuGraphAddKernelNode_v2(GraphNode* node, Graph graph, const GraphNode* dependencies, size_t n_dependencies,
                               const KernelNodeParameters* parameters) {
    return call("cuGraphAddKernelNode_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!node || !parameters || (n_dependencies && !dependencies)) return kInvalidValue;
        if (!now.graphs.lives(graph)) return kInvalidHandle;
        std::vector<size_t> before;
        for (size_t k = 0; k < n_dependencies; ++k) {
            const GraphNode earlier = dependencies[k];
            if (!now.graph_nodes.lives(earlier) || earlier->graph != graph) return kInvalidValue;
            if (std::count(before.begin(), before.end(), earlier->number)) return kInvalidValue;
            before.push_back(earlier->number);
        }
        Launched launched;
        if (const Result refused = take_node(now, *parameters, &launched)) return refused;
        *node = now.graph_nodes.make();
        **node = {graph, graph->launches.size()};
        graph->launches.push_back(std::move(launched));
        graph->before.push_back(std::move(before));
        return kSuccess;
    });
}

Result cuGraphInstantiateWithFlags(GraphExec* exec, Graph graph, unsigned long long flags) {
    return call("cuGraphInstantiateWithFlags", Needs::context, [&](State& now, Lock&) -> Result {
        if (!exec || flags) return kInvalidValue;
        if (!now.graphs.lives(graph)) return kInvalidHandle;
        *exec = now.graph_execs.make();
        **exec = {graph, *graph};
        return kSuccess;
    });
}

Result cuGraphExecKernelNodeSetParams_v2(GraphExec exec, GraphNode node, const KernelNodeParameters* parameters) {
    return call("cuGraphExecKernelNodeSetParams_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!parameters) return kInvalidValue;
        if (!now.graph_execs.lives(exec) || !now.graph_nodes.lives(node)) return kInvalidHandle;
        if (node->graph != exec->graph || !now.graphs.lives(node->graph)) return kInvalidValue;
        return take_node(now, *parameters, &exec->content.launches[node->number]);
    });
}

Result cuGraphLaunch(GraphExec exec, Stream stream) {
    return call("cuGraphLaunch", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.graph_execs.lives(exec) || !now.streams.lives(stream)) return kInvalidHandle;
        const CUgraph_st& graph = exec->content;
        for (const Launched& launched : graph.launches)
            if (!now.modules.lives(launched.function->module) || launched.function->module->context != stream->context)
                return kInvalidHandle;
        tick(now, *stream, "cuGraphLaunch");
        while (stream->branches.size() < graph.launches.size()) stream->branches.push_back(++now.participants);
        std::vector<Clock> clocks(graph.launches.size(), stream->clock);
        Clock end = stream->clock;
        for (size_t node : any_order(now, graph)) {
            for (size_t earlier : graph.before[node]) join(clocks[node], clocks[earlier]);
            const Launched& launched = graph.launches[node];
            const Touch by = tick(now, clocks[node], stream->branches[node], launched.function->kernel->name.c_str());
            issue_launch(now, *stream, launched, clocks[node], by);
            join(end, clocks[node]);
        }
        stream->clock = end;
        return kSuccess;
    });
}

// What is under way goes on.
Result cuGraphExecDestroy(GraphExec exec) {
    return call("cuGraphExecDestroy", Needs::init, [&](State& now, Lock&) -> Result {
        if (!now.graph_execs.lives(exec)) return kInvalidHandle;
        now.graph_execs.retire(exec);
        return kSuccess;
    });
}

Result cuGraphDestroy(Graph graph) {
    return call("cuGraphDestroy", Needs::init, [&](State& now, Lock&) -> Result {
        if (!now.graphs.lives(graph)) return kInvalidHandle;
        now.graphs.retire(graph);
        return kSuccess;
    });
}

}  // namespace cuda
}  // namespace owl
