// Targets and losses over rows of many prototypes: a block a row.
//
// A row is read twice: for its largest number and the sum of its exponentials at once, each thread keeping its own; and for what is
// written. The second time goes backwards, since what was read last is the likeliest to be in a cache.
#include "common.cuh"

// numbers that a thread takes at once
#define EACH 8
// what every number is above; infinity would make NaNs of differences
#define LOWEST (-3.402823466e38f)

// whether four numbers may be moved at once in every row of k
DEVICE bool aligned(int k, const void* a, const void* b, const void* c) { return k % 4 == 0 && (u64(a) | u64(b) | u64(c)) % 16 == 0; }

// This thread's numbers of a block's EACH · blockDim.x from `base` on.
template <bool four> DEVICE void load_each(float (&x)[EACH], const float* row, int base, int k, float outside) {
    if (four) {
#pragma unroll
        for (int j = 0; j < EACH; j += 4) {
            int i = base + (j / 4 * int(blockDim.x) + int(threadIdx.x)) * 4;
            Four v = i < k ? load_four(row + i) : Four{outside, outside, outside, outside};
            x[j] = v.x, x[j + 1] = v.y, x[j + 2] = v.z, x[j + 3] = v.w;
        }
    } else {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int i = base + j * int(blockDim.x) + int(threadIdx.x);
            x[j] = i < k ? row[i] : outside;
        }
    }
}
template <bool four> DEVICE void store_each(const float (&x)[EACH], float* row, int base, int k) {
    if (four) {
#pragma unroll
        for (int j = 0; j < EACH; j += 4) {
            int i = base + (j / 4 * int(blockDim.x) + int(threadIdx.x)) * 4;
            if (i < k) store_four(row + i, Four{x[j], x[j + 1], x[j + 2], x[j + 3]});
        }
    } else {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int i = base + j * int(blockDim.x) + int(threadIdx.x);
            if (i < k) row[i] = x[j];
        }
    }
}
DEVICE int stride() { return EACH * int(blockDim.x); }
DEVICE int last_base(int k) { return k > 0 ? (k - 1) / stride() * stride() : 0; }

// What a thread knows of its numbers x so far: the largest, the sum of z's exponentials with z = (x - top) · inverse, and sums
// along z, of weights e^z or q. A NaN is not the largest, but is in the sums.
struct Seen {
    float top, total, along, mass;
};
DEVICE Seen nothing() { return Seen{LOWEST, 0.0f, 0.0f, 0.0f}; }

// sums of e^z and of e^z z, once the top is another
DEVICE void softmax_moved(Seen& seen, float top, float inverse) {
    float apart = (seen.top - top) * inverse, keep = expf(apart);
    // before there is anything `apart` may be infinite
    seen.along = seen.total == 0.0f ? 0.0f : keep * (seen.along + apart * seen.total);
    seen.total *= keep;
    seen.top = top;
}
DEVICE void softmax_seen(Seen& seen, const float (&x)[EACH], float inverse) {
    float top = seen.top;
#pragma unroll
    for (int j = 0; j < EACH; j++) top = fmaxf(top, x[j]);
    softmax_moved(seen, top, inverse);
    float total = 0.0f, along = 0.0f;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        // scaled after the largest is off, so that large numbers keep their digits
        float z = (x[j] - top) * inverse, e = expf(z);
        total += e;
        // an exponential that vanished has no part in the entropy, were its exponent infinite
        along += e == 0.0f ? 0.0f : e * z;
    }
    seen.total += total;
    seen.along += along;
}

// ---- targets = softmax((logits - center) / temperature), and each row's entropy

struct Room {
    float tops[32];
    double sums[32];
};

