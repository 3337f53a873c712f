// What outlived the windows of a loop, as far as it is known.
#pragma once
#include "_engine/memory/lru_map.h"
#include "_engine/record/stream.h"

namespace owl {

// By the hash of a window: which of its values were still referenced when it was submitted last. Python rebinds a loop's
// variables one step late, so at the end of a window values of the step before are still referenced and would have to be
// stored. A window that is known waits until what was unreferenced last time is unreferenced again.
class LivenessHistory {
   public:
    // Finds out what is expected of a window that was just closed.
    void expect(ClosedWindow* window);
    void remember(const ClosedWindow& window);

   private:
    LruMap<std::vector<char>> live_{2048};
};

}  // namespace owl
