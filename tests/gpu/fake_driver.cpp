// A libcuda.so.1 for scripts/gpu-facts: it computes nothing, but is defined against CUDA's header and looks at its arguments.
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

static CUcontext const kContext = reinterpret_cast<CUcontext>(0x10);
static CUstream const kStream = reinterpret_cast<CUstream>(0x20);
static CUmodule const kModule = reinterpret_cast<CUmodule>(0x30);
static CUgraph const kGraph = reinterpret_cast<CUgraph>(0x40);
static CUgraphExec const kExecutable = reinterpret_cast<CUgraphExec>(0x50);
static int contexts = 0, capturing = 0, captured = 0, queries = 0;
static volatile unsigned char seen;

#define EXPECT(condition)                                            \
    if (!(condition)) {                                              \
        fprintf(stderr, "%s: not %s\n", __func__, #condition);       \
        return CUDA_ERROR_INVALID_VALUE;                             \
    }

static CUresult look(CUfunction kernel, void** parameters) {
    const unsigned char* bytes = static_cast<const unsigned char*>(parameters[0]);
    size_t size = kernel == reinterpret_cast<CUfunction>(2) ? 3536 : 8;
    for (size_t i = 0; i < size; ++i) seen = bytes[i];
    return CUDA_SUCCESS;
}

CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }
CUresult cuGetExportTable(const void**, const CUuuid*) { return CUDA_ERROR_NOT_FOUND; }  // NVRTC asks for one
CUresult cuDriverGetVersion(int* version) { return *version = 13000, CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult, const char** name) { return *name = "CUDA_ERROR_FAKE", CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int number) { return *device = number, CUDA_SUCCESS; }
CUresult cuDeviceGetName(char* name, int size, CUdevice) { return snprintf(name, size, "Fake"), CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
    EXPECT(which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR || which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
    return *value = which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 9 : 0, CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem(size_t* bytes, CUdevice) { return *bytes = size_t{80} << 30, CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) { return *context = kContext, CUDA_SUCCESS; }
CUresult cuCtxPushCurrent(CUcontext context) {
    EXPECT(context == kContext)
    return ++contexts, CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext* context) {
    EXPECT(contexts > 1)  // the first one stays
    return *context = kContext, --contexts, CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    EXPECT(flags == CU_STREAM_NON_BLOCKING && contexts == 1)
    return *stream = kStream, CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) { return stream == kStream && !capturing ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }
CUresult cuEventCreate(CUevent* event, unsigned flags) {
    EXPECT((flags & ~unsigned{CU_EVENT_BLOCKING_SYNC}) == CU_EVENT_DISABLE_TIMING)
    return *event = reinterpret_cast<CUevent>(size_t{0x60} + flags), CUDA_SUCCESS;
}
static bool known(CUevent event) { return reinterpret_cast<size_t>(event) >> 4 == 6; }
CUresult cuEventRecord(CUevent event, CUstream stream) {
    EXPECT(known(event) && stream == kStream)
    return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent event) {
    EXPECT(known(event))
    return getenv("FAKE_SLOW") && ++queries % 3 ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) { return known(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    EXPECT(known(event) && stream == kStream && !flags)
    return CUDA_SUCCESS;
}
CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags) {
    EXPECT(stream == kStream && !flags)
    return *reinterpret_cast<volatile cuuint32_t*>(address) = value, CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    EXPECT(!memcmp(image, "\177ELF", 4))
    return *module = kModule, CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    EXPECT(module == kModule)
    const char* names[] = {"empty", "large", "spin"};
    for (size_t i = 0; i < 3; ++i)
        if (!strcmp(name, names[i])) return *function = reinterpret_cast<CUfunction>(i + 1), CUDA_SUCCESS;
    return CUDA_ERROR_NOT_FOUND;
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void** parameters, void** extra) {
    EXPECT(function && gx * gy * gz * bx * by * bz == 1 && !shared && stream == kStream && !extra)
    captured += capturing;
    return look(function, parameters);
}
CUresult cuMemAlloc(CUdeviceptr* address, size_t size) {
    *address = reinterpret_cast<CUdeviceptr>(malloc(size));
    return CUDA_SUCCESS;
}
CUresult cuMemFree(CUdeviceptr address) { return free(reinterpret_cast<void*>(address)), CUDA_SUCCESS; }
CUresult cuMemHostAlloc(void** data, size_t size, unsigned flags) {
    EXPECT(!flags || flags == CU_MEMHOSTALLOC_DEVICEMAP)
    return *data = malloc(size), CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void* data) { return free(data), CUDA_SUCCESS; }
CUresult cuMemHostGetDevicePointer(CUdeviceptr* address, void* data, unsigned flags) {
    EXPECT(!flags)
    return *address = reinterpret_cast<CUdeviceptr>(data), CUDA_SUCCESS;
}
static CUresult copy(void* to, const void* from, size_t size, CUstream stream) {
    EXPECT(stream == kStream)
    return memcpy(to, from, size), CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t size, CUstream stream) {
    return copy(reinterpret_cast<void*>(to), from, size, stream);
}
CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t size, CUstream stream) {
    return copy(to, reinterpret_cast<void*>(from), size, stream);
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) {
    return copy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), size, stream);
}
CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
    EXPECT(stream == kStream && mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    return capturing = 1, CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    EXPECT(stream == kStream && capturing)
    return capturing = 0, *graph = kGraph, CUDA_SUCCESS;
}
CUresult cuGraphInstantiate(CUgraphExec* executable, CUgraph graph, unsigned long long flags) {
    EXPECT(graph == kGraph && !flags)
    return *executable = kExecutable, CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    EXPECT(executable == kExecutable && stream == kStream)
    return CUDA_SUCCESS;
}
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
    EXPECT(graph == kGraph && *count == static_cast<size_t>(captured))
    for (size_t i = 0; i < *count; ++i) nodes[i] = reinterpret_cast<CUgraphNode>(0x1000 + i);
    return CUDA_SUCCESS;
}
static char argument[3536];
static void* pointers[] = {argument};
CUresult cuGraphKernelNodeGetParams(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS* parameters) {
    EXPECT(node == reinterpret_cast<CUgraphNode>(0x1000))
    *parameters = {reinterpret_cast<CUfunction>(2), 1, 1, 1, 1, 1, 1, 0, pointers, nullptr, nullptr, nullptr};
    return CUDA_SUCCESS;
}
CUresult cuGraphExecKernelNodeSetParams(CUgraphExec executable, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS* parameters) {
    EXPECT(executable == kExecutable && node == reinterpret_cast<CUgraphNode>(0x1000))
    return look(parameters->func, parameters->kernelParams);
}
