// The compiler of kernels at run time: whatever it is given becomes an image that the driver takes.
#include <string.h>

#include <stddef.h>

#define API extern "C" __attribute__((visibility("default")))

typedef struct Program* nvrtcProgram;
struct Program {
    bool compiled;
};

enum : int { SUCCESS = 0, INVALID_INPUT = 3, INVALID_PROGRAM = 4 };

static const char image[] = "// stand-in\n";

static int size_of(nvrtcProgram program, size_t* to, size_t bytes) {
    if (!program || !to) return program ? INVALID_INPUT : INVALID_PROGRAM;
    return *to = bytes, SUCCESS;
}
static int image_of(nvrtcProgram program, char* to) {
    if (!program || !program->compiled || !to) return INVALID_PROGRAM;
    return memcpy(to, image, sizeof image), SUCCESS;
}

API int nvrtcVersion(int* major, int* minor) { return *major = 12, *minor = 2, SUCCESS; }
API const char* nvrtcGetErrorString(int result) { return result == SUCCESS ? "NVRTC_SUCCESS" : "an error of the stand-in for NVRTC"; }
API int nvrtcGetNumSupportedArchs(int* to) { return *to = 3, SUCCESS; }
API int nvrtcGetSupportedArchs(int* to) { return to[0] = 75, to[1] = 80, to[2] = 90, SUCCESS; }
API int nvrtcCreateProgram(nvrtcProgram* to, const char* source, const char*, int, const char* const*, const char* const*) {
    if (!to || !source) return INVALID_INPUT;
    return *to = new Program{false}, SUCCESS;
}
API int nvrtcDestroyProgram(nvrtcProgram* program) {
    if (!program || !*program) return INVALID_PROGRAM;
    delete *program;
    return *program = nullptr, SUCCESS;
}
API int nvrtcCompileProgram(nvrtcProgram program, int, const char* const*) {
    if (!program) return INVALID_PROGRAM;
    return program->compiled = true, SUCCESS;
}
API int nvrtcGetPTXSize(nvrtcProgram program, size_t* to) { return size_of(program, to, sizeof image); }
API int nvrtcGetPTX(nvrtcProgram program, char* to) { return image_of(program, to); }
API int nvrtcGetCUBINSize(nvrtcProgram program, size_t* to) { return size_of(program, to, sizeof image); }
API int nvrtcGetCUBIN(nvrtcProgram program, char* to) { return image_of(program, to); }
API int nvrtcGetProgramLogSize(nvrtcProgram program, size_t* to) { return size_of(program, to, 1); }
API int nvrtcGetProgramLog(nvrtcProgram program, char* to) {
    if (!program || !to) return INVALID_PROGRAM;
    return *to = 0, SUCCESS;
}
API int nvrtcAddNameExpression(nvrtcProgram program, const char*) { return program ? SUCCESS : INVALID_PROGRAM; }
API int nvrtcGetLoweredName(nvrtcProgram program, const char* name, const char** to) {
    if (!program || !to) return INVALID_PROGRAM;
    return *to = name, SUCCESS;
}
