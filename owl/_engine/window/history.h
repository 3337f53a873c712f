// Which windows a program has recorded before.
#pragma once
#include "_engine/graph/node.h"
#include "_engine/memory/lru_map.h"

namespace owl {

// Whether the program records windows that were seen before. While it does not, windows are submitted in small pieces,
// which repeat even where whole windows do not.
class WindowHistory {
   public:
    // Takes in a window by its hash; false if it is new and fewer than 12 of the last 16 were known.
    bool is_regular(uint64_t hash);

   private:
    LruMap<bool> seen_{8192};
    uint32_t known_ = 0;  // the last windows, one bit each
    int count_ = 0;
};
// Where a piece of an irregular window ends: decided by its content, so that equal stretches give equal pieces.
size_t chunk_end(const std::vector<Node*>& nodes, size_t begin);

}  // namespace owl
