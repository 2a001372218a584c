// Norms, finiteness, and updates of weights in place. What the CPU's kernels round once is rounded once here: the intrinsics keep the
// compiler from joining products and sums otherwise.
#include "common.cuh"

// ---- reductions over lists of arrays: a block takes a stretch of one of them

#define STRETCH 32768
#define LISTED 64

// arrays, how long each is, and which is its first block
struct Table {
    const float* x[LISTED];
    i64 len[LISTED];
    int first[LISTED];
    int count;
};
struct Stretch {
    const float* x;
    int len, of;
};
DEVICE Stretch stretch_of(const Table& table, int block) {
    // the last whose first block is not behind this one: arrays without blocks come before the one that has it
    int low = 0, high = table.count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table.first[middle] <= block) low = middle;
        else high = middle;
    }
    i64 from = i64(block - table.first[low]) * STRETCH, left = table.len[low] - from;
    return Stretch{table.x[low] + from, left < STRETCH ? int(left) : STRETCH, low};
}

DEVICE double square(float x) { return double(x) * double(x); }

KERNEL(optimizer_squares, 256, (Table table, double* parts)) {
    SHARED double room[8];
    Stretch part = stretch_of(table, int(blockIdx.x));
    double sums[4] = {0.0, 0.0, 0.0, 0.0};
    int i = threadIdx.x;
    if (u64(part.x) % 16 == 0) {
        for (int quad = threadIdx.x; quad < part.len / 4; quad += blockDim.x) {
            Four v = load_four(part.x + 4 * quad);
            sums[0] += square(v.x);
            sums[1] += square(v.y);
            sums[2] += square(v.z);
            sums[3] += square(v.w);
        }
        i += part.len / 4 * 4;
    }
    for (; i < part.len; i += blockDim.x) sums[0] += square(part.x[i]);
    double sum = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), room);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// all ones in the exponent mark infinities and NaN
DEVICE bool finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// `bad` becomes 1 for each array with such a number; it is 0 before
KERNEL(optimizer_finite, 256, (Table table, u32* bad)) {
    Stretch part = stretch_of(table, int(blockIdx.x));
    bool good = true;
    int i = threadIdx.x;
    if (u64(part.x) % 16 == 0) {
        for (int quad = threadIdx.x; quad < part.len / 4; quad += blockDim.x) {
            Four v = load_four(part.x + 4 * quad);
            good = good && finite(v.x) && finite(v.y) && finite(v.z) && finite(v.w);
        }
        i += part.len / 4 * 4;
    }
    for (; i < part.len; i += blockDim.x) good = good && finite(part.x[i]);
    // every block that writes writes the same
    if (__syncthreads_or(!good) && threadIdx.x == 0) bad[part.of] = 1;
}

// ---- updates: four numbers a thread, each read and written once

// What a thread works on: numbers from `at` on, four together where all arrays allow it.
struct Span {
    i64 at;
    int count;
    bool four;
};
DEVICE Span span(i64 len, u64 pointers) {
    i64 at = (i64(blockIdx.x) * blockDim.x + threadIdx.x) * 4, left = len - at;
    int count = left < 0 ? 0 : left < 4 ? int(left) : 4;
    return Span{at, count, count == 4 && pointers % 16 == 0};
}
DEVICE u64 place(const void* x) { return u64(x); }
DEVICE void load(float (&to)[4], Span span, const float* x) {
    if (span.four) {
        Four v = load_four(x + span.at);
        to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) to[j] = j < span.count ? x[span.at + j] : 0.0f;
    }
}
DEVICE void store(const float (&from)[4], Span span, float* x) {
    if (span.four) {
        store_four(x + span.at, Four{from[0], from[1], from[2], from[3]});
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < span.count) x[span.at + j] = from[j];
    }
}

// a step towards x: equal weights stay equal
DEVICE float towards(float average, float x, float share) { return fmaf(share, x - average, average); }

// `a` becomes the average's numbers
DEVICE void follow(float* average, float (&a)[4], const float (&p)[4], Span at, float share) {
    load(a, at, average);
#pragma unroll
    for (int j = 0; j < 4; j++) a[j] = towards(a[j], p[j], share);
    store(a, at, average);
}
DEVICE void follow(float* average, const float (&p)[4], Span at, float share) {
    float a[4];
    if (average) follow(average, a, p, at, share);
}

// The same numbers in 16 bits, as a conversion of what stands there would make them (convert.cu). Their own boundary counts: they start a
// memory of their own.
template <class T> DEVICE void store_rounded(const float (&from)[4], Span at, T* to) {
    if (!to) return;
    if (at.count == 4 && on_fours(to)) {
        store_four(to + at.at, Four{from[0], from[1], from[2], from[3]});
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < at.count) to[at.at + j] = narrow<T>(from[j]);
    }
}

