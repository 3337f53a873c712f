// Blocks of channels: lane i of a vector is channel i of a block, so that windows of any size, stride and clipping need
// no shuffles. Data enters and leaves blocks by transposition, a few rows at a time, while it is in the cache.
#pragma once
#include <stdint.h>
#include <string.h>

#include "conv_args.h"
#include "_cpu/kernels/lanes.h"
#include "_cpu/kernels/transpose.h"

namespace owl {
namespace OWL_ISA {

OWL_INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Hands out 64-byte aligned parts of a scratch area; without an area it only counts.
struct Carver {
    char* base;
    size_t used = 0;
    template <class E>
    E* take(int64_t count) {
        E* part = base ? reinterpret_cast<E*>(base + used) : nullptr;
        used += (size_t(count) * sizeof(E) + 63) & ~size_t(63);
        return part;
    }
};

// Bytes become numbers and numbers bytes: an argmax is a number while it is in a block. Conversions between vectors of
// such different lanes are left to intrinsics, since compilers do them lane by lane; the masked forms, all lanes set,
// because GCC 12 warns of the unmasked ones.
struct alignas(16) Bytes {
    uint8_t lane[16];
};
#if defined(__AVX512F__)
OWL_INLINE void from_bytes(const Bytes& b, VecF& v) {
    v = (VecF)_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepu8_epi32(0xffff, _mm_load_si128((const __m128i*)&b)));
}
OWL_INLINE void from_bytes(const Bytes& b, VecD& v) {
    v = (VecD)_mm512_maskz_cvtepi32_pd(0xff, _mm256_cvtepu8_epi32(_mm_load_si128((const __m128i*)&b)));
}
OWL_INLINE Bytes to_bytes(VecF v) {
    Bytes b;
    _mm_store_si128((__m128i*)&b, _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_maskz_cvttps_epi32(0xffff, (__m512)v)));
    return b;
}
OWL_INLINE Bytes to_bytes(VecD v) {
    Bytes b;
    _mm_store_si128((__m128i*)&b, _mm256_maskz_cvtepi32_epi8(0xff, _mm512_maskz_cvttpd_epi32(0xff, (__m512d)v)));
    return b;
}
#elif defined(__AVX2__)
OWL_INLINE void from_bytes(const Bytes& b, VecF& v) {
    v = (VecF)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_load_si128((const __m128i*)&b)));
}
OWL_INLINE void from_bytes(const Bytes& b, VecD& v) {
    v = (VecD)_mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_load_si128((const __m128i*)&b)));
}
OWL_INLINE Bytes narrow_to_bytes(__m128i low, __m128i high) {
    const __m128i words = _mm_packus_epi32(low, high);
    Bytes b;
    _mm_store_si128((__m128i*)&b, _mm_packus_epi16(words, words));
    return b;
}
OWL_INLINE Bytes to_bytes(VecF v) {
    const __m256i n = _mm256_cvttps_epi32((__m256)v);
    return narrow_to_bytes(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
}
OWL_INLINE Bytes to_bytes(VecD v) {
    const __m128i n = _mm256_cvttpd_epi32((__m256d)v);
    return narrow_to_bytes(n, n);
}
#else
template <class V>
OWL_INLINE void from_bytes(const Bytes& b, V& v) {
    for (int i = 0; i < kWidth<Lane<V>>; ++i) v[i] = b.lane[i];
}
template <class V>
OWL_INLINE Bytes to_bytes(V v) {
    Bytes b;
    for (int i = 0; i < kWidth<Lane<V>>; ++i) b.lane[i] = uint8_t(v[i]);
    return b;
}
#endif

template <class T>
OWL_INLINE Vec<T> load_bytes(const uint8_t* p, int64_t count) {
    Bytes bytes = {};
    if (count == kWidth<T>) memcpy(&bytes, p, kWidth<T>);
    else memcpy(&bytes, p, size_t(count));
    Vec<T> v;
    from_bytes(bytes, v);
    return v;
}
template <class T>
OWL_INLINE void store_bytes(uint8_t* p, Vec<T> v, int64_t count) {
    const Bytes bytes = to_bytes(v);
    if (count == kWidth<T>) memcpy(p, &bytes, kWidth<T>);
    else memcpy(p, &bytes, size_t(count));
}

// Walks over the pixels of `columns`-wide rows in a block whose rows are `pitch` pixels apart.
struct PixelWalk {
    int64_t columns, pitch, column = 0, pixel = 0;
    OWL_INLINE int64_t next() {
        const int64_t at = pixel++;
        if (++column == columns) {
            column = 0;
            pixel += pitch - columns;
        }
        return at;
    }
    // Goes on by n pixels of the same row.
    OWL_INLINE void skip(int64_t n) {
        pixel += n - 1;
        column += n - 1;
        next();
    }
};

struct Identity {
    template <class V>
    OWL_INLINE V operator()(V v) const { return v; }
};

// The tile's rows are the block's next n pixels. Whole tiles stay in registers: their rows have constant indices.
template <class T, class Map>
OWL_INLINE void load_pixels(Tile<T>& tile, int n, const T* block, PixelWalk& walk, Map map) {
    constexpr int N = kWidth<T>;
    if (n == N && walk.column + N <= walk.columns) {
        const T* first = block + walk.pixel * N;
#pragma GCC unroll 16
        for (int p = 0; p < N; ++p) tile.row[p] = map(load(first + p * N));
        walk.skip(N);
    } else if (n == N) {
#pragma GCC unroll 16
        for (int p = 0; p < N; ++p) tile.row[p] = map(load(block + walk.next() * N));
    } else {
        for (int p = 0; p < N; ++p) tile.row[p] = p < n ? map(load(block + walk.next() * N)) : Vec<T>{};
    }
}
template <class T>
OWL_INLINE void store_pixels(const Tile<T>& tile, int n, T* block, PixelWalk& walk) {
    constexpr int N = kWidth<T>;
    if (n == N && walk.column + N <= walk.columns) {
        T* first = block + walk.pixel * N;
#pragma GCC unroll 16
        for (int p = 0; p < N; ++p) store(first + p * N, tile.row[p]);
        walk.skip(N);
    } else if (n == N) {
#pragma GCC unroll 16
        for (int p = 0; p < N; ++p) store(block + walk.next() * N, tile.row[p]);
    } else {
        for (int p = 0; p < n; ++p) store(block + walk.next() * N, tile.row[p]);
    }
}

// planes[c][pixel] -> block[pixel][lane c]; lanes from `channels` on become 0.
template <class T>
void load_block(const T* planes, int64_t plane, int64_t channels, int64_t rows, int64_t columns, T* block,
                int64_t pitch) {
    constexpr int N = kWidth<T>;
    PixelWalk walk = columns == pitch ? PixelWalk{rows * columns, rows * columns} : PixelWalk{columns, pitch};
    for (int64_t i = 0, pixels = rows * columns; i < pixels; i += N) {
        const int n = int(min64(N, pixels - i));
        Tile<T> tile;
        tile.load_rows(planes + i, plane, int(min64(N, channels)), n);
        tile.transpose();
        store_pixels(tile, n, block, walk);
    }
}

template <class T>
void load_byte_block(const uint8_t* planes, int64_t plane, int64_t channels, int64_t pixels, T* block) {
    constexpr int N = kWidth<T>;
    for (int64_t i = 0; i < pixels; i += N) {
        const int n = int(min64(N, pixels - i));
        Tile<T> tile;
        if (n == N && channels >= N) {
#pragma GCC unroll 16
            for (int c = 0; c < N; ++c) tile.row[c] = load_bytes<T>(planes + c * plane + i, N);
        } else {
            for (int c = 0; c < N; ++c)
                tile.row[c] = c < channels ? load_bytes<T>(planes + c * plane + i, n) : Vec<T>{};
        }
        tile.transpose();
        PixelWalk walk{pixels, pixels, i, i};
        store_pixels(tile, n, block, walk);
    }
}

// block[pixel][lane c] -> planes[c][pixel], each vector passed through `map`.
template <class T, class Map>
OWL_INLINE void store_block(const T* block, int64_t pitch, int64_t rows, int64_t columns, T* planes, int64_t plane,
                            int64_t channels, Map map) {
    constexpr int N = kWidth<T>;
    PixelWalk walk = columns == pitch ? PixelWalk{rows * columns, rows * columns} : PixelWalk{columns, pitch};
    for (int64_t i = 0, pixels = rows * columns; i < pixels; i += N) {
        const int n = int(min64(N, pixels - i));
        Tile<T> tile;
        load_pixels(tile, n, block, walk, map);
        tile.transpose();
        tile.store_rows(planes + i, plane, int(min64(N, channels)), n);
    }
}

template <class T>
void store_byte_block(const T* block, int64_t pixels, uint8_t* planes, int64_t plane, int64_t channels) {
    constexpr int N = kWidth<T>;
    for (int64_t i = 0; i < pixels; i += N) {
        const int n = int(min64(N, pixels - i));
        Tile<T> tile;
        PixelWalk walk{pixels, pixels, i, i};
        load_pixels(tile, n, block, walk, Identity());
        tile.transpose();
        if (n == N && channels >= N) {
#pragma GCC unroll 16
            for (int c = 0; c < N; ++c) store_bytes<T>(planes + c * plane + i, tile.row[c], N);
        } else {
            for (int c = 0; c < N && c < channels; ++c) store_bytes<T>(planes + c * plane + i, tile.row[c], n);
        }
    }
}

// An array [image][channel][pixel], or blocked. Below, `count` channels from `channel` on fill a vector or its first
// lanes; a vector never reaches over two blocks.
template <class E>
struct Channels {
    E* array;
    int64_t channels, plane;
    bool blocked;

    static int64_t block_of(int64_t channel) { return channel / kBlockChannels * kBlockChannels; }
    // Numbers between pixels of a block.
    int64_t width(int64_t channel) const { return min64(kBlockChannels, channels - block_of(channel)); }
    E* at(int64_t image, int64_t channel, int64_t pixel) const {
        if (!blocked) return array + (image * channels + channel) * plane + pixel;
        const int64_t first = block_of(channel);
        return array + (image * channels + first) * plane + pixel * width(channel) + channel - first;
    }
};

template <class T>
void load_channels(const Channels<const T>& a, int64_t image, int64_t channel, int64_t count, int64_t first_row,
                   int64_t rows, int64_t columns, T* block, int64_t pitch) {
    constexpr int N = kWidth<T>;
    const T* from = a.at(image, channel, first_row * columns);
    if (!a.blocked) return load_block(from, a.plane, count, rows, columns, block, pitch);
    const int64_t width = a.width(channel);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j, from += width)
            store(block + (i * pitch + j) * N, count >= N ? load(from) : load_partial(from, int(count)));
}

