// Products of matrices, by the names of cuBLAS and cuBLASLt: column-major, sums in f32. libcublas.so and libcublasLt.so
// are both this file.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "standin.h"

#define API extern "C" __attribute__((visibility("default")))

// Products are made when they are asked for: what their stream was told before is done first, where the driver's library is there.
extern "C" __attribute__((weak)) void standin_catch_up(void* stream);
static void catch_up(void* stream) {
    if (standin_catch_up) standin_catch_up(stream);
}

enum Status : int { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Type : int { R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14 };
enum Compute : int { C_16F = 64, C_32F = 68, C_32F_PEDANTIC = 69, C_FAST_16F = 74, C_FAST_16BF = 75, C_FAST_TF32 = 77 };
enum Epilogue : int { PLAIN = 1, RELU = 2, BIAS = 4, RELU_BIAS = 6, GELU = 32, GELU_BIAS = 36 };

namespace {

using standin::same_bits;

// ---- numbers

float from_brain(uint16_t x) { return same_bits<float>(uint32_t(x) << 16); }
uint16_t to_brain(float x) {
    uint32_t bits = same_bits<uint32_t>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(bits >> 16 | 0x40u);
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
// ten bits of the fraction, ties away from zero as tensor cores' conversions have them
float to_tf32(float x) {
    uint32_t bits = same_bits<uint32_t>(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) return x;
    return same_bits<float>((bits + 0x1000u) & ~0x1fffu);
}
float read(const void* from, int type, size_t at) {
    if (type == R_32F) return static_cast<const float*>(from)[at];
    uint16_t bits = static_cast<const uint16_t*>(from)[at];
    return type == R_16F ? standin::half_to_float(bits) : from_brain(bits);
}
void write(void* to, int type, size_t at, float x) {
    if (type == R_32F) static_cast<float*>(to)[at] = x;
    else static_cast<uint16_t*>(to)[at] = type == R_16F ? standin::float_to_half(x) : to_brain(x);
}
size_t bytes_of(int type) { return type == R_32F ? 4 : 2; }
bool known(int type) { return type == R_32F || type == R_16F || type == R_16BF; }

// ---- the product, in pieces that stay in caches

typedef float Sixteen __attribute__((vector_size(64)));
constexpr int kRows = 32, kColumns = 8, kDeep = 256, kHigh = 192;

// A factor as it is stored: element (i, j) stands at i + j ld, or at j + i ld when it is transposed.
struct Factor {
    const void* at;
    int type;
    size_t ld;
    bool transposed;
    int compute;
    float operator()(size_t i, size_t j) const {
        float x = read(at, type, transposed ? j + i * ld : i + j * ld);
        if (compute == C_FAST_TF32) return type == R_32F ? to_tf32(x) : x;
        if (compute == C_FAST_16F) return standin::half_to_float(standin::float_to_half(x));
        if (compute == C_FAST_16BF) return from_brain(to_brain(x));
        return x;
    }
};

// `high` numbers along one side for each of `deep` along the other, in strips of `strip`, zeros beyond the edge
template <int strip, bool columns> void pack(float* to, const Factor& from, size_t first, int high, size_t first_deep, int deep) {
    for (int start = 0; start < high; start += strip)
        for (int k = 0; k < deep; k++)
            for (int i = 0; i < strip; i++) {
                size_t at = first + size_t(start + i), along = first_deep + size_t(k);
                *to++ = start + i >= high ? 0.0f : columns ? from(along, at) : from(at, along);
            }
}

void strip_product(const float* a, const float* b, int deep, float* to, size_t ld, int rows, int columns) {
    Sixteen sums[kColumns][2] = {};
    for (int k = 0; k < deep; k++, a += kRows, b += kColumns) {
        Sixteen low, high;
        memcpy(&low, a, sizeof low);
        memcpy(&high, a + 16, sizeof high);
        for (int j = 0; j < kColumns; j++) {
            sums[j][0] += low * b[j];
            sums[j][1] += high * b[j];
        }
    }
    for (int j = 0; j < columns; j++) {
        float line[kRows];
        memcpy(line, sums[j], sizeof line);
        for (int i = 0; i < rows; i++) to[size_t(j) * ld + size_t(i)] += line[i];
    }
}

// m x n sums, column-major without gaps
void product(std::vector<float>& to, const Factor& a, const Factor& b, size_t m, size_t n, size_t k) {
    to.assign(m * n, 0.0f);
    std::vector<float> packed_a(size_t(kHigh) * kDeep), packed_b((n + kColumns) * kDeep);
    for (size_t first = 0; first < k; first += kDeep) {
        int deep = int(std::min<size_t>(kDeep, k - first));
        pack<kColumns, true>(packed_b.data(), b, 0, int(n), first, deep);
        for (size_t row = 0; row < m; row += kHigh) {
            int high = int(std::min<size_t>(kHigh, m - row));
            pack<kRows, false>(packed_a.data(), a, row, high, first, deep);
            for (size_t column = 0; column < n; column += kColumns)
                for (int i = 0; i < high; i += kRows)
                    strip_product(packed_a.data() + size_t(i) * size_t(deep), packed_b.data() + column * size_t(deep), deep,
                                  to.data() + column * m + row + size_t(i), m, std::min(kRows, high - i),
                                  int(std::min<size_t>(kColumns, n - column)));
        }
    }
}

struct Result {
    const void* c;  // what beta multiplies
    size_t ldc;
    void* d;
    size_t ldd;
    int type;
    int epilogue;
    const void* bias;
    int bias_type;
};

void gemm(const Factor& a, const Factor& b, size_t m, size_t n, size_t k, float alpha, float beta, const Result& to) {
    std::vector<float> sums;
    if (alpha != 0) product(sums, a, b, m, n, k);
    else sums.assign(m * n, 0.0f);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < m; i++) {
            float x = alpha * sums[j * m + i];
            // what there was may be anything where nothing of it is asked for
            if (beta != 0) x += beta * read(to.c, to.type, j * to.ldc + i);
            if (to.bias) x += read(to.bias, to.bias_type, i);
            if (to.epilogue == RELU || to.epilogue == RELU_BIAS) x = x > 0 ? x : 0;
            if (to.epilogue == GELU || to.epilogue == GELU_BIAS) x = 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
            write(to.d, to.type, j * to.ldd + i, x);
        }
}

const void* after(const void* at, int type, int64_t elements) {
    return at ? static_cast<const char*>(at) + elements * int64_t(bytes_of(type)) : nullptr;
}

bool supported(int a, int b, int c, int compute) {
    if (compute < C_32F || (compute > C_32F_PEDANTIC && compute != C_FAST_16F && compute != C_FAST_16BF && compute != C_FAST_TF32)) return false;
    if (!known(a) || a != b || !known(c)) return false;
    return c == a || c == R_32F;
}

}  // namespace

// ---- cuBLAS

struct Handle {
    void* stream;
    int math, pointers;
};
typedef Handle* cublasHandle_t;

API int cublasCreate_v2(cublasHandle_t* to) {
    if (!to) return INVALID_VALUE;
    return *to = new Handle{}, SUCCESS;
}
API int cublasDestroy_v2(cublasHandle_t handle) {
    if (!handle) return NOT_INITIALIZED;
    return delete handle, SUCCESS;
}
API int cublasSetStream_v2(cublasHandle_t handle, void* stream) { return handle ? (handle->stream = stream, SUCCESS) : NOT_INITIALIZED; }
API int cublasGetStream_v2(cublasHandle_t handle, void** to) { return handle ? (*to = handle->stream, SUCCESS) : NOT_INITIALIZED; }
API int cublasSetMathMode(cublasHandle_t handle, int mode) { return handle ? (handle->math = mode, SUCCESS) : NOT_INITIALIZED; }
API int cublasGetMathMode(cublasHandle_t handle, int* to) { return handle ? (*to = handle->math, SUCCESS) : NOT_INITIALIZED; }
API int cublasSetPointerMode_v2(cublasHandle_t handle, int mode) { return handle ? (handle->pointers = mode, SUCCESS) : NOT_INITIALIZED; }
API int cublasGetPointerMode_v2(cublasHandle_t handle, int* to) { return handle ? (*to = handle->pointers, SUCCESS) : NOT_INITIALIZED; }
API int cublasSetWorkspace_v2(cublasHandle_t handle, void*, size_t) { return handle ? SUCCESS : NOT_INITIALIZED; }
API int cublasSetAtomicsMode(cublasHandle_t handle, int) { return handle ? SUCCESS : NOT_INITIALIZED; }
API int cublasGetVersion_v2(cublasHandle_t, int* to) { return *to = 120200, SUCCESS; }
API const char* cublasGetStatusName(int) { return "a status of the stand-in for cuBLAS"; }
API const char* cublasGetStatusString(int) { return "a status of the stand-in for cuBLAS"; }

API int cublasGemmStridedBatchedEx(cublasHandle_t handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a,
                                   int type_a, int lda, long long stride_a, const void* b, int type_b, int ldb, long long stride_b,
                                   const void* beta, void* c, int type_c, int ldc, long long stride_c, int batches, int compute, int) {
    if (!handle) return NOT_INITIALIZED;
    if (transa < 0 || transa > 2 || transb < 0 || transb > 2 || m < 0 || n < 0 || k < 0 || batches < 0) return INVALID_VALUE;
    if (lda < std::max(1, transa ? k : m) || ldb < std::max(1, transb ? n : k) || ldc < std::max(1, m)) return INVALID_VALUE;
    if (!alpha || !beta) return INVALID_VALUE;
    if (!supported(type_a, type_b, type_c, compute)) return NOT_SUPPORTED;
    if (!m || !n || !batches) return SUCCESS;
    catch_up(handle->stream);
    float by = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
    if (!c || (k && by != 0 && (!a || !b))) return INVALID_VALUE;
    if (compute == C_32F && (handle->math & 15) == 3) compute = C_FAST_TF32;
    for (int i = 0; i < batches; i++) {
        Factor left{after(a, type_a, i * stride_a), type_a, size_t(lda), transa != 0, compute};
        Factor right{after(b, type_b, i * stride_b), type_b, size_t(ldb), transb != 0, compute};
        void* to = const_cast<void*>(after(c, type_c, i * stride_c));
        gemm(left, right, size_t(m), size_t(n), size_t(k), by, keep, Result{to, size_t(ldc), to, size_t(ldc), type_c, PLAIN, nullptr, R_32F});
    }
    return SUCCESS;
}
API int cublasGemmEx(cublasHandle_t handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a, int type_a, int lda,
                     const void* b, int type_b, int ldb, const void* beta, void* c, int type_c, int ldc, int compute, int algo) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c, ldc, 0, 1,
                                      compute, algo);
}
API int cublasSgemmStridedBatched(cublasHandle_t handle, int transa, int transb, int m, int n, int k, const float* alpha, const float* a,
                                  int lda, long long stride_a, const float* b, int ldb, long long stride_b, const float* beta, float* c,
                                  int ldc, long long stride_c, int batches) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, a, R_32F, lda, stride_a, b, R_32F, ldb, stride_b, beta, c, R_32F,
                                      ldc, stride_c, batches, C_32F, -1);
}
API int cublasSgemm_v2(cublasHandle_t handle, int transa, int transb, int m, int n, int k, const float* alpha, const float* a, int lda,
                       const float* b, int ldb, const float* beta, float* c, int ldc) {
    return cublasSgemmStridedBatched(handle, transa, transb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

// what cudarc names beside these, plainly
template <class T>
static int plain_gemv(cublasHandle_t handle, int trans, int m, int n, const T* alpha, const T* a, int lda, const T* x, int by_x, const T* beta,
                      T* y, int by_y) {
    if (!handle) return NOT_INITIALIZED;
    if (m < 0 || n < 0 || lda < std::max(1, m) || !by_x || !by_y || !alpha || !beta) return INVALID_VALUE;
    catch_up(handle->stream);
    int rows = trans ? n : m, columns = trans ? m : n;
    if (rows && columns && (!a || !x || !y)) return INVALID_VALUE;
    auto at = [](int i, int count, int by) { return int64_t(by > 0 ? i : i - count + 1) * by; };
    for (int i = 0; i < rows; i++) {
        T sum = 0;
        for (int j = 0; j < columns; j++) sum += a[trans ? j + int64_t(i) * lda : i + int64_t(j) * lda] * x[at(j, columns, by_x)];
        T& to = y[at(i, rows, by_y)];
        to = *alpha * sum + (*beta != 0 ? *beta * to : T(0));
    }
    return SUCCESS;
}
API int cublasSgemv_v2(cublasHandle_t handle, int trans, int m, int n, const float* alpha, const float* a, int lda, const float* x, int by_x,
                       const float* beta, float* y, int by_y) {
    return plain_gemv(handle, trans, m, n, alpha, a, lda, x, by_x, beta, y, by_y);
}
API int cublasDgemv_v2(cublasHandle_t handle, int trans, int m, int n, const double* alpha, const double* a, int lda, const double* x, int by_x,
                       const double* beta, double* y, int by_y) {
    return plain_gemv(handle, trans, m, n, alpha, a, lda, x, by_x, beta, y, by_y);
}
API int cublasDgemmStridedBatched(cublasHandle_t handle, int transa, int transb, int m, int n, int k, const double* alpha, const double* a,
                                  int lda, long long stride_a, const double* b, int ldb, long long stride_b, const double* beta, double* c,
                                  int ldc, long long stride_c, int batches) {
    if (!handle) return NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || batches < 0 || !alpha || !beta) return INVALID_VALUE;
    if (lda < std::max(1, transa ? k : m) || ldb < std::max(1, transb ? n : k) || ldc < std::max(1, m)) return INVALID_VALUE;
    catch_up(handle->stream);
    for (int batch = 0; batch < batches; batch++, a += stride_a, b += stride_b, c += stride_c)
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++) {
                double sum = 0;
                for (int64_t l = 0; l < k; l++) sum += a[transa ? l + i * lda : i + l * lda] * b[transb ? j + l * ldb : l + j * ldb];
                double& to = c[i + j * ldc];
                to = *alpha * sum + (*beta != 0 ? *beta * to : 0);
            }
    return SUCCESS;
}
API int cublasDgemm_v2(cublasHandle_t handle, int transa, int transb, int m, int n, int k, const double* alpha, const double* a, int lda,
                       const double* b, int ldb, const double* beta, double* c, int ldc) {
    return cublasDgemmStridedBatched(handle, transa, transb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

// ---- cuBLASLt

struct Description {
    int compute, scale;
    int pointers = 0, transa = 0, transb = 0, epilogue = PLAIN;
    const void* bias = nullptr;
    int bias_type = -1;
    int64_t bias_stride = 0;
};
struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t ld;
    int order = 0, batches = 1;
    int64_t stride = 0;
};
struct Preference {
    uint64_t workspace = 0;
};
struct Heuristic {
    uint64_t algo[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

template <class T> static int put(T& to, const void* from, size_t bytes) {
    if (!from || bytes < sizeof(T)) return INVALID_VALUE;
    return memcpy(&to, from, sizeof(T)), SUCCESS;
}

API int cublasLtCreate(void** to) {
    if (!to) return INVALID_VALUE;
    return *to = new Handle{}, SUCCESS;
}
API int cublasLtDestroy(void* handle) {
    if (!handle) return NOT_INITIALIZED;
    return delete static_cast<Handle*>(handle), SUCCESS;
}
API size_t cublasLtGetVersion() { return 120200; }
// `STANDIN_LIBRARY` lets the libraries be of another CUDA than the driver, which is 12.2
API size_t cublasLtGetCudartVersion() {
    const char* other = std::getenv("STANDIN_LIBRARY");
    return other ? std::strtoul(other, nullptr, 10) : 12020;
}
API int cublasLtLoggerSetLevel(int) { return SUCCESS; }
API int cublasLtLoggerOpenFile(const char*) { return SUCCESS; }

API int cublasLtMatmulDescCreate(Description** to, int compute, int scale) {
    if (!to) return INVALID_VALUE;
    *to = new Description;
    (*to)->compute = compute;
    (*to)->scale = scale;
    return SUCCESS;
}
API int cublasLtMatmulDescDestroy(Description* description) { return delete description, SUCCESS; }
API int cublasLtMatmulDescSetAttribute(Description* to, int attribute, const void* from, size_t bytes) {
    if (!to) return INVALID_VALUE;
    switch (attribute) {
        case 0: return put(to->compute, from, bytes);
        case 1: return put(to->scale, from, bytes);
        case 2: return put(to->pointers, from, bytes);
        case 3: return put(to->transa, from, bytes);
        case 4: return put(to->transb, from, bytes);
        case 7: return put(to->epilogue, from, bytes);
        case 8: return put(to->bias, from, bytes);
        case 10: return put(to->bias_stride, from, bytes);
        case 26: return put(to->bias_type, from, bytes);
        case 15: return SUCCESS;  // how many multiprocessors
        default: return NOT_SUPPORTED;
    }
}
API int cublasLtMatrixLayoutCreate(Layout** to, int type, uint64_t rows, uint64_t columns, int64_t ld) {
    if (!to) return INVALID_VALUE;
    *to = new Layout;
    (*to)->type = type;
    (*to)->rows = rows;
    (*to)->columns = columns;
    (*to)->ld = ld;
    return SUCCESS;
}
API int cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, SUCCESS; }
API int cublasLtMatrixLayoutSetAttribute(Layout* to, int attribute, const void* from, size_t bytes) {
    if (!to) return INVALID_VALUE;
    switch (attribute) {
        case 0: return put(to->type, from, bytes);
        case 1: return put(to->order, from, bytes);
        case 2: return put(to->rows, from, bytes);
        case 3: return put(to->columns, from, bytes);
        case 4: return put(to->ld, from, bytes);
        case 5: return put(to->batches, from, bytes);
        case 6: return put(to->stride, from, bytes);
        default: return NOT_SUPPORTED;
    }
}
API int cublasLtMatmulPreferenceCreate(Preference** to) {
    if (!to) return INVALID_VALUE;
    return *to = new Preference, SUCCESS;
}
API int cublasLtMatmulPreferenceDestroy(Preference* preference) { return delete preference, SUCCESS; }
API int cublasLtMatmulPreferenceSetAttribute(Preference* to, int attribute, const void* from, size_t bytes) {
    if (!to) return INVALID_VALUE;
    if (attribute == 1) return put(to->workspace, from, bytes);
    return from && bytes ? SUCCESS : INVALID_VALUE;
}

// whether such matrices can be multiplied so
static int fits(const Description* of, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
    if (!of || !a || !b || !c || !d) return INVALID_VALUE;
    for (const Layout* each : {a, b, c, d}) {
        if (each->order != 0) return NOT_SUPPORTED;
        if (each->ld < int64_t(std::max<uint64_t>(1, each->rows)) || each->batches < 1 || each->batches != d->batches) return INVALID_VALUE;
    }
    uint64_t m = of->transa ? a->columns : a->rows, k = of->transa ? a->rows : a->columns;
    uint64_t other_k = of->transb ? b->columns : b->rows, n = of->transb ? b->rows : b->columns;
    if (k != other_k || d->rows != m || d->columns != n || c->rows != m || c->columns != n || c->type != d->type) return INVALID_VALUE;
    if (!m || !n || !k) return INVALID_VALUE;
    if (of->scale != R_32F || of->pointers != 0 || !supported(a->type, b->type, d->type, of->compute)) return NOT_SUPPORTED;
    switch (of->epilogue) {
        case PLAIN: case RELU: case GELU: break;
        case BIAS: case RELU_BIAS: case GELU_BIAS:
            if (of->bias_type >= 0 && of->bias_type != d->type && !(of->bias_type == a->type && d->type == R_32F)) return NOT_SUPPORTED;
            break;
        default: return NOT_SUPPORTED;
    }
    return SUCCESS;
}
API int cublasLtMatmulAlgoGetHeuristic(void* handle, const Description* of, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
                                       const Preference* preference, int asked, Heuristic* to, int* got) {
    if (!handle) return NOT_INITIALIZED;
    if (!preference || asked < 1 || !to || !got) return INVALID_VALUE;
    *got = 0;
    if (int no = fits(of, a, b, c, d)) return no;
    *to = Heuristic{};
    to->waves = 1;
    return *got = 1, SUCCESS;
}
API int cublasLtMatmul(void* handle, const Description* of, const void* alpha, const void* a, const Layout* layout_a, const void* b,
                       const Layout* layout_b, const void* beta, const void* c, const Layout* layout_c, void* d, const Layout* layout_d,
                       const void*, void* workspace, size_t workspace_bytes, void* stream) {
    if (!handle) return NOT_INITIALIZED;
    if (int no = fits(of, layout_a, layout_b, layout_c, layout_d)) return no;
    if (!alpha || !beta || !a || !b || !d || (workspace_bytes && !workspace)) return INVALID_VALUE;
    float by = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
    if (keep != 0 && !c) return INVALID_VALUE;
    bool biased = of->epilogue == BIAS || of->epilogue == RELU_BIAS || of->epilogue == GELU_BIAS;
    if (biased && !of->bias) return INVALID_VALUE;
    // in place is meant as such
    if (c == d && layout_c->ld != layout_d->ld && keep != 0) return INVALID_VALUE;
    catch_up(stream);
    size_t m = layout_d->rows, n = layout_d->columns, k = of->transa ? layout_a->rows : layout_a->columns;
    int bias_type = of->bias_type >= 0 ? of->bias_type : layout_d->type;
    for (int i = 0; i < layout_d->batches; i++) {
        Factor left{after(a, layout_a->type, i * layout_a->stride), layout_a->type, size_t(layout_a->ld), of->transa != 0, of->compute};
        Factor right{after(b, layout_b->type, i * layout_b->stride), layout_b->type, size_t(layout_b->ld), of->transb != 0, of->compute};
        Result to{after(c, layout_c->type, i * layout_c->stride),
                  size_t(layout_c->ld),
                  const_cast<void*>(after(d, layout_d->type, i * layout_d->stride)),
                  size_t(layout_d->ld),
                  layout_d->type,
                  of->epilogue,
                  biased ? after(of->bias, bias_type, i * of->bias_stride) : nullptr,
                  bias_type};
        gemm(left, right, m, n, k, by, keep, to);
    }
    return SUCCESS;
}
