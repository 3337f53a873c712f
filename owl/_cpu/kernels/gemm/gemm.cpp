// Matrix products, with an element-wise program and sums over columns on each tile while it is in cache.
//
// A chunk is one panel of rows of A times a range of columns of B. The panel is packed once and kept for the chunks
// that a thread takes next; B is read where it lies unless its strides would be slow. Where B is packed, a range of it is
// kept for the chunks that come next, and a phase of its own packs all of A before. The order of k is the natural one for
// every element, whatever the cutting.
#include "_cpu/kernels/elementwise/interpreter.h"
#include "gemm_few.h"
#include "_cpu/kernels/registry.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kDepth = 1024;  // the longest part of k at a time: a panel of A stays in the L2 cache
constexpr int64_t kChunkColumns = 240;
constexpr int64_t kChunks = 16;  // as many as that are wanted at least
constexpr int64_t kCachedBytes = 8 << 20;   // of a matrix that the caches of some cores hold
constexpr int64_t kSharedBytes = 64 << 20;  // the most that all of A may take once more when it is packed
static_assert(kChunkColumns == kSumGroup, "a chunk's columns are within one group of the sums");

// Columns a multiple of 4 KB apart share their sets in the caches.
template <class T>
bool crowded(int64_t stride) { return stride * int64_t(sizeof(T)) % 4096 == 0; }

// Few columns of B do not pay for packing an A that fits the caches.
template <class T>
bool reads_a_directly(const GemmArgs& g) {
    return g.a_row == 1 && g.n <= 2 * kTileColumns && !crowded<T>(g.a_col) &&
           g.m * g.k * int64_t(sizeof(T)) <= kCachedBytes;
}

// How a product is cut, by shape and strides alone.
struct Plan {
    int64_t panels, panel_rows, ranges, range_columns;
    int64_t parts, depth;  // k in `parts` of at most `depth`
    bool direct_a;  // whole panels of A are read where they lie
    bool shared_a;  // A is packed in the workspace
    bool pack_b, b_columns;

    template <class T>
    static Plan of(const GemmArgs& g) {
        Plan p;
        p.panel_rows = kTileVectors * kWidth<T>;
        p.panels = ceil_div(g.m, p.panel_rows);
        const int64_t tiles = max64(1, ceil_div(g.n, kTileColumns)), most = kChunkColumns / kTileColumns;
        if (g.epilogue && g.epilogue->n_sums) {
            p.range_columns = kChunkColumns;
        } else {
            const int64_t wanted = min64(tiles, max64(ceil_div(kChunks, max64(p.panels, 1)), ceil_div(tiles, most)));
            p.range_columns = ceil_div(tiles, wanted) * kTileColumns;
        }
        p.ranges = max64(1, ceil_div(g.n, p.range_columns));
        p.parts = max64(1, ceil_div(g.k, kDepth));
        p.depth = ceil_div(g.k, p.parts);
        p.direct_a = reads_a_directly<T>(g);
        const bool strided = g.b_row != 1 && g.b_col != 1;
        p.pack_b = g.k > 1 && g.n > 1 && (strided || (g.k > 16 && crowded<T>(g.b_row == 1 ? g.b_col : g.b_row)));
        p.shared_a = p.pack_b && p.ranges > 1 && !p.direct_a && p.shared_bytes<T>(g) <= kSharedBytes;
        p.b_columns = !p.pack_b && (g.b_row == 1 || g.k <= 1) && !(g.n <= 1 && g.b_row != 1);
        return p;
    }
    int64_t chunks() const { return panels * ranges; }
    template <class T>
    int64_t shared_bytes(const GemmArgs& g) const { return panels * panel_rows * g.k * int64_t(sizeof(T)); }
};

size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// The workspace begins with the sums of groups of columns; packed panels of A follow.
size_t sums_bytes(const GemmArgs& g) { return g.epilogue ? program_sum_workspace(*g.epilogue, g.m, g.n) : 0; }

// The parts of a thread's scratch memory, in bytes from its start.
struct Scratch {
    size_t a, b, partial, block, sums, total;

    template <class T>
    static Scratch of(const GemmArgs& g, const Plan& p) {
        Scratch s;
        size_t at = 0;
        const auto take = [&at](size_t bytes) {
            const size_t start = at;
            at += round_up(bytes);
            return start;
        };
        const size_t range = size_t(p.range_columns) * sizeof(T);
        s.a = take(p.shared_a ? 0 : size_t(p.panel_rows * p.depth) * sizeof(T));
        s.b = take(p.pack_b ? range * p.depth : 0);
        s.partial = take(p.parts > 1 ? range * p.panel_rows : 0);
        s.block = take(g.epilogue ? Interpreter<T>::bytes(*g.epilogue) : 0);
        s.sums = take(g.epilogue ? size_t(g.epilogue->n_sums) * p.panel_rows * sizeof(T) : 0);
        s.total = at;
        return s;
    }
};

