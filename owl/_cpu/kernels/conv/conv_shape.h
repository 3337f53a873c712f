// How a convolution's outputs reach its inputs, along one dimension and over a strip of rows.
#pragma once
#include "conv_block.h"

namespace owl {
namespace OWL_ISA {

// One dimension of a convolution (forward) or of its adjoint in the data. Output line step_out * j + r, of class r,
// adds over its taps k the input line step_in * (j + shift) + phase times the filter's line size - 1 - k. Forward,
// there is one class and the inputs have `stride` phases; backward it is the other way round.
struct Axis {
    bool adjoint;
    int64_t in, out, size, pad, stride, dilation;

    int64_t step_in() const { return adjoint ? 1 : stride; }
    int64_t step_out() const { return adjoint ? stride : 1; }
    int64_t lines(int64_t r) const { return r < out ? ceil_div(out - r, step_out()) : 0; }

    bool tap(int64_t r, int64_t k, int64_t* phase, int64_t* shift) const {
        const int64_t offset = adjoint ? r + pad - k * dilation : k * dilation - pad;
        *shift = floor_div(offset, stride);
        *phase = adjoint ? 0 : offset - *shift * stride;
        return !adjoint || offset == *shift * stride;
    }

    // The least and the greatest shift of any tap.
    void reach(int64_t* low, int64_t* high) const {
        bool any = false;
        *low = *high = 0;
        for (int64_t r = 0; r < step_out(); ++r)
            for (int64_t k = 0; k < size; ++k) {
                int64_t phase, shift;
                if (!tap(r, k, &phase, &shift)) continue;
                *low = any ? min64(*low, shift) : shift;
                *high = any ? max64(*high, shift) : shift;
                any = true;
            }
    }
};

inline Axis horizontal(const ConvArgs& a, bool adjoint) {
    return {adjoint, adjoint ? a.out_w : a.w, adjoint ? a.w : a.out_w, a.kw, a.pad_w, a.stride_w, a.dilation_w};
}
inline Axis vertical(const ConvArgs& a, bool adjoint) {
    return {adjoint, adjoint ? a.out_h : a.h, adjoint ? a.h : a.out_h, a.kh, a.pad_h, a.stride_h, a.dilation_h};
}

inline bool pools(const ConvArgs& a) { return a.pool.op != PoolOp::none; }
inline int64_t result_w(const ConvArgs& a) { return pools(a) ? a.pool.out_w : a.out_w; }
inline int64_t result_h(const ConvArgs& a) { return pools(a) ? a.pool.out_h : a.out_h; }

// The convolution's rows that rows [first, last) of the result need.
inline void rows_of_result(const ConvArgs& a, int64_t first, int64_t last, int64_t* begin, int64_t* end) {
    *begin = pools(a) ? min64(max64(first * a.pool.stride_h - a.pool.pad_h, 0), a.out_h) : first;
    *end = pools(a) ? min64(max64((last - 1) * a.pool.stride_h - a.pool.pad_h + a.pool.h, *begin), a.out_h) : last;
}

// A tap of an input that `load_phases` prepared: where its line begins, and which number of the filter it is.
struct Taps {
    int64_t* offset;
    int64_t* filter;
    int64_t* class_begin;  // [step_out_h * step_out_w + 1]

    Taps(const Axis& y, const Axis& x, Carver& carver) {
        offset = carver.take<int64_t>(y.size * x.size);
        filter = carver.take<int64_t>(y.size * x.size);
        class_begin = carver.take<int64_t>(y.step_out() * x.step_out() + 1);
    }

    void fill(const Axis& y, const Axis& x, int64_t pitch, int64_t phase_plane) {
        int64_t y_low, y_high, x_low, x_high, n = 0, classes = 0;
        y.reach(&y_low, &y_high);
        x.reach(&x_low, &x_high);
        for (int64_t ry = 0; ry < y.step_out(); ++ry)
            for (int64_t rx = 0; rx < x.step_out(); ++rx) {
                class_begin[classes++] = n;
                for (int64_t ky = 0; ky < y.size; ++ky)
                    for (int64_t kx = 0; kx < x.size; ++kx) {
                        int64_t y_phase, y_shift, x_phase, x_shift;
                        if (!y.tap(ry, ky, &y_phase, &y_shift) || !x.tap(rx, kx, &x_phase, &x_shift)) continue;
                        offset[n] = (y_phase * x.step_in() + x_phase) * phase_plane + (y_shift - y_low) * pitch +
                                    (x_shift - x_low);
                        filter[n++] = (y.size - 1 - ky) * x.size + (x.size - 1 - kx);
                    }
            }
        class_begin[classes] = n;
    }
};

// A strip of input channels, padded and split by phase: [channel][phase_y][phase_x][row][column], so that neighbouring
// outputs read neighbouring inputs whatever the stride.
struct Phases {
    int64_t rows, pitch, plane, channel;

