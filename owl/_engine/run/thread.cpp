#include "thread.h"

#include <pthread.h>
#include <signal.h>

namespace owl {

std::thread start_quiet_thread(std::function<void()> body) {
    // A thread inherits the mask of its creator.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread thread;
    try {
        thread = std::thread(std::move(body));
    } catch (...) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
}

}  // namespace owl