template <class T>
class Product {
  public:
    Product(const GemmArgs& g, void* scratch)
        : g_(g), plan_(Plan::of<T>(g)), at_(Scratch::of<T>(g, plan_)), scratch_((char*)scratch) {}

    void run(int64_t begin, int64_t end) {
        for (int64_t chunk = begin; chunk < end; chunk++) {
            // The operand that is dearer to pack changes less often.
            const int64_t panel = plan_.pack_b ? chunk % plan_.panels : chunk / plan_.ranges;
            const int64_t range = plan_.pack_b ? chunk / plan_.panels : chunk % plan_.ranges;
            run_chunk(panel, range);
        }
    }

    // The phase before, of all panels.
    void pack_panels(int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; panel++) {
            take_panel(panel);
            pack_rows(shared_panel(), (const T*)g_.a + row_ * g_.a_row, g_.a_row, g_.a_col, rows_, vectors_ * W, g_.k);
        }
    }

  private:
    static constexpr int W = kWidth<T>;

    T* part_at(size_t offset) const { return (T*)(scratch_ + offset); }

    void take_panel(int64_t panel) {
        row_ = panel * plan_.panel_rows;
        rows_ = int(min64(g_.m - row_, plan_.panel_rows));
        vectors_ = int(ceil_div(rows_, W));
    }

    T* shared_panel() const { return (T*)((char*)g_.workspace + round_up(sums_bytes(g_))) + row_ * g_.k; }

    void run_chunk(int64_t panel, int64_t range) {
        take_panel(panel);
        first_ = range * plan_.range_columns;
        columns_ = min64(g_.n - first_, plan_.range_columns);
        direct_a_ = plan_.direct_a && rows_ == vectors_ * W;
        for (int64_t part = 0; part < plan_.parts; part++) {
            const int64_t l = part * plan_.depth, k = min64(plan_.depth, g_.k - l);
            pack(panel, range, part, l, k);
            if (part + 1 < plan_.parts) accumulate(l, k, part > 0);
            else if (g_.epilogue) finish_by_program(l, k, part > 0);
            else finish(l, k, part > 0);
        }
    }

    void pack(int64_t panel, int64_t range, int64_t part, int64_t l, int64_t k) {
        if (!direct_a_ && !plan_.shared_a && (panel != packed_panel_ || part != packed_a_part_)) {
            const T* a = (const T*)g_.a + row_ * g_.a_row + l * g_.a_col;
            pack_rows(part_at(at_.a), a, g_.a_row, g_.a_col, rows_, vectors_ * W, k);
            packed_panel_ = panel;
            packed_a_part_ = part;
        }
        if (plan_.pack_b && (range != packed_range_ || part != packed_b_part_)) {
            const T* b = (const T*)g_.b + l * g_.b_row + first_ * g_.b_col;
            pack_columns(part_at(at_.b), b, g_.b_row, g_.b_col, columns_, kTileColumns, k);
            packed_range_ = range;
            packed_b_part_ = part;
        }
    }

    T* partial(int64_t j) const { return part_at(at_.partial) + j * vectors_ * W; }

    // One tile at column j of the range.
    void tile(int64_t j, int columns, int64_t l, int64_t k, bool more, T* to, int64_t pitch, int lanes) const {
        const T* b;
        int64_t b_row = g_.b_row, b_col = g_.b_col;
        if (plan_.pack_b) {
            b = part_at(at_.b) + j * k;
            b_row = kTileColumns;
            b_col = 1;
        } else {
            b = (const T*)g_.b + l * b_row + (first_ + j) * b_col;
        }
        GemmTile<T> f;
        if (vectors_ == 1)
            f = plan_.b_columns ? gemm_tile_of<T, 1, true>(columns) : gemm_tile_of<T, 1, false>(columns);
        else
            f = plan_.b_columns ? gemm_tile_of<T, 2, true>(columns) : gemm_tile_of<T, 2, false>(columns);
        const T* a = direct_a_         ? (const T*)g_.a + row_ + l * g_.a_col
                     : plan_.shared_a ? shared_panel() + l * vectors_ * W
                                      : part_at(at_.a);
        const int64_t a_col = direct_a_ ? g_.a_col : vectors_ * W;
        f(a, a_col, b, b_row, b_col, k, more ? partial(j) : kEmptyTile<T>, to, pitch, lanes);
    }

    void accumulate(int64_t l, int64_t k, bool more) const {
        for (int64_t j = 0; j < columns_; j += kTileColumns) {
            const int columns = int(min64(columns_ - j, kTileColumns));
            tile(j, columns, l, k, more, partial(j), vectors_ * W, W);
        }
    }

    void finish(int64_t l, int64_t k, bool more) const {
        const int lanes = rows_ - (vectors_ - 1) * W;
        for (int64_t j = 0; j < columns_; j += kTileColumns) {
            const int columns = int(min64(columns_ - j, kTileColumns));
            tile(j, columns, l, k, more, (T*)g_.c + row_ + (first_ + j) * g_.m, g_.m, lanes);
        }
    }

    void finish_by_program(int64_t l, int64_t k, bool more) const {
        const Program& p = *g_.epilogue;
        Interpreter<T> block(p, g_.scalars, part_at(at_.block));
        T* sums = part_at(at_.sums);
        ProgramTile t;
        t.row = row_;
        t.rows = rows_;
        t.pitch = vectors_ * W;
        program_clear_sums(p, sums, t.pitch);
        const int64_t most = kProgramBlock / t.pitch / kTileColumns * kTileColumns;
        for (int64_t j = 0; j < columns_; j += t.columns) {
            t.column = first_ + j;
            t.columns = int(min64(columns_ - j, most));
            for (int i = 0; i < t.columns; i += kTileColumns) {
                const int columns = int(min64(t.columns - i, kTileColumns));
                tile(j + i, columns, l, k, more, block.own(0) + i * t.pitch, t.pitch, W);
            }
            program_run_tile(block, p, g_.input, 1, g_.output, g_.m, t, sums);
        }
        const int64_t groups = program_sum_groups(g_.n);
        program_store_sums(p, g_.sum, g_.workspace, g_.m, groups, first_ / kSumGroup, row_, rows_, sums, t.pitch);
    }

    const GemmArgs& g_;
    const Plan plan_;
    const Scratch at_;
    char* scratch_;
    int64_t row_ = 0, first_ = 0, columns_ = 0;
    int rows_ = 0, vectors_ = 0;
    bool direct_a_ = false;
    int64_t packed_panel_ = -1, packed_a_part_ = -1, packed_range_ = -1, packed_b_part_ = -1;
};

