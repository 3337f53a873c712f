// Which operations are ordered, by vector clocks: whatever the schedule was, two operations that touch the same bytes, one of
// them writing, must have an order that stream order, an event or a wait of the host gives them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace owl {
namespace cuda {

#if OWL_CHECKED
constexpr bool kChecked = true;
#else
constexpr bool kChecked = false;
#endif

// How much of each participant's work is known to be over. Participant 0 is the host, all its threads together; the others are
// streams.
using Clock = std::vector<uint64_t>;

void join(Clock& into, const Clock& from);
uint64_t& entry(Clock& clock, int who);

// An operation, as texts name it.
struct Touch {
    int who = -1;  // below 0: nothing was done yet
    uint64_t when = 0;
    const char* name = "";
    uint64_t number = 0;  // since the process began

    bool before(const Clock& now) const;
    std::string text() const;
};

// What has been done to the bytes of one block: their last writer, and their readers since then.
class History {
   public:
    // The bytes first … last - 1 are read or written by `touch`, which comes after all that `now` knows. Returns "", or what is
    // wrong, in terms of the first operation without an order.
    std::string touch(size_t first, size_t last, bool written, const Clock& now, const Touch& touch);
    // The same for the end of all bytes.
    std::string end(const Clock& now, const char* by) const;

   private:
    struct Stretch {
        size_t last;
        Touch writer;
        std::vector<Touch> readers;
    };
    void split(size_t at);
    void fill(size_t first, size_t last);

    std::map<size_t, Stretch> stretches_;  // by their first bytes; without overlaps
};

}  // namespace cuda
}  // namespace owl
