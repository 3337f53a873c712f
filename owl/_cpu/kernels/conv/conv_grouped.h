// What convolutions in many small groups have in common. A vector holds one pixel of neighbouring channels, whole groups
// of them, on both sides; so no lane is idle although a group has fewer channels than a vector.
//
// For each of a group's source channels in turn, a block has that channel's pixel in all lanes of its group: with one
// channel a group, as a depthwise convolution has it, that is the data as it is. Strides need no shuffles in blocks.
#pragma once
#include "conv_result.h"

namespace owl {
namespace OWL_ISA {

// Which source lines the taps of one dimension read, counted from the first one that is loaded.
struct Window {
    int64_t step;   // between the source lines of neighbouring result lines
    int64_t low;    // the first source line of result line 0; not above 0
    int64_t reach;  // source lines that one result line reads, from the first to the last tap

    explicit Window(const Axis& axis) : step(axis.step_in()), low(0), reach(1) {
        int64_t high = 0;
        for (int64_t r = 0; r < axis.step_out(); ++r)
            for (int64_t k = 0; k < axis.size; ++k) {
                int64_t line;
                if (!tap(axis, r, k, &line)) continue;
                low = min64(low, line);
                high = max64(high, line);
            }
        reach = high - low + 1;
    }

    bool tap(const Axis& axis, int64_t r, int64_t k, int64_t* line) const {
        int64_t phase, shift;
        if (!axis.tap(r, k, &phase, &shift)) return false;
        *line = step * shift + phase;
        return true;
    }
    int64_t lines(int64_t results) const { return step * (results - 1) + reach; }
};

// Whole groups fit a vector on both sides; `sources` and `results` are channels of a group.
template <class T>
bool vector_holds_groups(int64_t groups, int64_t sources, int64_t results) {
    return groups > 1 && sources <= results && results < kWidth<T> && kWidth<T> % results == 0;
}

// The source block of one vector of channels: padded, and spread where a group has several channels.
template <class T>
struct GroupedSource {
    static constexpr int N = kWidth<T>;

    const int64_t sources, results, groups;  // channels of a group, and how many groups there are
    const Axis &y, &x;
    const Window rows, columns;
    const bool whole;  // all source lines are loaded, needed or not
    const int64_t pitch;

    GroupedSource(int64_t sources_, int64_t results_, int64_t groups_, const Axis& y_, const Axis& x_, bool whole_)
        : sources(sources_), results(results_), groups(groups_), y(y_), x(x_), rows(y), columns(x), whole(whole_),
          pitch(max64(columns.lines(x.lines(0)), x.in - columns.low)) {}

    int64_t vectors() const { return ceil_div(groups * results, N); }
    int64_t first(int64_t vector) const { return vector * N; }
    int64_t count(int64_t vector) const { return min64(N, groups * results - first(vector)); }
    int64_t first_source(int64_t vector) const { return first(vector) / results * sources; }
    int64_t source_count(int64_t vector) const { return count(vector) / results * sources; }
    bool spreads() const { return results > 1; }

    // Numbers of a block that serves `lines` result lines, and of all that `prepare` makes.
    int64_t block(int64_t lines) const { return block_lines(lines) * pitch * N; }
    int64_t block_lines(int64_t lines) const {
        return whole ? max64(rows.lines(lines), y.in - rows.low) : rows.lines(lines);
    }
    int64_t room(int64_t lines) const { return (spreads() ? 1 + sources : 1) * block(lines); }

    // Where `load` puts source line `line` for result lines from `first_line` on.
    T* line(T* memory, int64_t first_line, int64_t line) const {
        return memory + ((line - rows.step * first_line - rows.low) * pitch - columns.low) * N;
    }
    // The source lines that are needed and exist.
    void needed(int64_t first_line, int64_t lines, int64_t* begin, int64_t* end) const {
        const int64_t from = rows.step * first_line + rows.low;
        *begin = min64(max64(from, 0), y.in);
        *end = max64(*begin, min64(from + block_lines(lines), y.in));
    }

    // Zeros around the lines [begin, end), which are filled in elsewhere.
    void pad(T* memory, int64_t first_line, int64_t lines, int64_t begin, int64_t end) const {
        const int64_t left = -columns.low, right = pitch - left - x.in;
        const T* last = memory + block(lines);
        if (begin == end) {
            clear(memory, last - memory);
            return;
        }
        clear(memory, line(memory, first_line, begin) - memory);
        for (int64_t i = begin; i + 1 < end; ++i) clear(line(memory, first_line, i) + x.in * N, (right + left) * N);
        T* rest = line(memory, first_line, end - 1) + x.in * N;
        clear(rest, last - rest);
    }

    // For each source channel of a group, the block that has it in all lanes of the group.
    const T* spread(T* memory, int64_t lines) const {
        if (!spreads()) return memory;
        const int64_t size = block(lines);
        for (int64_t c = 0; c < sources; ++c) {
            typename Simd<T>::I lane{};
            for (int l = 0; l < N; ++l) lane[l] = l / int(results) * int(sources) + int(c);
            T* target = memory + (1 + c) * size;
            for (int64_t i = 0; i < size; i += N) store(target + i, permute(load(memory + i), lane));
        }
        return memory + size;
    }

private:
    static void clear(T* begin, int64_t count) { memset(begin, 0, size_t(count) * sizeof(T)); }
};

}  // namespace OWL_ISA
}  // namespace owl
