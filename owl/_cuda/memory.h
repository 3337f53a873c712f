// The memory of a CUDA device, and the host's memory that it copies to and from by itself.
#pragma once
#include <atomic>

#include "_engine/memory/memory.h"
#include "device.h"
#include "quarantine.h"

namespace owl {
namespace cuda {

// What a device's memory needs of its executor: the threads that may talk to the driver.
class Courier {
   public:
    virtual ~Courier() = default;
    // By any thread, which waits. Returns why it could not be done; nothing if it was.
    virtual std::string fetch(const Buffer* from, void* to, size_t bytes) = 0;
    virtual std::string duplicate(const Buffer* from, Buffer** to) = 0;
    virtual void drop_all_cached() = 0;
    // nullptr if there is none. Nothing that was issued before reads or writes it.
    virtual Buffer* lend(size_t bytes) = 0;
    // Returns when nothing that was issued reads or writes memory. By the executor's thread.
    virtual void settle() = 0;
    // How many runs were issued so far, and whether those up to a number are over. By any thread.
    virtual uint64_t runs_issued() const = 0;
    virtual bool are_over(uint64_t runs) const = 0;
};

class DeviceMemory final : public Memory {
   public:
    DeviceMemory(const Device& device, Courier* courier, Quarantine* quarantine)
        : Memory(false, device.total_bytes, false), device_(device), courier_(*courier), quarantine_(*quarantine) {}

    std::string download(const Buffer* from, void* to, size_t bytes) override { return courier_.fetch(from, to, bytes); }
    void trim() override { courier_.drop_all_cached(); }
    void end_export(Buffer* buffer) override { quarantine_.add(buffer); }
    void settle_exports() override { quarantine_.empty(); }
    // By the executor's thread.
    void trim_here() {
        quarantine_.empty();
        Memory::trim();
    }
    // A copy of a value of this memory, in this memory. By any thread, which waits. Returns why it could not be.
    std::string duplicate(const Buffer* from, Buffer** to) { return courier_.duplicate(from, to); }
    // Memory for another library, by any thread, which waits for the executor's; it comes back by end_export(). nullptr if
    // there is none.
    Buffer* lend(size_t bytes) { return courier_.lend(bytes); }

   private:
    void* obtain(size_t bytes) override;
    void give_back(void* data, size_t bytes) override;
    uint64_t issued() const override { return courier_.runs_issued(); }
    bool is_over(uint64_t runs) const override { return courier_.are_over(runs); }

    const Device& device_;
    Courier& courier_;
    Quarantine& quarantine_;
};

// A copy of a value of a CUDA device, in the same memory.
inline std::string duplicate(const Buffer* from, Buffer** to) {
    return static_cast<DeviceMemory*>(from->memory)->duplicate(from, to);
}

// Pinned: the device's copies go on by themselves, beside the host's work. Any thread takes and returns it.
class PinnedMemory final : public Memory {
   public:
    explicit PinnedMemory(const Device& device) : Memory(true, machine_memory(), false), device_(device) {}

    std::string download(const Buffer* from, void* to, size_t bytes) override;
    // In a forked child the driver must not be called any more.
    void forget_driver() { forgotten_.store(true); }

   private:
    void* obtain(size_t bytes) override;
    void give_back(void* data, size_t bytes) override;

    const Device& device_;
    std::atomic<bool> forgotten_{false};
};

}  // namespace cuda
}  // namespace owl