template <bool four> DEVICE void load_centered(float (&x)[EACH], const float* row, const float* center, int base, int k) {
    load_each<four>(x, row, base, k, -INFINITY);
    if (center) {
        float c[EACH];
        load_each<four>(c, center, base, k, 0.0f);
#pragma unroll
        for (int j = 0; j < EACH; j++) x[j] -= c[j];
    }
}
template <bool four>
DEVICE void targets_row(int k, const float* logits, const float* center, float inverse, float* targets, float* entropy, Room* room) {
    float x[EACH];
    Seen seen = nothing();
    for (int base = 0; base < k; base += stride()) {
        load_centered<four>(x, logits, center, base, k);
        softmax_seen(seen, x, inverse);
    }
    float top = block_max(seen.top, room->tops);
    softmax_moved(seen, top, inverse);
    double total = block_sum(double(seen.total), room->sums), along = block_sum(double(seen.along), room->sums);
    if (threadIdx.x == 0) *entropy = float(log(total) - along / total);
    float scale = float(1.0 / total);
    for (int base = last_base(k); base >= 0; base -= stride()) {
        load_centered<four>(x, logits, center, base, k);
#pragma unroll
        for (int j = 0; j < EACH; j++) x[j] = expf((x[j] - top) * inverse) * scale;
        store_each<four>(x, targets, base, k);
    }
}
KERNEL(loss_targets, 1024, (int k, const float* logits, const float* center, float inverse, float* targets, float* entropy)) {
    SHARED Room room;
    i64 at = i64(blockIdx.x) * k;
    if (aligned(k, logits, center, targets)) targets_row<true>(k, logits + at, center, inverse, targets + at, entropy + blockIdx.x, &room);
    else targets_row<false>(k, logits + at, center, inverse, targets + at, entropy + blockIdx.x, &room);
}

// ---- cross-entropy of a student's row with its partners: the rows of the same picture in every teacher view but its own

struct Partners {
    const float* teacher;
    int globals, batch, k, view, sample;
};
DEVICE Partners partners_of(const float* teacher, int globals, int batch, int k, int row) {
    return Partners{teacher, globals, batch, k, row / batch, row % batch};
}
// null where the view is the row's own
DEVICE const float* partner(Partners of, int global) {
    return global == of.view ? nullptr : of.teacher + (i64(global) * of.batch + of.sample) * of.k;
}
template <bool four> DEVICE void load_partners(float (&q)[EACH], Partners of, int base) {
#pragma unroll
    for (int j = 0; j < EACH; j++) q[j] = 0.0f;
    for (int global = 0; global < of.globals; global++) {
        const float* row = partner(of, global);
        if (!row) continue;
        float more[EACH];
        load_each<four>(more, row, base, of.k, 0.0f);
#pragma unroll
        for (int j = 0; j < EACH; j++) q[j] += more[j];
    }
}

// sums of e^z, q and q z, once the top is another
DEVICE void pairs_moved(Seen& seen, float top, float inverse) {
    float apart = (seen.top - top) * inverse;
    seen.total *= expf(apart);
    seen.along += seen.mass == 0.0f ? 0.0f : seen.mass * apart;
    seen.top = top;
}
DEVICE void pairs_seen(Seen& seen, const float (&x)[EACH], const float (&q)[EACH], float inverse) {
    float top = seen.top;
#pragma unroll
    for (int j = 0; j < EACH; j++) top = fmaxf(top, x[j]);
    pairs_moved(seen, top, inverse);
    float total = 0.0f, along = 0.0f, mass = 0.0f;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        float z = (x[j] - top) * inverse;
        total += expf(z);
        mass += q[j];
        along += q[j] == 0.0f ? 0.0f : q[j] * z;
    }
    seen.total += total;
    seen.mass += mass;
    seen.along += along;
}
template <bool four>
DEVICE void pairs_row(Partners partners, const float* student, float inverse, float scale, float* dstudent, double* loss, Room* room) {
    int k = partners.k;
    float x[EACH], q[EACH];
    Seen seen = nothing();
    for (int base = 0; base < k; base += stride()) {
        load_each<four>(x, student, base, k, -INFINITY);
        load_partners<four>(q, partners, base);
        pairs_seen(seen, x, q, inverse);
    }
    float top = block_max(seen.top, room->tops);
    pairs_moved(seen, top, inverse);
    double total = block_sum(double(seen.total), room->sums), mass = block_sum(double(seen.mass), room->sums);
    double along = block_sum(double(seen.along), room->sums);
    if (threadIdx.x == 0) *loss = mass * log(total) - along;
    float share = float(double(scale) * mass / total);
    bool alone = partners.globals == 0 || (partners.globals == 1 && partners.view == 0);
    for (int base = last_base(k); base >= 0; base -= stride()) {
        load_each<four>(x, student, base, k, -INFINITY);
        load_partners<four>(q, partners, base);
#pragma unroll
        for (int j = 0; j < EACH; j++) x[j] = alone ? 0.0f : fmaf(expf((x[j] - top) * inverse), share, -scale * q[j]);
        store_each<four>(x, dstudent, base, k);
    }
}
// `scale` is what the gradient is multiplied by, weight / temperature
KERNEL(loss_pairs, 1024,
       (int globals, int batch, int k, const float* student, const float* targets, float inverse, float scale, float* dstudent, double* losses)) {
    SHARED Room room;
    // all views of one picture, then those of the next: blocks side by side share the teacher's rows, in the cache
    int views = int(gridDim.x) / batch, row = int(blockIdx.x) % views * batch + int(blockIdx.x) / views;
    i64 at = i64(row) * k;
    Partners partners = partners_of(targets, globals, batch, k, row);
    if (aligned(k, student, targets, dstudent)) pairs_row<true>(partners, student + at, inverse, scale, dstudent + at, losses + row, &room);
    else pairs_row<false>(partners, student + at, inverse, scale, dstudent + at, losses + row, &room);
}

