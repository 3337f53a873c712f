// A block's tile of a matrix product, in registers: shared by the kernels of products.
//
// Panels of A and B, kDepth rows of k each, go through shared memory: while the threads multiply one, they fetch the next.
// Each element has one accumulator that starts at 0 and adds its products by fma in the order of k, as on the CPU, whatever
// the tile. Rows of k beyond the last are left out rather than zeros: -0 + 0 is not -0.
#pragma once
#include "args.h"
#include "packs.cuh"

namespace owl {
namespace cuda {

// A tile's memory, in elements. A thread's rows lie in groups of kVector, 16 bytes, and so do its columns:
// shared memory is read by whole groups, of which neighboring threads have neighboring ones.
template <class T, class Tile>
struct GemmSizes {
    static constexpr int kVector = 16 / static_cast<int>(sizeof(T));
    static constexpr int kAcross = Tile::kRows / Tile::kThreadRows, kDown = Tile::kColumns / Tile::kThreadColumns;  // threads
    // One group more than it holds, so that neighbors along k lie in different banks.
    static constexpr int kPitchA = Tile::kRows + kVector, kPitchB = Tile::kColumns + kVector;
    static constexpr int kPanelA = Tile::kDepth * kPitchA, kPanels = kPanelA + Tile::kDepth * kPitchB;
    static constexpr int kShared = 2 * kPanels;
    static constexpr int kOwn = Tile::kThreadRows * Tile::kThreadColumns;
    static constexpr int kStage = Tile::kRows * kDown;  // one column of each thread
    static_assert(kStage <= kShared, "the panels' memory is used again");
    static_assert(Tile::kThreadRows % kVector == 0 && Tile::kThreadColumns % kVector == 0, "whole groups");
};

// A thread's share of a panel with kLength rows (columns of B) and kDepth of k, which it carries from memory to shared memory:
// numbers one by one, or kWide adjacent ones at a time where all of these are whole and aligned.
template <class T, int kLength, int kDepth, int kThreads>
class PanelShare {
   public:
    // Element (i, l) is data[i * stride + l * level_stride]; rows begin at `first` and end at `rows`, those of k at `levels`.
    // Where rows are adjacent in memory, neighboring threads have neighboring rows; else neighbors along k.
    OWL_DEVICE PanelShare(const void* data, int64_t stride, int64_t level_stride, int64_t first, int64_t rows, int64_t levels,
                          int t)
        : along_(stride == 1), level_stride_(level_stride), levels_(levels) {
        const int64_t adjacent = along_ ? rows : levels, apart = along_ ? level_stride : stride;
        wide_ = (along_ || level_stride == 1) && is_aligned(data, sizeof(Pack<T, kWide>)) && (adjacent | apart) % kWide == 0;
        const int width = wide_ ? kWide : 1, across = (along_ ? kLength : kDepth) / width;
        const int near = t % across * width, far = t / across;
        row_ = along_ ? near : far;
        level_ = along_ ? far : near;
        from_ = static_cast<const T*>(data) + (first + row_) * stride;
        step_ = kThreads / across * apart;
        rows_ = static_cast<int>(rows - first < kLength ? rows - first : kLength) - row_;
    }
    // From row `level` of k on. Numbers beyond the end are taken for 0.
    OWL_DEVICE void fetch(int64_t level) {
        const int levels = static_cast<int>(levels_ - level < kDepth ? levels_ - level : kDepth) - level_;
        const T* from = from_ + (level + level_) * level_stride_;
        const int pace = wide_ ? kWide : 1;
        int count = 0;  // of its numbers that are not beyond
        if (rows_ > 0 && levels > 0) count = along_ ? ceil_div(levels, kLevelStep * pace) : ceil_div(rows_, kRowStep * pace);
        if (wide_) {
            OWL_UNROLL
            for (int p = 0; p < kEach; p += kWide) {
                Pack<T, kWide> pack = {};
                if (p < count * kWide) pack = *pack_at<T, kWide>(from, p / kWide * step_);
                OWL_UNROLL
                for (int v = 0; v < kWide; ++v) number_[p + v] = pack.value[v];
            }
        } else {
            OWL_UNROLL
            for (int p = 0; p < kEach; ++p) number_[p] = p < count ? from[p * step_] : T(0);
        }
    }
    template <class Shared>
    OWL_DEVICE void put(Shared& shared, int at) const {
        at += level_ * kPitch + row_;
        if (wide_ && along_) {
            put_each<kWide, kLevelStep * kWide * kPitch, 1>(shared, at);
        } else if (wide_) {
            put_each<kWide, kRowStep * kWide, kPitch>(shared, at);
        } else if (along_) {
            put_each<1, kLevelStep * kPitch, 0>(shared, at);
        } else {
            put_each<1, kRowStep, 0>(shared, at);
        }
    }

   private:
    static constexpr int kEach = kLength * kDepth / kThreads, kPitch = kLength + 16 / static_cast<int>(sizeof(T));
    static constexpr int kLevelStep = kThreads / kLength, kRowStep = kThreads / kDepth;  // of numbers one by one
    static constexpr int kVector = 16 / static_cast<int>(sizeof(T)), kWide = kEach < kVector ? kEach : kVector;
    static_assert(kThreads % kLength == 0 && kThreads % kDepth == 0, "a share lies along one dimension");
    static_assert(kEach % kWide == 0 && kLength % kWide == 0 && kDepth % kWide == 0, "wide loads are whole");
    OWL_DEVICE static int ceil_div(int n, int by) { return (n + by - 1) / by; }

