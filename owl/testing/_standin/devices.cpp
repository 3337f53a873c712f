// Of the driver: its beginning, devices, contexts, modules, and the names of errors.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "abi.h"
#include "kernels.h"

namespace owl {
namespace cuda {

namespace {

constexpr char kImage[] = "owl stand-in";  // the "cubin": the kernels are in this library

struct ErrorWords {
    Result error;
    const char *name, *text;
};
constexpr ErrorWords kErrors[] = {
    {kSuccess, "CUDA_SUCCESS", "no error"},
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {kNoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {kNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {kPeerUnsupported, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"},
    {kPeerAlreadyEnabled, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {kUnknown, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const ErrorWords* words(Result error) {
    for (const ErrorWords& row : kErrors)
        if (row.error == error) return &row;
    return nullptr;
}

struct Attribute {
    int number, value;
};
constexpr Attribute kAttributes[] = {
    {1, 1024},         // threads of a block
    {2, 1024},         // of its first dimension
    {3, 1024},         // of its second one
    {4, 64},           // of its third one
    {5, 0x7FFFFFFF},   // blocks of a grid's first dimension
    {6, 65535},        // of its second one
    {7, 65535},        // of its third one
    {8, 48 << 10},     // bytes of a block's shared memory
    {10, 32},          // threads of a warp
    {12, 65536},       // registers of a block
    {13, 1980000},     // kHz
    {16, 4},           // multiprocessors
    {31, 1},           // kernels run beside each other
    {33, 0},           // PCI bus; the device follows
    {36, 2619000},     // kHz of the memory
    {37, 5120},        // bits of its bus
    {38, 4 << 20},     // bytes of the cache
    {39, 2048},        // threads of a multiprocessor
    {40, 1},           // copies beside kernels
    {41, 1},           // one space of addresses
    {50, 0},           // PCI domain
    {75, 9},           // compute capability
    {76, 0},           // its second number
    {81, 228 << 10},   // bytes of a multiprocessor's shared memory
    {97, 227 << 10},   // of a block's, where it is asked for
};

bool is_device(const State& now, int device) { return device >= 0 && device < now.devices; }

Result context_of(State& now, int device, CUctx_st** context) {
    if (!context) return kInvalidValue;
    if (!is_device(now, device)) return kInvalidDevice;
    for (const auto& known : now.contexts)
        if (known->device == device) {
            *context = known.get();
            return kSuccess;
        }
    *context = now.contexts.make();
    (*context)->device = device;
    return kSuccess;
}

}  // namespace

Result cuInit(unsigned flags) {
    return call("cuInit", Needs::nothing, [&](State& now, Lock&) -> Result {
        if (flags) return kInvalidValue;
        if (!now.devices) return kNoDevice;
        if (!now.initialized) now.initialized = getpid();
        return now.sticky;
    });
}

Result cuDriverGetVersion(int* version) {
    return call("cuDriverGetVersion", Needs::nothing, [&](State&, Lock&) -> Result {
        if (!version) return kInvalidValue;
        *version = 13000;
        return kSuccess;
    });
}

// These two look into a table, in any process and at any time.
Result cuGetErrorName(Result error, const char** name) {
    const ErrorWords* row = words(error);
    *name = row ? row->name : nullptr;
    return row ? kSuccess : kInvalidValue;
}

Result cuGetErrorString(Result error, const char** text) {
    const ErrorWords* row = words(error);
    *text = row ? row->text : nullptr;
    return row ? kSuccess : kInvalidValue;
}

OWL_STANDIN_EXPORT Result cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", Needs::init, [&](State& now, Lock&) -> Result {
        if (!count) return kInvalidValue;
        *count = now.devices;
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuDeviceGet(int* device, int ordinal) {
    return call("cuDeviceGet", Needs::init, [&](State& now, Lock&) -> Result {
        if (!device) return kInvalidValue;
        if (!is_device(now, ordinal)) return kInvalidDevice;
        *device = ordinal;
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuDeviceGetName(char* name, int size, int device) {
    return call("cuDeviceGetName", Needs::init, [&](State& now, Lock&) -> Result {
        if (!name || size <= 0) return kInvalidValue;
        if (!is_device(now, device)) return kInvalidDevice;
        std::snprintf(name, static_cast<size_t>(size), "owl stand-in");
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuDeviceGetPCIBusId(char* name, int size, int device) {
    return call("cuDeviceGetPCIBusId", Needs::init, [&](State& now, Lock&) -> Result {
        if (!name || size < 13) return kInvalidValue;
        if (!is_device(now, device)) return kInvalidDevice;
        std::snprintf(name, static_cast<size_t>(size), "0000:%02x:00.0", static_cast<unsigned>(device) & 0xFF);
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuDeviceTotalMem_v2(size_t* bytes, int device) {
    return call("cuDeviceTotalMem_v2", Needs::init, [&](State& now, Lock&) -> Result {
        if (!bytes) return kInvalidValue;
        if (!is_device(now, device)) return kInvalidDevice;
        *bytes = now.memory.total();
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuDeviceGetAttribute(int* value, int attribute, int device) {
    return call("cuDeviceGetAttribute", Needs::init, [&](State& now, Lock&) -> Result {
        if (!value) return kInvalidValue;
        if (!is_device(now, device)) return kInvalidDevice;
        for (const Attribute& row : kAttributes)
            if (row.number == attribute) {
                *value = row.value + (attribute == 33 ? device : 0);
                return kSuccess;
            }
        return kInvalidValue;
    });
}

Result cuDevicePrimaryCtxRetain(Context* context, int device) {
    return call("cuDevicePrimaryCtxRetain", Needs::init,
                [&](State& now, Lock&) { return context_of(now, device, context); });
}

Result cuCtxPushCurrent_v2(Context context) {
    return call("cuCtxPushCurrent_v2", Needs::init, [&](State& now, Lock&) -> Result {
        if (!now.contexts.lives(context)) return kInvalidContext;
        context_stack().push_back(context);
        return kSuccess;
    });
}

Result cuCtxPopCurrent_v2(Context* context) {
    return call("cuCtxPopCurrent_v2", Needs::context, [&](State&, Lock&) -> Result {
        if (context) *context = context_stack().back();
        context_stack().pop_back();
        return kSuccess;
    });
}

Result cuDeviceCanAccessPeer(int* can, int device, int peer) {
    return call("cuDeviceCanAccessPeer", Needs::init, [&](State& now, Lock&) -> Result {
        if (!can) return kInvalidValue;
        if (!is_device(now, device) || !is_device(now, peer)) return kInvalidDevice;
        *can = now.peers && device != peer;
        return kSuccess;
    });
}

// For the current context.
Result cuCtxEnablePeerAccess(Context peer, unsigned flags) {
    return call("cuCtxEnablePeerAccess", Needs::context, [&](State& now, Lock&) -> Result {
        if (flags) return kInvalidValue;
        if (!now.contexts.lives(peer) || peer == current_context()) return kInvalidContext;
        if (!now.peers || peer->device == current_context()->device) return kPeerUnsupported;
        auto& peers = current_context()->peers;
        if (std::count(peers.begin(), peers.end(), peer)) return kPeerAlreadyEnabled;
        peers.push_back(peer);
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuCtxGetCurrent(Context* context) {
    return call("cuCtxGetCurrent", Needs::init, [&](State&, Lock&) -> Result {
        if (!context) return kInvalidValue;
        *context = current_context();
        return kSuccess;
    });
}

// Puts a context in the current one's place; none takes the current one away.
OWL_STANDIN_EXPORT Result cuCtxSetCurrent(Context context) {
    return call("cuCtxSetCurrent", Needs::init, [&](State& now, Lock&) -> Result {
        if (context && !now.contexts.lives(context)) return kInvalidContext;
        if (current_context()) context_stack().pop_back();
        if (context) context_stack().push_back(context);
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuModuleLoadData(Module* module, const void* image) {
    return call("cuModuleLoadData", Needs::context, [&](State& now, Lock&) -> Result {
        if (!module || !image) return kInvalidValue;
        const bool own = !std::strncmp(static_cast<const char*>(image), kImage, sizeof kImage - 1);
        void* library = own ? nullptr : open_module(image);
        if (!own && !library) return kInvalidImage;
        *module = now.modules.make();
        (*module)->library = library;
        (*module)->context = current_context();
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuModuleGetFunction(Function* function, Module module, const char* name) {
    return call("cuModuleGetFunction", Needs::context, [&](State& now, Lock&) -> Result {
        if (!function || !name) return kInvalidValue;
        if (!now.modules.lives(module)) return kInvalidHandle;
        const Kernel* kernel = module->library ? find_kernel(module->library, name) : find_kernel(name);
        if (!kernel) return kNotFound;
        *function = now.functions.make();
        (*function)->kernel = kernel;
        (*function)->module = module;
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuModuleUnload(Module module) {
    return call("cuModuleUnload", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.modules.lives(module)) return kInvalidHandle;
        now.modules.retire(module);
        return kSuccess;
    });
}

}  // namespace cuda
}  // namespace owl