// ---- InfoNCE: a block's row of products with the negatives, `scores`, which become the gradient in these, times `scale`; the
// gradient by way of the positives goes to dstudent

template <bool four>
DEVICE void contrast_row(Partners partners, int negatives, const float* student, float inverse, float scale, float* scores,
                         float* dstudent, double* loss, float* pulls, Room* room) {
    float x[EACH];
    int k = partners.k;
    Seen seen = nothing();
    for (int base = 0; base < negatives; base += stride()) {
        load_each<four>(x, scores, base, negatives, -INFINITY);
        softmax_seen(seen, x, inverse);
    }
    float top = block_max(seen.top, room->tops);
    for (int global = 0; global < partners.globals; global++) {
        const float* positive = partner(partners, global);
        if (!positive) continue;
        float product = 0.0f;
        for (int i = threadIdx.x; i < k; i += blockDim.x) product = fmaf(student[i], positive[i], product);
        product = block_sum(product, room->tops);
        if (threadIdx.x == 0) pulls[global] = product;
        top = fmaxf(top, product);
    }
    softmax_moved(seen, top, inverse);
    double negative = block_sum(double(seen.total), room->sums);
    SHARED double shares;
    if (threadIdx.x == 0) {
        double sum = 0.0, sum_of_shares = 0.0;
        for (int global = 0; global < partners.globals; global++) {
            if (global == partners.view) continue;
            float exponent = (pulls[global] - top) * inverse;
            double total = negative + double(expf(exponent));
            sum += log(total) - double(exponent);
            sum_of_shares += 1.0 / total;
            // 1 - own / total without the difference's rounding
            pulls[global] = -scale * float(negative / total);
        }
        *loss = sum;
        shares = sum_of_shares;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < k; i += blockDim.x) {
        float d = 0.0f;
        for (int global = 0; global < partners.globals; global++) {
            const float* positive = partner(partners, global);
            if (positive) d = fmaf(pulls[global], positive[i], d);
        }
        dstudent[i] = d;
    }
    float share = float(double(scale) * shares);
    for (int base = last_base(negatives); base >= 0; base -= stride()) {
        load_each<four>(x, scores, base, negatives, -INFINITY);
#pragma unroll
        for (int j = 0; j < EACH; j++) x[j] = expf((x[j] - top) * inverse) * share;
        store_each<four>(x, scores, base, negatives);
    }
}
// rows from `first` on, whose scores start at the beginning; shared memory: a float a teacher view
KERNEL(loss_contrast, 1024,
       (int first, int globals, int batch, int k, int negatives, const float* student, const float* teacher, float inverse, float scale,
        float* scores, float* dstudent, double* losses)) {
    SHARED Room room;
    SHARED_BYTES(bytes);
    float* pulls = reinterpret_cast<float*>(bytes);
    int row = first + int(blockIdx.x);
    i64 at = i64(row) * k;
    scores += i64(blockIdx.x) * negatives;
    Partners partners = partners_of(teacher, globals, batch, k, row);
    if (aligned(negatives, scores, nullptr, nullptr))
        contrast_row<true>(partners, negatives, student + at, inverse, scale, scores, dstudent + at, losses + row, pulls, &room);
    else contrast_row<false>(partners, negatives, student + at, inverse, scale, scores, dstudent + at, losses + row, pulls, &room);
}