    // Loads of `width` numbers lie `step` apart, and their numbers `apart`.
    template <int width, int step, int apart, class Shared>
    OWL_DEVICE void put_each(Shared& shared, int at) const {
        OWL_UNROLL
        for (int p = 0; p < kEach; ++p) shared[at + p / width * step + p % width * apart] = number_[p];
    }

    T number_[kEach] = {};
    bool along_, wide_;
    int row_, level_, rows_;
    int64_t level_stride_, levels_, step_;
    const T* from_;
};

// Where in the tile the rows and columns of threads are, by their numbers.
template <class T, class Tile>
OWL_DEVICE int tile_row(int across, int i) {
    constexpr int kVector = GemmSizes<T, Tile>::kVector, kAcross = GemmSizes<T, Tile>::kAcross;
    return i / kVector * (kVector * kAcross) + across * kVector + i % kVector;
}
template <class T, class Tile>
OWL_DEVICE int tile_column(int down, int j) {
    constexpr int kVector = GemmSizes<T, Tile>::kVector, kDown = GemmSizes<T, Tile>::kDown;
    return j / kVector * (kVector * kDown) + down * kVector + j % kVector;
}

// One row of k: a thread's elements get a product each.
template <class T, class Tile, class Shared>
OWL_DEVICE void multiply_level(Shared& shared, int a, int b, int t, T* own) {
    constexpr int kAcross = GemmSizes<T, Tile>::kAcross;
    T x[Tile::kThreadRows], y[Tile::kThreadColumns];
    OWL_UNROLL
    for (int i = 0; i < Tile::kThreadRows; ++i) x[i] = shared[a + tile_row<T, Tile>(t % kAcross, i)];
    OWL_UNROLL
    for (int j = 0; j < Tile::kThreadColumns; ++j) y[j] = shared[b + tile_column<T, Tile>(t / kAcross, j)];
    OWL_UNROLL
    for (int j = 0; j < Tile::kThreadColumns; ++j)
        OWL_UNROLL
        for (int i = 0; i < Tile::kThreadRows; ++i)
            own[j * Tile::kThreadRows + i] = fma(x[i], y[j], own[j * Tile::kThreadRows + i]);
}

// The rows of the block's tile begin at `row`, its columns at `column`. `sums` are the threads' own, kOwn for each.
template <class T, class Tile, class Shared, class Sums>
OWL_DEVICE void multiply_tile(const GemmLaunch& a, int64_t row, int64_t column, Shared& shared, Sums& sums) {
    using Sizes = GemmSizes<T, Tile>;
    constexpr int kDepth = Tile::kDepth;
    using ShareA = PanelShare<T, Tile::kRows, kDepth, Tile::kThreads>;
    using ShareB = PanelShare<T, Tile::kColumns, kDepth, Tile::kThreads>;
    OWL_THREADS(t) {
        T* own = OWL_OWN(sums, t);
        OWL_UNROLL
        for (int e = 0; e < Sizes::kOwn; ++e) own[e] = T(0);
        if (a.k > 0) {
            ShareA share_a(a.a, a.a_row, a.a_col, row, a.m, a.k, t);
            ShareB share_b(a.b, a.b_col, a.b_row, column, a.n, a.k, t);
            share_a.fetch(0);
            share_b.fetch(0);
            share_a.put(shared, 0);
            share_b.put(shared, Sizes::kPanelA);
        }
    }
    OWL_BARRIER();
    int now = 0;  // where the panels in hand begin
    OWL_ROLLED
    for (int64_t l = 0; l < a.k; l += kDepth) {
        const int other = Sizes::kPanels - now;
        const int64_t next = l + kDepth;
        OWL_THREADS(t) {
            T* own = OWL_OWN(sums, t);
            const auto multiply = [&](int d) {
                const int panel_a = now + d * Sizes::kPitchA, panel_b = now + Sizes::kPanelA + d * Sizes::kPitchB;
                multiply_level<T, Tile>(shared, panel_a, panel_b, t, own);
            };
            ShareA share_a(a.a, a.a_row, a.a_col, row, a.m, a.k, t);
            ShareB share_b(a.b, a.b_col, a.b_row, column, a.n, a.k, t);
            if (next < a.k) {
                share_a.fetch(next);
                share_b.fetch(next);
            }
            if (next <= a.k) {
                OWL_UNROLL
                for (int d = 0; d < kDepth; ++d) multiply(d);
            } else {
                OWL_ROLLED
                for (int d = 0; d < static_cast<int>(a.k - l); ++d) multiply(d);
            }
            if (next < a.k) {
                share_a.put(shared, other);
                share_b.put(shared, other + Sizes::kPanelA);
            }
        }
        OWL_BARRIER();
        now = other;
    }
}

// From the threads' sums to shared memory, where neighboring threads find neighboring rows: column j of each thread, as
// [kDown][kRows]. A barrier follows. The loop keeps the sums in registers, which have no number that a program could compute.
template <class T, class Tile, class Shared, class Sums>
OWL_DEVICE void stage_column(Shared& shared, Sums& sums, int wanted) {
    constexpr int kAcross = GemmSizes<T, Tile>::kAcross;
    OWL_THREADS(t) {
        const T* own = OWL_OWN(sums, t);
        OWL_UNROLL
        for (int j = 0; j < Tile::kThreadColumns; ++j) {
            if (j != wanted) continue;
            OWL_UNROLL
            for (int i = 0; i < Tile::kThreadRows; ++i)
                shared[t / kAcross * Tile::kRows + tile_row<T, Tile>(t % kAcross, i)] = own[j * Tile::kThreadRows + i];
        }
    }
}

}  // namespace cuda
}  // namespace owl
