# cuBLAS for the large matrix products of GPUs: optional, and each device has a handle of its own.

cdef bint cublas_wanted = setting("OWL_CUBLAS", "1", ("0", "1")) == "1"
cdef object cublas_border = number_setting("OWL_CUBLAS_BORDER", kBlasBorder)
if not 1 <= cublas_border < 2 ** 31:
    raise OwlValueError(f"OWL_CUBLAS_BORDER is a number from 1 on, not {cublas_border}")
cdef bint warned_of_cublas = False


# Gives a new device its handle. Returns the border from which on products go to cuBLAS; 0: none do.
cdef int64_t open_products(CudaDevice& device, str capability) except -1:
    global warned_of_cublas
    from owl._cuda import cublas

    if not cublas_wanted:
        cublas.tell("off (OWL_CUBLAS=0)")
        return 0
    path = cublas.library()
    if path is None:
        cublas.tell("not installed: pip install 'owl-runtime[cublas]'")
        return 0
    problem = open_library(device, path, cublas.is_hopper(capability))
    if not problem:
        cublas.tell(f"{path}, for products from {cublas_border} x {cublas_border} x {cublas_border} on")
        return cublas_border
    cublas.tell(f"cannot be used: {problem}")
    if not warned_of_cublas:
        warned_of_cublas = True
        warnings.warn(f"cuBLAS cannot be used on GPU {device.index}, so owl's own kernels compute all products: {problem}; with "
                      "OWL_CUBLAS=0 it is left alone", stacklevel=1)
    return 0


# What went wrong; nothing if all is well.
cdef str open_library(CudaDevice& device, str path, bint hopper):
    cdef string error
    place = os.fsencode(path)
    cdef const BlasLibrary* library = load_blas(place, &error)
    if library is NULL:
        return error.decode(errors="replace")
    cdef ContextGuard* guard = new ContextGuard(device)
    if guard.is_current():
        error = open_blas(library, hopper, &device)
    else:
        error = b"the GPU's context cannot be made current"
    del guard
    return error.decode(errors="replace")
