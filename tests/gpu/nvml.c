// A libnvidia-ml.so.1 for tests. FAKE_GPUS is how many GPUs it has, FAKE_CUDA the driver's CUDA, FAKE_ERROR what nvmlInit_v2 returns.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text ? atoi(text) : otherwise;
}
static int open_ = 0;

int nvmlInit_v2(void) {
    if (number("FAKE_ERROR", 0)) return number("FAKE_ERROR", 0);
    ++open_;
    return 0;
}
int nvmlShutdown(void) { return --open_; }
int fake_open(void) { return open_; }
const char* nvmlErrorString(int error) { return error == 18 ? "Driver/library version mismatch" : "Unknown Error"; }

static int text(char* target, unsigned size, const char* value) {
    if (!open_) return 1;
    if (strlen(value) >= size) return 7;
    strcpy(target, value);
    return 0;
}
int nvmlSystemGetDriverVersion(char* target, unsigned size) { return text(target, size, "580.65.06"); }
int nvmlSystemGetCudaDriverVersion_v2(int* version) {
    *version = number("FAKE_CUDA", 13000);
    return !open_;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
    *count = (unsigned)number("FAKE_GPUS", 3);
    return !open_;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
    if (!open_ || (int)index == number("FAKE_LOST", -1)) return 15;
    *handle = (void*)(size_t)(index + 1);
    return 0;
}
int nvmlDeviceGetName(void* handle, char* target, unsigned size) {
    char name[32];
    snprintf(name, sizeof name, "Fake %d", (int)(size_t)handle - 1);
    return text(target, size, name);
}
// The first two begin alike.
int nvmlDeviceGetUUID(void* handle, char* target, unsigned size) {
    static const char* uuids[] = {"GPU-aa11", "GPU-aa22", "GPU-bb33", "GPU-cc44"};
    return text(target, size, uuids[(size_t)handle - 1]);
}