// A product of a matrix with few vectors; a chunk is a range of the long operand's rows. Few rows times a matrix is the
// transposed product of the matrix with few columns.
template <class T>
class Few {
  public:
    static bool applies(const GemmArgs& g) {
        if (g.k < 1 || g.m < 1 || g.n < 1) return false;
        if (columns_are_few(g)) return (g.a_row == 1 || g.a_col == 1) && (g.n == 1 || !reads_a_directly<T>(g));
        return g.m <= kFewColumns && !g.epilogue && (g.b_row == 1 || g.b_col == 1);
    }

    Few(const GemmArgs& g, void* scratch) : g_(g), swapped_(!columns_are_few(g)), scratch_((char*)scratch) {
        const int64_t length = swapped_ ? g.n : g.m;
        few_ = int(swapped_ ? g.m : g.n);
        const int64_t most = max64(W, kProgramBlock / few_ / W * W);
        const int64_t wanted = ceil_div(length, max64(kRanges, ceil_div(length, most)));  // ranges of equal length
        pitch_ = min64(most, max64(ceil_div(wanted, W) * W, kLeastRows));
        ranges_ = ceil_div(length, pitch_);
    }

    int64_t chunks() const { return ranges_; }

    size_t scratch() const {
        const size_t sums = g_.epilogue ? size_t(g_.epilogue->n_sums * pitch_) * sizeof(T) : 0;
        return round_up(block_bytes()) + round_up(sums);
    }

    void run(int64_t begin, int64_t end) const {
        for (int64_t i = begin; i < end; i++) {
            if (g_.epilogue) run_program(i * pitch_);
            else if (swapped_) multiply_swapped(i * pitch_);
            else multiply(i * pitch_, (T*)scratch_), store_block(i * pitch_);
        }
    }

  private:
    static constexpr int W = kWidth<T>;
    static constexpr int64_t kRanges = 8, kLeastRows = 64;

    static bool columns_are_few(const GemmArgs& g) { return g.n <= kFewColumns && g.n <= g.m; }

    size_t block_bytes() const {
        return g_.epilogue ? Interpreter<T>::bytes(*g_.epilogue) : size_t(few_ * pitch_) * sizeof(T);
    }
    int64_t rows(int64_t first) const { return min64(pitch_, (swapped_ ? g_.n : g_.m) - first); }

    void multiply(int64_t first, T* y) const {
        const T* a = (const T*)g_.a + first * g_.a_row;
        few_columns_of<T>(few_, g_.a_row == 1)(
            {a, g_.a_row, g_.a_col, (const T*)g_.b, g_.b_row, g_.b_col, rows(first), g_.k, y, pitch_});
    }

