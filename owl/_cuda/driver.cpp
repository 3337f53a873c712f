#include "driver.h"

#include <dlfcn.h>

#include <memory>
#include <mutex>

namespace owl {
namespace cuda {

std::string Driver::describe(Result error) const {
    const char *name = nullptr, *text = nullptr;
    if (error_name(error, &name) || !name) return "error " + std::to_string(error);
    if (error_text(error, &text) || !text) return name;
    return std::string(name) + ": " + text;
}

const Driver* load_driver(const char* library, std::string* error) {
    static std::mutex mutex;
    static const Driver* loaded = nullptr;
    std::lock_guard<std::mutex> guard(mutex);
    if (loaded) return loaded;
    void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        *error = dlerror();
        return nullptr;
    }
    auto driver = std::make_unique<Driver>();
#define OWL_DRIVER(name, symbol, parameters)                                    \
    driver->name = reinterpret_cast<Result(*) parameters>(dlsym(handle, #symbol)); \
    if (!driver->name) {                                                        \
        *error = std::string(library) + " has no " #symbol;                     \
        dlclose(handle);                                                        \
        return nullptr;                                                         \
    }
#include "driver.def"
#undef OWL_DRIVER
    driver->host_access = reinterpret_cast<void (*)(const void*, size_t, int)>(dlsym(handle, "owl_standin_host_access"));
    return loaded = driver.release();  // never closed: threads may outlive all that could
}

}  // namespace cuda
}  // namespace owl
