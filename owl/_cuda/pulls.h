// Values of other GPUs that a device fetches on its copy stream, beside its computing: when computing must wait for them, and
// which GPUs the device may read without a way through the host's memory.
#pragma once
#include <vector>

#include "queue.h"

namespace owl {
namespace cuda {

// By the thread of the device's executor alone.
class Pulls {
   public:
    Pulls(const Device& device, Queue* computing, Queue* copying) : device_(device), computing_(*computing), copying_(*copying) {}

    // Copies from another GPU's memory, or from one's own. `busy`: computing may still use what lies at `to`.
    Result pull(void* to, const void* from, const Device& source, size_t bytes, bool busy);
    // The step in hand touches these bytes.
    void touch(const void* data, size_t bytes);
    // Has what is launched from now on come after the copies: those that the step in hand touches, or all.
    Result order_step();
    Result order_all();

   private:
    struct Span {
        const char *begin, *end;
    };
    void open(const Device& source);

    const Device& device_;
    Queue &computing_, &copying_;
    std::vector<Span> under_way_;  // that computing does not come after yet
    bool touched_ = false;
    std::vector<int> opened_;  // GPUs, by CUDA's numbers, that the driver was asked about
};

}  // namespace cuda
}  // namespace owl
