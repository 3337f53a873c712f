// A thread that no signal reaches, not even before its first instruction: they are for the program's own threads.
#pragma once
#include <functional>
#include <thread>

namespace owl {

std::thread start_quiet_thread(std::function<void()> body);

}  // namespace owl