    // For `lines` output lines j of every class.
    Phases(const Axis& y, const Axis& x, int64_t lines) {
        int64_t y_low, y_high, x_low, x_high;
        y.reach(&y_low, &y_high);
        x.reach(&x_low, &x_high);
        rows = lines + y_high - y_low;
        pitch = x.lines(0) + x_high - x_low;
        plane = rows * pitch;
        channel = plane * y.step_in() * x.step_in();
    }
};

// The numbers at 0, 2, 4, …; nothing beyond the last one is read.
template <class T>
OWL_INLINE void load_every_other(const T* row, int64_t count, T* target) {
    constexpr int N = kWidth<T>;
    int64_t j = 0;
    for (; j + N < count; j += N) store(target + j, even_lanes(load(row + 2 * j), load(row + 2 * j + N)));
    const int rest = int(count - j), numbers = 2 * rest - 1;
    if (rest <= 0) return;
    const Vec<T> low = load_lanes(row + 2 * j, numbers < N ? numbers : N);
    const Vec<T> high = numbers > N ? load_partial(row + 2 * j + N, numbers - N) : Vec<T>{};
    store_lanes(target + j, even_lanes(low, high), rest);
}

// Most rows are too short for the library's functions to pay, and its compiler would call them.
template <class T>
OWL_INLINE void clear_row(T* target, int64_t count) {
    constexpr int N = kWidth<T>;
    for (; count > 0; count -= N, target += N) store_lanes(target, Vec<T>{}, int(min64(count, N)));
}
template <class T>
OWL_INLINE void copy_row(const T* row, int64_t count, T* target) {
    constexpr int N = kWidth<T>;
    for (; count > 0; count -= N, row += N, target += N) {
        const int lanes = int(min64(count, N));
        store_lanes(target, load_lanes(row, lanes), lanes);
    }
}

// One row of a phase: numbers [begin, end) of the target are the row's, `step` apart.
template <class T>
OWL_INLINE void load_phase_row(const T* row, int64_t step, int64_t begin, int64_t end, int64_t count, T* target) {
    clear_row(target, begin);
    if (step == 1) copy_row(row + begin, end - begin, target + begin);
    else if (step == 2) load_every_other(row + 2 * begin, end - begin, target + begin);
    else
        for (int64_t j = begin; j < end; ++j) target[j] = row[j * step];
    clear_row(target + end, count - end);
}

// For the output lines from `first_line` on.
template <class T>
void load_phases(const Axis& y, const Axis& x, const Phases& p, const T* source, int64_t channels, int64_t first_line,
                 T* target) {
    int64_t y_low, y_high, x_low, x_high;
    y.reach(&y_low, &y_high);
    x.reach(&x_low, &x_high);
    for (int64_t px = 0; px < x.step_in(); ++px) {
        // Columns [begin, end) of a row are inside the data.
        const int64_t step = x.step_in(), origin = step * x_low + px;
        const int64_t begin = min64(origin < 0 ? ceil_div(-origin, step) : 0, p.pitch);
        const int64_t end = max64(begin, origin < x.in ? min64(ceil_div(x.in - origin, step), p.pitch) : 0);
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t py = 0; py < y.step_in(); ++py) {
                T* plane = target + c * p.channel + (py * step + px) * p.plane;
                for (int64_t i = 0; i < p.rows; ++i, plane += p.pitch) {
                    const int64_t line = y.step_in() * (first_line + y_low + i) + py;
                    const bool inside = line >= 0 && line < y.in;
                    const T* row = source + (c * y.in + (inside ? line : 0)) * x.in + origin;
                    load_phase_row(row, step, inside ? begin : p.pitch, inside ? end : p.pitch, p.pitch, plane);
                }
            }
    }
}

// The channels of a group in units of two vectors, the last of which may have one.
template <class T>
struct Units {
    int64_t channels;  // per group

    static constexpr int64_t kSize = 2 * kWidth<T>;
    int64_t count() const { return ceil_div(channels, kSize); }
    int64_t vectors() const { return ceil_div(channels, kWidth<T>); }
    int64_t size(int64_t unit) const { return min64(kSize, channels - unit * kSize); }
    int vectors(int64_t unit) const { return size(unit) > kWidth<T> ? 2 : 1; }
};

// Rows are cut into strips of nearly equal height.
struct Strips {
    int64_t total, rows;

    static Strips whole(int64_t total) { return {total, max64(total, 1)}; }

    // A strip's block fits a core's cache.
    static Strips cached(int64_t total, int64_t bytes_per_row) { return cut(total, most_rows(bytes_per_row)); }

    // The same, and few images, or other parts that are shared out, still give some 32 chunks.
    static Strips shared(int64_t total, int64_t bytes_per_row, int64_t parts) {
        constexpr int64_t kChunks = 32;
        int64_t most = most_rows(bytes_per_row);
        if (parts < kChunks) most = min64(most, max64(4, ceil_div(total * parts, kChunks)));
        return cut(total, most);
    }

    int64_t count() const { return max64(1, ceil_div(total, rows)); }
    int64_t begin(int64_t strip) const { return strip * rows; }
    int64_t end(int64_t strip) const { return min64(total, (strip + 1) * rows); }

private:
    static int64_t most_rows(int64_t bytes_per_row) {
        constexpr int64_t kCacheBytes = 256 * 1024;
        return max64(1, kCacheBytes / max64(bytes_per_row, 1));
    }
    static Strips cut(int64_t total, int64_t most) {
        const int64_t rows = max64(total, 1);
        return {total, ceil_div(rows, ceil_div(rows, most))};
    }
};

}  // namespace OWL_ISA
}  // namespace owl