template <class T, class Map>
OWL_INLINE void store_channels(const T* block, int64_t pitch, int64_t first_row, int64_t rows, int64_t columns,
                               const Channels<T>& a, int64_t image, int64_t channel, int64_t count, Map map) {
    constexpr int N = kWidth<T>;
    T* to = a.at(image, channel, first_row * columns);
    if (!a.blocked) return store_block(block, pitch, rows, columns, to, a.plane, count, map);
    const int64_t width = a.width(channel);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j, to += width) {
            const Vec<T> v = map(load(block + (i * pitch + j) * N));
            if (count >= N) store(to, v);
            else store_partial(to, v, int(count));
        }
}

// Bytes of whole rows; their blocks are dense.
template <class T>
void load_byte_channels(const Channels<const uint8_t>& a, int64_t image, int64_t channel, int64_t count, T* block) {
    constexpr int N = kWidth<T>;
    const uint8_t* from = a.at(image, channel, 0);
    if (!a.blocked) return load_byte_block(from, a.plane, count, a.plane, block);
    const int64_t width = a.width(channel);
    for (int64_t i = 0; i < a.plane; ++i, from += width) store(block + i * N, load_bytes<T>(from, min64(N, count)));
}

template <class T>
void store_byte_channels(const T* block, int64_t first_pixel, int64_t pixels, const Channels<uint8_t>& a,
                         int64_t image, int64_t channel, int64_t count) {
    constexpr int N = kWidth<T>;
    uint8_t* to = a.at(image, channel, first_pixel);
    if (!a.blocked) return store_byte_block(block, pixels, to, a.plane, count);
    const int64_t width = a.width(channel);
    for (int64_t i = 0; i < pixels; ++i, to += width) store_bytes<T>(to, load(block + i * N), min64(N, count));
}

}  // namespace OWL_ISA
}  // namespace owl
