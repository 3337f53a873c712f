// CUDA graphs of plans. A plan that runs again and again is handed to the driver in one call; its kernels keep the order that their
// reads and writes ask for and no other, so that what does not need each other may overlap.
//
// A graph is built from a plan's first steps, up to one that is no launch of a kernel: a copy to the host, say. It has a node for
// each launch. Later runs change the arguments of those nodes whose arguments have
// changed: with donated buffers these are few.
#pragma once
#include <memory>
#include <vector>

#include "_engine/plan/plan.h"
#include "calls.h"
#include "device.h"

namespace owl {
namespace cuda {

// By the thread of the device's executor alone, except that any thread may destroy a plan.
class Graphs {
   public:
    explicit Graphs(const Device& device) : device_(device) {}

    // Counts a run of the plan. How many of its first steps are to be launched as a graph; 0: none.
    size_t wanted(Plan* plan) const;
    // Launches these steps, whose arguments are complete, as run number `run` of the device, of which those up to
    // `over` are over. False: nothing was launched.
    bool launch(const Plan& plan, uint64_t run, uint64_t over);

   private:
    struct PlanGraph;
    class State;

    size_t steps_of(const Plan& plan) const;
    bool build(const Plan& plan, size_t steps, PlanGraph* graph) const;
    bool add_nodes(const Plan& plan, size_t steps, PlanGraph* graph) const;
    bool update(const Plan& plan, PlanGraph* graph) const;
    static KernelNodeParameters parameters(const Launch& launch, Function function, void** arguments);
    void destroy(PlanGraph* graph) const;
    void make_room(uint64_t over);

    const Device& device_;
    std::vector<std::shared_ptr<PlanGraph>> graphs_;
};

}  // namespace cuda
}  // namespace owl
