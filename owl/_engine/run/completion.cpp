#include "completion.h"

#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

#include <cerrno>

namespace owl {

CompletionRing::CompletionRing() {
#ifdef __linux__
    read_end_ = write_end_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
#else
    int ends[2];
    if (pipe(ends) == 0) {
        for (int end : ends) {
            fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK);
            fcntl(end, F_SETFD, FD_CLOEXEC);
        }
        read_end_ = ends[0];
        write_end_ = ends[1];
    }
#endif
    progress_.ring = this;
    progress_.parts.resize(1);
    progress_.parts[0].whole = &progress_;
    progress_.parts[0].notify = run_ended;
}

CompletionRing::~CompletionRing() {
    {
        std::lock_guard<GraphLock> guard(graph().mutex);
        if (watching_) progress().remove_waiter(&progress_.parts[0]);
        // All owners hold the ring, so what still lies here was abandoned.
        Completion* completion = head_.exchange(nullptr, std::memory_order_acquire);
        while (completion) {
            Completion* next = completion->next;
            if (completion != &progress_) {
                release(completion);
                delete completion;
            }
            completion = next;
        }
    }
    forget_descriptor();
}

Completion* CompletionRing::begin(void* owner, Node* const* nodes, size_t count) {
    size_t missing = 0;
    for (size_t i = 0; i < count; ++i) missing += !nodes[i]->finished();
    if (!missing) return nullptr;
    auto* completion = new Completion;
    completion->ring = this;
    completion->owner = owner;
    completion->missing = missing;
    completion->parts.resize(missing);
    auto part = completion->parts.begin();
    for (size_t i = 0; i < count; ++i) {
        if (nodes[i]->finished()) continue;
        part->whole = completion;
        part->node = nodes[i];
        part->notify = part_finished;
        graph().hold(nodes[i]);
        graph().add_waiter(nodes[i], &*part++);
    }
    return completion;
}

void CompletionRing::abandon(Completion* completion) {
    if (!completion->missing) {
        completion->owner = nullptr;  // the loop that takes it deletes it
        return;
    }
    release(completion);
    delete completion;
}

void CompletionRing::release(Completion* completion) {
    for (Completion::Part& part : completion->parts) {
        if (!part.node->finished()) graph().remove_waiter(part.node, &part);
        graph().unhold(part.node);
    }
    completion->parts.clear();
}

void CompletionRing::part_finished(Waiter* waiter, Node*) {
    Completion* whole = static_cast<Completion::Part*>(waiter)->whole;
    if (--whole->missing == 0) whole->ring->push(whole);
}

void CompletionRing::watch_progress() {
    if (watching_) return;
    watching_ = true;
    progress().add_waiter(&progress_.parts[0]);
}

void CompletionRing::run_ended(Waiter* waiter, Node*) {
    CompletionRing* ring = static_cast<Completion::Part*>(waiter)->whole->ring;
    ring->push(&ring->progress_);
}

void CompletionRing::push(Completion* completion) {
    Completion* head = head_.load(std::memory_order_relaxed);
    do {
        completion->next = head;
    } while (!head_.compare_exchange_weak(head, completion, std::memory_order_release, std::memory_order_relaxed));
    if (!head) wake();
}

Completion* CompletionRing::take(bool* progressed) {
    // Cleared first: what is pushed from now on wakes the loop again, at worst for nothing.
    clear();
    Completion* taken = head_.exchange(nullptr, std::memory_order_acquire);
    Completion* in_order = nullptr;
    *progressed = false;
    if (!taken) return nullptr;
    std::lock_guard<GraphLock> guard(graph().mutex);
    while (taken) {
        Completion* next = taken->next;
        if (taken == &progress_) {
            *progressed = true;
            watching_ = false;
        } else {
            release(taken);
            taken->next = in_order;
            in_order = taken;
        }
        taken = next;
    }
    return in_order;
}

void CompletionRing::wake() {
    const uint64_t one = 1;
    const size_t size = read_end_ == write_end_ ? sizeof one : 1;
    // A full pipe is readable anyhow.
    while (write_end_ >= 0 && write(write_end_, &one, size) < 0 && errno == EINTR) {
    }
}

void CompletionRing::clear() {
    char buffer[64];
    while (read_end_ >= 0) {
        const ssize_t got = read(read_end_, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        // An eventfd is emptied by one read.
        if (got < static_cast<ssize_t>(sizeof buffer)) return;
    }
}

void CompletionRing::forget_descriptor() {
    if (read_end_ >= 0) close(read_end_);
    if (write_end_ >= 0 && write_end_ != read_end_) close(write_end_);
    read_end_ = write_end_ = -1;
}

}  // namespace owl