    void store_block(int64_t first) const {
        const T* y = (const T*)scratch_;
        for (int j = 0; j < few_; j++) program_store_run((T*)g_.c + first + j * g_.m, y + j * pitch_, int(rows(first)));
    }

    void multiply_swapped(int64_t first) const {
        T* y = (T*)scratch_;
        const T* b = (const T*)g_.b + first * g_.b_col;
        few_columns_of<T>(few_, g_.b_col == 1)(
            {b, g_.b_col, g_.b_row, (const T*)g_.a, g_.a_col, g_.a_row, rows(first), g_.k, y, pitch_});
        T* c = (T*)g_.c + first * g_.m;
        for (int64_t i = 0; i < rows(first); i++)
            for (int j = 0; j < few_; j++) c[i * g_.m + j] = y[j * pitch_ + i];
    }

    void run_program(int64_t first) const {
        const Program& p = *g_.epilogue;
        Interpreter<T> block(p, g_.scalars, scratch_);
        T* sums = (T*)(scratch_ + round_up(block_bytes()));
        const ProgramTile t = {first, 0, int(rows(first)), few_, int(pitch_)};
        program_clear_sums(p, sums, t.pitch);
        multiply(first, block.own(0));
        program_run_tile(block, p, g_.input, 1, g_.output, g_.m, t, sums);
        program_store_sums(p, g_.sum, g_.workspace, g_.m, 1, 0, t.row, t.rows, sums, t.pitch);
    }

    const GemmArgs& g_;
    const bool swapped_;
    char* scratch_;
    int few_;
    int64_t pitch_, ranges_;
};

// ------------------------------------------------------------------------------------------------------------- kernel

template <class T>
bool packs_first(const GemmArgs& g) { return !Few<T>::applies(g) && Plan::of<T>(g).shared_a; }

// Phase -1 packs, phase 0 multiplies, phase 1 combines the sums of groups of columns.
int first_phase(const GemmArgs& g) {
    return (g.dtype == DType::f32 ? packs_first<float>(g) : packs_first<double>(g)) ? -1 : 0;
}

int phases(const void* args) {
    const GemmArgs& g = *(const GemmArgs*)args;
    return (g.epilogue && g.epilogue->n_sums && program_sum_groups(g.n) > 1 ? 2 : 1) - first_phase(g);
}

template <class T>
int64_t chunks_as(const GemmArgs& g, int phase) {
    if (phase == 1) return ceil_div(g.m, kCombineRows);
    if (Few<T>::applies(g)) return Few<T>(g, nullptr).chunks();
    const Plan p = Plan::of<T>(g);
    return phase < 0 ? p.panels : p.chunks();
}

int64_t chunks(const void* args, int phase) {
    const GemmArgs& g = *(const GemmArgs*)args;
    phase += first_phase(g);
    return g.dtype == DType::f32 ? chunks_as<float>(g, phase) : chunks_as<double>(g, phase);
}

template <class T>
void run_as(const GemmArgs& g, int phase, int64_t begin, int64_t end, void* scratch) {
    if (phase == 1)
        program_combine_sums<T>(*g.epilogue, g.sum, g.workspace, g.m, program_sum_groups(g.n), begin * kCombineRows,
                           min64(end * kCombineRows, g.m));
    else if (phase < 0) Product<T>(g, scratch).pack_panels(begin, end);
    else if (Few<T>::applies(g)) Few<T>(g, scratch).run(begin, end);
    else Product<T>(g, scratch).run(begin, end);
}

void run(const void* args, int phase, int64_t begin, int64_t end, void* scratch) {
    const GemmArgs& g = *(const GemmArgs*)args;
    phase += first_phase(g);
    if (g.dtype == DType::f32) run_as<float>(g, phase, begin, end, scratch);
    else run_as<double>(g, phase, begin, end, scratch);
}

template <class T>
size_t scratch_as(const GemmArgs& g) {
    return Few<T>::applies(g) ? Few<T>(g, nullptr).scratch() : Scratch::of<T>(g, Plan::of<T>(g)).total;
}

size_t scratch(const void* args) {
    const GemmArgs& g = *(const GemmArgs*)args;
    return g.dtype == DType::f32 ? scratch_as<float>(g) : scratch_as<double>(g);
}

size_t workspace(const void* args) {
    const GemmArgs& g = *(const GemmArgs*)args;
    if (!first_phase(g)) return sums_bytes(g);
    return round_up(sums_bytes(g)) + size_t(g.dtype == DType::f32 ? Plan::of<float>(g).shared_bytes<float>(g)
                                                                  : Plan::of<double>(g).shared_bytes<double>(g));
}

}  // namespace

const Kernel gemm_kernel = {"gemm", phases, chunks, run, scratch, workspace};

}  // namespace OWL_ISA
}  // namespace owl
