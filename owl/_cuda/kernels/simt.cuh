// One kernel text for two compilers. A kernel is written as phases between barriers, for blocks and grids of one dimension:
//
//   OWL_KERNEL(name, Args) {                        // its arguments are `a`
//       OWL_SHARED(float, part, 256);               // one array for the block
//       OWL_THREADS(t) part[t] = load(a, t);        // each thread's share of a phase
//       OWL_BARRIER();
//       OWL_THREADS(t) if (t == 0) store(a, part[0]);
//   }
//
// A CUDA compiler makes threads of it, a C++ compiler loops over the threads of a block, in an order that depends on a seed.
// With OWL_CHECKED each element of a shared array knows which thread wrote and which read it since the last barrier: what two
// threads do to one element without a barrier between them is an error, whatever the order. Control flow around phases
// and barriers is the same for all threads of a block. Values that a thread keeps from one phase to the next are an OWL_PRIVATE array,
// to be used within phases alone (OWL_OWN(sum, t) is a pointer to thread t's): registers, where its indices are constants.
// OWL_KERNEL_AT_ONCE is a kernel of which a multiprocessor holds so many blocks at once: the compiler then takes no more
// registers than that leaves.
#pragma once

#ifdef __CUDACC__

#define OWL_KERNEL(name, Args) extern "C" __global__ void name(const __grid_constant__ Args a)
#define OWL_KERNEL_AT_ONCE(name, Args, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args a)
#define OWL_DEVICE __device__ __forceinline__
#define OWL_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define OWL_PRIVATE(T, name, count) T name[count]
#define OWL_OWN(name, t) (name)
#define OWL_THREADS(t) for (int t = static_cast<int>(threadIdx.x), once_ = 1; once_; once_ = 0)
#define OWL_BARRIER() __syncthreads()
#define OWL_BLOCK() static_cast<int64_t>(blockIdx.x)
#define OWL_BLOCKS() static_cast<int64_t>(gridDim.x)
#define OWL_UNROLL _Pragma("unroll")
#define OWL_ROLLED _Pragma("unroll 1")

#else

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace owl {
namespace simt {

struct Block {
    const char* kernel;
    int64_t index, count;
    int64_t epoch = 0;  // barriers so far
    int thread = 0;     // whose turn it is
    std::vector<int> order;
    std::mt19937_64 random;

    const std::vector<int>& threads() {
        std::shuffle(order.begin(), order.end(), random);
        return order;
    }
};
inline Block*& block() {
    thread_local Block* current = nullptr;
    return current;
}

// What threads of one block have done to the same element, or beyond an array.
struct Race : std::runtime_error {
    using std::runtime_error::runtime_error;
};

#if OWL_CHECKED

template <class T>
class Shared {
   public:
    Shared(int count, const char* name) : cells_(static_cast<size_t>(count)), name_(name) {}

    class Element {
       public:
        Element(Shared* array, int place) : array_(array), place_(place) {}
        operator T() const { return array_->read(place_); }
        T operator=(T value) const { return array_->write(place_, value); }
        T operator=(const Element& other) const { return *this = static_cast<T>(other); }

       private:
        Shared* array_;
        int place_;
    };
    Element operator[](int place) {
        if (place < 0 || place >= static_cast<int>(cells_.size())) fail(place, "is beyond its end");
        return {this, place};
    }

   private:
    static constexpr int kSeveral = -1;  // threads
    struct Cell {
        T value{};
        int writer = 0, reader = 0;
        int64_t written = -1, read = -1;  // epochs
    };

    T read(int place) {
        Cell& cell = cells_[static_cast<size_t>(place)];
        const Block& now = *block();
        if (cell.written == now.epoch && cell.writer != now.thread) fail(place, "is read and written", cell.writer);
        cell.reader = cell.read == now.epoch && cell.reader != now.thread ? kSeveral : now.thread;
        cell.read = now.epoch;
        return cell.value;
    }
    T write(int place, T value) {
        Cell& cell = cells_[static_cast<size_t>(place)];
        const Block& now = *block();
        if (cell.written == now.epoch && cell.writer != now.thread) fail(place, "is written", cell.writer);
        if (cell.read == now.epoch && cell.reader != now.thread) fail(place, "is read and written", cell.reader);
        cell.writer = now.thread;
        cell.written = now.epoch;
        return cell.value = value;
    }
    [[noreturn]] void fail(int place, const char* what, int other = kSeveral) const {
        std::string text = std::string(block()->kernel) + ": " + name_ + "[" + std::to_string(place) + "] " + what;
        text += " by thread " + std::to_string(block()->thread);
        if (other != kSeveral) text += " and thread " + std::to_string(other) + ", with no barrier between them";
        throw Race(text);
    }

    std::vector<Cell> cells_;
    const char* name_;
};

#else

template <class T>
class Shared {
   public:
    Shared(int count, const char*) : values_(static_cast<size_t>(count)) {}
    T& operator[](int place) { return values_[static_cast<size_t>(place)]; }

   private:
    std::vector<T> values_;
};

#endif

// An array for each thread of the block. It holds NaNs, or -1s, until a thread writes there.
template <class T>
class Private {
   public:
    explicit Private(int count) : block_(block()), count_(static_cast<size_t>(count)), values_(count_ * block_->order.size()) {
        std::memset(static_cast<void*>(values_.data()), 0xff, values_.size() * sizeof(T));
    }
    T* of(int thread) { return values_.data() + static_cast<size_t>(thread) * count_; }
    T& operator[](int place) { return of(block_->thread)[place]; }

   private:
    const Block* block_;
    size_t count_;
    std::vector<T> values_;
};

// Runs a kernel's blocks one after the other, in an order that depends on the seed.
template <class Kernel, class Args>
void launch(const char* name, Kernel kernel, const Args& args, int64_t blocks, int threads, uint64_t seed) {
    std::vector<int64_t> order(static_cast<size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 random(seed);
    std::shuffle(order.begin(), order.end(), random);
    for (int64_t index : order) {
        Block now{name, index, blocks, 0, 0, std::vector<int>(static_cast<size_t>(threads)), std::mt19937_64(random())};
        std::iota(now.order.begin(), now.order.end(), 0);
        block() = &now;
        kernel(args);
    }
    block() = nullptr;
}

}  // namespace simt
}  // namespace owl

#define OWL_KERNEL(name, Args) void name(const Args& a)
#define OWL_KERNEL_AT_ONCE(name, Args, threads, blocks) OWL_KERNEL(name, Args)
#define OWL_DEVICE inline
#define OWL_SHARED(T, name, count) ::owl::simt::Shared<T> name(count, #name)
#define OWL_PRIVATE(T, name, count) ::owl::simt::Private<T> name(count)
#define OWL_OWN(name, t) (name).of(t)
#define OWL_THREADS(t) for (int t : ::owl::simt::block()->threads()) if ((::owl::simt::block()->thread = t), true)
#define OWL_BARRIER() ++::owl::simt::block()->epoch
#define OWL_BLOCK() ::owl::simt::block()->index
#define OWL_BLOCKS() ::owl::simt::block()->count
#define OWL_UNROLL
#define OWL_ROLLED

#endif