// hyper-parameters after the arithmetic that needs doubles
struct Factors {
    float decay, rate, root, eps, new1, new2, grad;
};
// `rounded` and `rounded_average`, where there are such: the new weights and their average in 16 bits
template <class T>
DEVICE void adamw(i64 len, Factors f, float* p, const float* g, float* m, float* v, float* average, float share, T* rounded,
                  T* rounded_average) {
    Span at = span(len, place(p) | place(g) | place(m) | place(v) | place(average));
    if (at.count == 0) return;
    float ps[4], gs[4], ms[4], vs[4];
    load(ps, at, p);
    load(gs, at, g);
    load(ms, at, m);
    load(vs, at, v);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float gradient = __fmul_rn(gs[j], f.grad);
        ms[j] = fmaf(f.new1, gradient - ms[j], ms[j]);
        vs[j] = fmaf(f.new2, fmaf(gradient, gradient, -vs[j]), vs[j]);
        float direction = ms[j] / fmaf(sqrtf(vs[j]), f.root, f.eps);
        ps[j] -= fmaf(f.decay, ps[j], __fmul_rn(f.rate, direction));
    }
    store(ps, at, p);
    store(ms, at, m);
    store(vs, at, v);
    store_rounded(ps, at, rounded);
    if (!average) return;
    float as[4];
    follow(average, as, ps, at, share);
    store_rounded(as, at, rounded_average);
}
#define ADAMW(T, word) \
    KERNEL(optimizer_adamw_##word, 256, \
           (i64 len, Factors f, float* p, const float* g, float* m, float* v, float* average, float share, T* rounded, T* rounded_average)) { \
        adamw(len, f, p, g, m, v, average, share, rounded, rounded_average); \
    }
ADAMW(float, f32)  // nothing of the kind
ADAMW(bf16, bf16)
ADAMW(f16, f16)

// `found`, where there is one: what the gradient is scaled by, and the decay, in the place of the arguments
KERNEL(optimizer_sgd, 256,
       (i64 len, float lr, float decay, float velocity, float scale, const float* found, float* p, const float* g, float* b, float* average,
        float share)) {
    Span at = span(len, place(p) | place(g) | place(b) | place(average));
    if (at.count == 0) return;
    if (found) scale = found[0], decay = found[1];
    float ps[4], gs[4], bs[4];
    load(ps, at, p);
    load(gs, at, g);
    load(bs, at, b);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        bs[j] = fmaf(velocity, bs[j], fmaf(decay, ps[j], __fmul_rn(gs[j], scale)));
        ps[j] = fmaf(-lr, bs[j], ps[j]);
    }
    store(ps, at, p);
    store(bs, at, b);
    follow(average, ps, at, share);
}

// ---- LARS: sums of squares of a stretch's weights and of its decayed gradient, and what the step makes of them all

KERNEL(optimizer_lars_squares, 256, (i64 len, float decay, float scale, const float* p, const float* g, double* parts)) {
    SHARED double room[8];
    i64 from = i64(blockIdx.x) * STRETCH, left = len - from;
    int count = left < STRETCH ? int(left) : STRETCH;
    p += from;
    g += from;
    double weights = 0.0, moves = 0.0;
    int i = threadIdx.x;
    if ((u64(p) | u64(g)) % 16 == 0) {
        for (int quad = threadIdx.x; quad < count / 4; quad += blockDim.x) {
            Four w = load_four(p + 4 * quad), d = load_four(g + 4 * quad);
            weights += (square(w.x) + square(w.y)) + (square(w.z) + square(w.w));
            moves += (square(fmaf(decay, w.x, __fmul_rn(d.x, scale))) + square(fmaf(decay, w.y, __fmul_rn(d.y, scale)))) +
                     (square(fmaf(decay, w.z, __fmul_rn(d.z, scale))) + square(fmaf(decay, w.w, __fmul_rn(d.w, scale))));
        }
        i += count / 4 * 4;
    }
    for (; i < count; i += blockDim.x) {
        weights += square(p[i]);
        moves += square(fmaf(decay, p[i], __fmul_rn(g[i], scale)));
    }
    weights = block_sum(weights, room);
    moves = block_sum(moves, room);
    if (threadIdx.x == 0) {
        parts[2 * i64(blockIdx.x)] = weights;
        parts[2 * i64(blockIdx.x) + 1] = moves;
    }
}
// One block: trust · |p| / |g + decay · p|, or 1 where one of the two is 0, times the gradient's scale and the decay.
KERNEL(optimizer_lars_ratio, 256, (int parts, const double* squares, double trust, double decay, float scale, float* found)) {
    SHARED double room[8];
    double weights = 0.0, moves = 0.0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x) {
        weights += squares[2 * i];
        moves += squares[2 * i + 1];
    }
    weights = sqrt(block_sum(weights, room));
    moves = sqrt(block_sum(moves, room));
    if (threadIdx.x == 0) {
        double ratio = weights > 0.0 && moves > 0.0 ? trust * weights / moves : 1.0;
        found[0] = float(ratio * double(scale));
        found[1] = float(ratio * decay);
    }
}

// ---- one array after another

KERNEL(optimizer_lerp, 256, (i64 len, float share, const float* source, float* target)) {
    Span at = span(len, place(source) | place(target));
    float s[4];
    load(s, at, source);
    follow(target, s, at, share);
}
KERNEL(optimizer_axpy, 256, (i64 len, float a, const float* x, float* y)) {
    Span at = span(len, place(x) | place(y));
    float xs[4], ys[4];
    load(xs, at, x);
    load(ys, at, y);
#pragma unroll
    for (int j = 0; j < 4; j++) ys[j] = fmaf(a, xs[j], ys[j]);
    store(ys, at, y);
}
