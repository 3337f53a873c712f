// Winograd's minimal filtering (Lavin and Gray, CVPR'16), F(4x4, RxR) for R = 3 and 5, over blocks of channels.
//
// With the points 0, ±1, ±2, infinity (R = 3), and ±1/2 as well (R = 5), four outputs of a correlation in one dimension
// are y = A' [(G g) * (B' d)]: d are the R + 3 inputs, g the filter. In two dimensions each matrix is applied on both
// sides. The gradient of the filter is G' [(A dy) * (B' d)], exactly the adjoint.
#pragma once
#include "conv_result.h"

namespace owl {
namespace OWL_ISA {

template <int R>
struct Winograd;

template <>
struct Winograd<3> {
    static constexpr int P = 6;
    static constexpr float G[6][3] = {{1 / 4.f, 0, 0},
                                      {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                      {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                      {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                      {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                      {0, 0, 1}};

    static OWL_INLINE void input(VecF* d) {  // B'
        const VecF even = fma(set1(-4.f), d[2], d[4]), odd = fma(set1(-4.f), d[1], d[3]);
        const VecF even2 = d[4] - d[2], odd2 = 2.f * (d[3] - d[1]);
        d[0] = fma(set1(4.f), d[0], fma(set1(-5.f), d[2], d[4]));
        d[5] = fma(set1(4.f), d[1], fma(set1(-5.f), d[3], d[5]));
        d[1] = even + odd;
        d[2] = even - odd;
        d[3] = even2 + odd2;
        d[4] = even2 - odd2;
    }
    static OWL_INLINE void output(const VecF* m, VecF* y) {  // A'
        const VecF s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
        y[0] = m[0] + s1 + s2;
        y[1] = fma(set1(2.f), d2, d1);
        y[2] = fma(set1(4.f), s2, s1);
        y[3] = fma(set1(8.f), d2, d1) + m[5];
    }
    static OWL_INLINE void spread(const VecF* y, VecF* m) {  // A
        const VecF s1 = y[0] + y[2], d1 = y[1] + y[3];
        const VecF s2 = fma(set1(4.f), y[2], y[0]), d2 = fma(set1(8.f), y[3], 2.f * y[1]);
        m[0] = y[0];
        m[1] = s1 + d1;
        m[2] = s1 - d1;
        m[3] = s2 + d2;
        m[4] = s2 - d2;
        m[5] = y[3];
    }
};

template <>
struct Winograd<5> {
    static constexpr int P = 8;
    static constexpr float G[8][5] = {{1, 0, 0, 0, 0},
                                      {-2 / 9.f, -2 / 9.f, -2 / 9.f, -2 / 9.f, -2 / 9.f},
                                      {-2 / 9.f, 2 / 9.f, -2 / 9.f, 2 / 9.f, -2 / 9.f},
                                      {1 / 90.f, 1 / 45.f, 2 / 45.f, 4 / 45.f, 8 / 45.f},
                                      {1 / 90.f, -1 / 45.f, 2 / 45.f, -4 / 45.f, 8 / 45.f},
                                      {32 / 45.f, 16 / 45.f, 8 / 45.f, 4 / 45.f, 2 / 45.f},
                                      {32 / 45.f, -16 / 45.f, 8 / 45.f, -4 / 45.f, 2 / 45.f},
                                      {0, 0, 0, 0, 1}};

    static OWL_INLINE void input(VecF* d) {  // B'
        const VecF first = fma(set1(5.25f), d[4] - d[2], d[0] - d[6]);
        const VecF last = fma(set1(5.25f), d[3] - d[5], d[7] - d[1]);
        const VecF even1 = fma(set1(-4.25f), d[4], d[2] + d[6]), odd1 = fma(set1(-4.25f), d[3], d[1] + d[5]);
        const VecF even2 = fma(set1(0.25f), d[2], fma(set1(-1.25f), d[4], d[6]));
        const VecF odd2 = fma(set1(0.5f), d[1], fma(set1(-2.5f), d[3], 2.f * d[5]));
        const VecF even3 = fma(set1(4.f), d[2], fma(set1(-5.f), d[4], d[6]));
        const VecF odd3 = fma(set1(0.5f), d[5], fma(set1(-2.5f), d[3], 2.f * d[1]));
        d[0] = first;
        d[1] = even1 + odd1;
        d[2] = even1 - odd1;
        d[3] = even2 + odd2;
        d[4] = even2 - odd2;
        d[5] = even3 + odd3;
        d[6] = even3 - odd3;
        d[7] = last;
    }
    static OWL_INLINE void output(const VecF* m, VecF* y) {  // A'
        const VecF s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
        const VecF s3 = m[5] + m[6], d3 = m[5] - m[6];
        y[0] = m[0] + s1 + s2 + s3;
        y[1] = fma(set1(0.5f), d3, fma(set1(2.f), d2, d1));
        y[2] = fma(set1(0.25f), s3, fma(set1(4.f), s2, s1));
        y[3] = fma(set1(0.125f), d3, fma(set1(8.f), d2, d1)) + m[7];
    }
    static OWL_INLINE void spread(const VecF* y, VecF* m) {  // A
        const VecF s1 = y[0] + y[2], d1 = y[1] + y[3];
        const VecF s2 = fma(set1(4.f), y[2], y[0]), d2 = fma(set1(8.f), y[3], 2.f * y[1]);
        const VecF s3 = fma(set1(0.25f), y[2], y[0]), d3 = fma(set1(0.125f), y[3], 0.5f * y[1]);
        m[0] = y[0];
        m[1] = s1 + d1;
        m[2] = s1 - d1;
        m[3] = s2 + d2;
        m[4] = s2 - d2;
        m[5] = s3 + d3;
        m[6] = s3 - d3;
        m[7] = y[3];
    }
};

constexpr int64_t kTile = 4;  // outputs of a tile, in each dimension
constexpr int64_t kLanes = kWidth<float>;

// The scratch areas that hold tiles' transforms take about this much of a core's cache.
constexpr int64_t kTransformBytes = 512 * 1024;
// So many transformed filters fill half of it.
constexpr int64_t kFilterNumbers = 256 * 1024;

// A convolution at stride 1 between `in` and `out` channels of a group, as a correlation of padded inputs; the adjoint
// in the data is one, too.
struct Plane {
    int64_t in, out;
    int64_t in_w, in_h, out_w, out_h, pad_w, pad_h;
    int64_t in_vectors, out_vectors, tiles_x, tiles_y;

    Plane(const ConvArgs& a, bool adjoint) {
        in = (adjoint ? a.c_out : a.c_in) / a.groups;
        out = (adjoint ? a.c_in : a.c_out) / a.groups;
        in_w = adjoint ? a.out_w : a.w;
        in_h = adjoint ? a.out_h : a.h;
        out_w = adjoint ? a.w : a.out_w;
        out_h = adjoint ? a.h : a.out_h;
        pad_w = adjoint ? a.kw - 1 - a.pad_w : a.pad_w;
        pad_h = adjoint ? a.kh - 1 - a.pad_h : a.pad_h;
        in_vectors = ceil_div(in, kLanes);
        out_vectors = ceil_div(out, kLanes);
        tiles_x = ceil_div(out_w, kTile);
        tiles_y = ceil_div(out_h, kTile);
    }

    // The transformed filters leave little room in a core's cache: they are read anew for each chunk.
    bool wide(int points) const { return points * points * in * out > kFilterNumbers; }

    // How many tiles to transform at a time.
    int64_t tile_budget(int points) const {
        const int64_t bytes = points * points * (in_vectors + out_vectors) * kVectorBytes;
        return min64(max64(kTransformBytes / bytes, wide(points) ? 32 : 12), 64);
    }
};

// Rows of tiles [begin, end) of an image.
struct TileRows {
    int64_t begin, end;
    int64_t count() const { return end - begin; }
};

// Transforms all tiles of one block of channels. The block holds the padded inputs of the rows of tiles, `pitch` pixels
// a row; a tile's number (i, j) goes to v + (i * P + j) * point.
template <int R>
void transform_input(const float* block, int64_t pitch, int64_t rows, int64_t columns, float* v, int64_t point) {
    constexpr int P = Winograd<R>::P;
    for (int64_t ty = 0; ty < rows; ++ty)
        for (int64_t tx = 0; tx < columns; ++tx, v += kLanes) {
            const float* corner = block + (ty * kTile * pitch + tx * kTile) * kLanes;
            VecF t[P][P];
#pragma GCC unroll 1
            for (int j = 0; j < P; ++j) {
                VecF d[P];
#pragma GCC unroll 8
                for (int i = 0; i < P; ++i) d[i] = load(corner + (i * pitch + j) * kLanes);
                Winograd<R>::input(d);
#pragma GCC unroll 8
                for (int i = 0; i < P; ++i) t[i][j] = d[i];
            }
#pragma GCC unroll 1
            for (int i = 0; i < P; ++i) {
                Winograd<R>::input(t[i]);
#pragma GCC unroll 8
                for (int j = 0; j < P; ++j) store(v + (i * P + j) * point, t[i][j]);
            }
        }
}

// A block of padded inputs for some rows of tiles.
struct PaddedBlock {
    int64_t pitch, rows;
    PaddedBlock(const Plane& p, int R, int64_t tile_rows)
        : pitch(p.tiles_x * kTile + R - 1), rows(tile_rows * kTile + R - 1) {}
    int64_t size() const { return pitch * rows * kLanes; }
    void clear(float* block) const { memset(block, 0, size_t(size()) * sizeof(float)); }

    // Fills in the data, leaving the padding as it is.
    void load(const Plane& p, const TileRows& t, const Channels<const float>& data, int64_t image, int64_t channel,
              int64_t channels, float* block) const {
        const int64_t origin = t.begin * kTile - p.pad_h, first = max64(0, origin), last = min64(p.in_h, origin + rows);
        if (first >= last) return;
        load_channels(data, image, channel, channels, first, last - first, p.in_w,
                      block + ((first - origin) * pitch + p.pad_w) * kLanes, pitch);
    }
};

// Which windows of an image's rows of tiles hold nothing but zeros. Transforms leave rounding errors there, of numbers of
// the rest of the tile; the result is to be exactly what zeros make.
template <int R>
struct BlankWindows {
    static constexpr int64_t kBits = 64;

    int64_t pitch, rows, words;              // of the padded inputs: pixels, and words of bits of a row
    int64_t out_w, out_rows, out_pitch;      // of the outputs
    int64_t last_column, last_row;           // of the data among the padded inputs

    // The padding is narrower than a window, so that none lies in it alone.
    BlankWindows(const Plane& p, const TileRows& t)
        : pitch(p.tiles_x * kTile + R - 1), rows(t.count() * kTile + R - 1), words(pitch / kBits + 2), out_w(p.out_w),
          out_rows(max64(0, min64(t.count() * kTile, p.out_h - t.begin * kTile))), out_pitch(p.tiles_x * kTile),
          last_column(p.pad_w + p.in_w - 1), last_row(min64(rows, p.pad_h + p.in_h - t.begin * kTile) - 1) {}

    // Whether some window may be blank. Each window holds one of these pixels at least, few as they are.
    bool sample(const float* block) const {
        for (int64_t y = R - 1, previous = -1; previous < out_rows - 1; previous = y, y += R) {
            y = min64(y, last_row);
            for (int64_t x = R - 1, before = -1; before < out_w - 1; before = x, x += R) {
                x = min64(x, last_column);
                if (!any(ne(load(block + (y * pitch + x) * kLanes), VecF{}))) return true;
            }
        }
        return false;
    }

    // Adds a block of channels to what is known of the pixels: a bit is set where all are zeros.
    void look(const float* block, bool first, uint64_t* blank) const {
        for (int64_t y = 0; y < rows; ++y)
            for (int64_t w = 0; w < words; ++w, ++blank) {
                uint64_t bits = 0;
                const int64_t begin = w * kBits, count = max64(0, min64(kBits, pitch - begin));
                const float* from = block + (y * pitch + begin) * kLanes;
                for (int64_t i = 0; i < count; ++i)
                    bits |= uint64_t(!any(ne(load(from + i * kLanes), VecF{}))) << i;
                *blank = first ? bits : *blank & bits;
            }
    }

    // Lists the outputs of blank windows, by their place in a block of outputs.
    int64_t list(const uint64_t* blank, int32_t* places) const {
        int64_t found = 0;
        for (int64_t y = 0; y < out_rows; ++y)
            for (int64_t x = 0; x < out_w; x += kBits - R + 1) {
                uint64_t bits = ~uint64_t(0);
                for (int64_t k = 0; k < R; ++k) {
                    const uint64_t* from = blank + (y + k) * words + x / kBits;
                    const int64_t shift = x % kBits;
                    bits &= shift ? from[0] >> shift | from[1] << (kBits - shift) : from[0];
                }
                uint64_t windows = bits;
                for (int k = 1; k < R; ++k) windows &= bits >> k;
                for (; windows; windows &= windows - 1) {
                    const int64_t at = x + __builtin_ctzll(windows);
                    if (at < min64(out_w, x + kBits - R + 1)) places[found++] = int32_t(y * out_pitch + at);
                }
            }
        return found;
    }
};

}  // namespace OWL_ISA
}  // namespace owl
