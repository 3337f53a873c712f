// A CUDA device as the rest of owl/_cuda sees it: the driver, and handles that belong to CuPy and live as long as the process.
#pragma once
#include <vector>

#include "blas.h"

namespace owl {
namespace cuda {

struct Device {
    const Driver* driver = nullptr;
    int index = 0;  // CUDA's number of it
    Context context = nullptr;
    size_t total_bytes = 0;
    Stream compute = nullptr, copy = nullptr;
    std::vector<Event> compute_events, copy_events;
    std::vector<Function> functions;  // in the order of catalogue.def
    Blas blas;                        // without a handle: owl's own kernels compute all products
    bool blocking = false;            // OWL_CUDA_BLOCKING=1: each step ends before the next begins, and errors name it
    int graph_runs = 3;               // from this run of a plan on, it is launched as a graph; 0: never
    int graph_steps = 4;              // of a plan: with fewer, no graph is worth its making
};

// Makes the device's context the calling thread's, for as long as this lives; then the thread has its own again.
class ContextGuard {
   public:
    explicit ContextGuard(const Device& device) : driver_(*device.driver) { pushed_ = !driver_.push_context(device.context); }
    ~ContextGuard() {
        Context ours;
        if (pushed_) driver_.pop_context(&ours);
    }
    ContextGuard(const ContextGuard&) = delete;
    bool is_current() const { return pushed_; }

   private:
    const Driver& driver_;
    bool pushed_;
};

}  // namespace cuda
}  // namespace owl
