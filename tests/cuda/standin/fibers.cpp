// Runs kernels: blocks one after the other, the threads of a block as fibers of one thread of the machine.
//
// A worker (a fiber with a stack) runs threads one after the other for as long as they end without waiting, so a kernel
// that never waits costs a call a thread. Where a thread waits, its worker waits with it and another one goes on.
#include "standin.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

// how fibers take turns: by hand where that is written, or as the C library does
#if defined(__x86_64__) && !defined(STANDIN_UCONTEXT)
#define BY_HAND 1
#else
#define BY_HAND 0
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ASAN 1
#else
#define ASAN 0
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// the section of shared memory whose size is fixed; weak, since there may be none
extern "C" {
extern STANDIN_HIDDEN unsigned char __start_standin_shared[] __attribute__((weak));
extern STANDIN_HIDDEN unsigned char __stop_standin_shared[] __attribute__((weak));
}

namespace standin {

unsigned char* shared_bytes;

namespace {

// ---- fibers

constexpr size_t kPage = 4096, kStack = ASAN ? 256 * 1024 : 64 * 1024, kCanary = 64;
constexpr unsigned kMostThreads = 1024;

struct Copy {
    void* to;
    const void* from;
    bool there;
    unsigned group;
};

struct Fiber {
#if BY_HAND
    void* top = nullptr;  // its stack pointer while another one runs
#else
    ucontext_t context;
#endif
    unsigned char* stack = nullptr;
    void* fake = nullptr;  // the address sanitizer's
    size_t bytes = 0;
    unsigned thread = 0;
    uint3 index{};
    std::vector<Copy> copies;
    unsigned groups = 0;
};

Fiber first;  // the launching thread itself
Fiber* now = &first;
// workers without a thread, and all of them; they outlive whatever runs as the process ends
std::vector<Fiber*>& idle = *new std::vector<Fiber*>;
std::vector<Fiber*>& workers = *new std::vector<Fiber*>;

#if BY_HAND
extern "C" STANDIN_HIDDEN void standin_switch(void** from, void* to);
asm(R"(
    .text
    .hidden standin_switch
    .globl standin_switch
    .type standin_switch, @function
standin_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size standin_switch, . - standin_switch
)");
#endif

Fiber* left;  // the one that ran before this one

inline void arrived() {
#if ASAN
    const void* bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(now->fake, &bottom, &bytes);
    if (left == &first) {
        first.stack = static_cast<unsigned char*>(const_cast<void*>(bottom));
        first.bytes = bytes;
    }
#endif
}

inline void go_on(Fiber* next) {
    Fiber* from = now;
    if (next == from) return;
    left = from;
    now = next;
    threadIdx = next->index;
#if ASAN
    __sanitizer_start_switch_fiber(&from->fake, next->stack, next->bytes);
#endif
#if BY_HAND
    standin_switch(&from->top, next->top);
#else
    swapcontext(&from->context, &next->context);
#endif
    arrived();
}

// ---- the block that runs

struct Warp {
    unsigned alive, waiting;
    void* brought[32];
    Fiber* fibers[32];
    unsigned masks[32];
    Meet how[32];
};

enum class Order { forward, reverse, shuffle };

const Kernel* kernel;
void** parameters;
Order order;
unsigned threads, started, finished;
unsigned turns[kMostThreads];  // the threads in the order in which they start, where they are shuffled
Warp warps[kMostThreads / 32];
Fiber* ready[kMostThreads];  // a ring
unsigned ready_first, ready_count;
Fiber* at_barrier[kMostThreads];
unsigned at_barrier_count, at_barrier_yes;
Met met[2];
unsigned barriers;
uint64_t random_state = 1;

unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return unsigned(((random_state >> 32) * n) >> 32);
}

void make_ready(Fiber* fiber) { ready[(ready_first + ready_count++) % kMostThreads] = fiber; }
Fiber* take_ready() {
    if (order == Order::shuffle) {
        Fiber*& any = ready[(ready_first + random_below(ready_count)) % kMostThreads];
        Fiber*& head = ready[ready_first];
        Fiber* swapped = any;
        any = head;
        head = swapped;
    }
    Fiber* fiber = ready[ready_first];
    ready_first = (ready_first + 1) % kMostThreads;
    ready_count--;
    return fiber;
}
// those that can go on come before those that have not started, or chance says
bool ready_is_next() { return ready_count && (started == threads || order != Order::shuffle || random_below(2)); }

[[noreturn]] void deadlock() {
    fprintf(stderr, "stand-in: deadlock in %s, block (%u, %u, %u): of %u threads %u have returned, %u wait at a barrier\n", kernel->name,
            blockIdx.x, blockIdx.y, blockIdx.z, threads, finished, at_barrier_count);
    for (unsigned i = 0; i < (threads + 31) / 32; i++)
        if (warps[i].waiting) {
            unsigned lane = unsigned(__builtin_ctz(warps[i].waiting));
            fprintf(stderr, "stand-in:   in warp %u lanes %08x wait for others of mask %08x\n", i, warps[i].waiting, warps[i].masks[lane]);
        }
    fflush(stderr);
    abort();
}

void worker();
void worker_entry() {
    arrived();
    worker();
}

Fiber* an_idle_worker() {
    if (!idle.empty()) {
        Fiber* fiber = idle.back();
        idle.pop_back();
        return fiber;
    }
    Fiber* fiber = new Fiber;
    // a page below cannot be touched; the odd number of pages spreads stacks over caches, as does where each starts
    unsigned char* at = static_cast<unsigned char*>(mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (at == MAP_FAILED || mprotect(at, kPage, PROT_NONE)) {
        perror("stand-in: no stack");
        abort();
    }
    fiber->stack = at + kPage;
    size_t shift = workers.size() * 320 % kPage / 64 * 64;
    fiber->bytes = kStack - shift;
    memset(fiber->stack, 0xc5, kCanary);
#if BY_HAND
    // six registers, where to start, and a place that aligns the stack as after a call
    void** top = reinterpret_cast<void**>(fiber->stack + fiber->bytes) - 8;
    memset(top, 0, 8 * sizeof(void*));
    top[6] = reinterpret_cast<void*>(&worker_entry);
    fiber->top = top;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = fiber->bytes;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, worker_entry, 0);
#endif
    workers.push_back(fiber);
    return fiber;
}

// The thread that runs waits; it has said for what.
void wait() {
    if (ready_is_next()) go_on(take_ready());
    else if (started < threads) go_on(an_idle_worker());
    else deadlock();
}

void open_barrier() {
    met[barriers++ & 1] = Met{at_barrier_yes, at_barrier_count};
    if (order == Order::reverse)
        for (unsigned i = at_barrier_count; i-- > 0;) make_ready(at_barrier[i]);
    else
        for (unsigned i = 0; i < at_barrier_count; i++) make_ready(at_barrier[i]);
    at_barrier_count = at_barrier_yes = 0;
}

// The lanes of `mask` have all come; `last` goes on by itself.
void complete(Warp& warp, unsigned mask, Fiber* last) {
    unsigned present = mask & warp.alive, any = unsigned(__builtin_ctz(present));
    for (unsigned lanes = present; lanes; lanes &= lanes - 1) {
        unsigned lane = unsigned(__builtin_ctz(lanes));
        if (warp.masks[lane] != mask) fail("lanes of a warp meet with different masks");
        if (warp.how[lane] != warp.how[any]) fail("lanes of a warp meet in different functions");
    }
    warp.how[any](warp.brought, present);
    warp.waiting &= ~present;
    for (unsigned lanes = present; lanes;) {
        unsigned lane = unsigned(order == Order::reverse ? 31 - __builtin_clz(lanes) : __builtin_ctz(lanes));
        lanes &= ~(1u << lane);
        if (warp.fibers[lane] != last) make_ready(warp.fibers[lane]);
    }
}

void start() {
    unsigned thread = started++;
    if (order == Order::reverse) thread = threads - 1 - thread;
    else if (order == Order::shuffle) thread = turns[thread];
    now->thread = thread;
    uint3 index{thread, 0, 0};
    if (blockDim.x != threads) index = uint3{thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
    now->index = threadIdx = index;
    kernel->call(kernel->function, parameters);

    now->copies.clear();
    now->groups = 0;
    finished++;
    Warp& warp = warps[thread / 32];
    warp.alive &= ~(1u << thread % 32);
    // those that waited for this one
    for (unsigned lanes = warp.waiting; lanes;) {
        unsigned mask = warp.masks[__builtin_ctz(lanes)];
        lanes &= ~mask;
        if (!(mask & warp.alive & ~warp.waiting)) complete(warp, mask, nullptr);
    }
    if (at_barrier_count && at_barrier_count == threads - finished) open_barrier();
}

void worker() {
    for (;;) {
        start();
        if (!ready_is_next() && started < threads) continue;
        for (size_t i = 0; i < kCanary; i++)
            if (now->stack[i] != 0xc5) fail("a thread's stack is too small");
        if (!ready_count && finished < threads) deadlock();
        idle.push_back(now);
        go_on(ready_count ? take_ready() : &first);
    }
}

// ---- shared memory

constexpr size_t kMostShared = 232448;  // 227 KiB
unsigned char* room;
size_t room_bytes;

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

void run_block(unsigned block, bool poison_fixed) {
    blockIdx = uint3{block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
    if (room_bytes) memset(shared_bytes, 0xff, room_bytes);
    if (poison_fixed) memset(__start_standin_shared, 0xff, size_t(__stop_standin_shared - __start_standin_shared));
    started = finished = ready_first = ready_count = at_barrier_count = at_barrier_yes = barriers = 0;
    for (unsigned i = 0; i < (threads + 31) / 32; i++) {
        warps[i].alive = threads - 32 * i >= 32 ? ~0u : (1u << (threads - 32 * i)) - 1;
        warps[i].waiting = 0;
    }
    if (order == Order::shuffle) {
        for (unsigned i = 0; i < threads; i++) turns[i] = i;
        for (unsigned i = threads; i > 1; i--) {
            unsigned with = random_below(i), swapped = turns[i - 1];
            turns[i - 1] = turns[with];
            turns[with] = swapped;
        }
    }
    go_on(an_idle_worker());
}

}  // namespace

void add_kernel(const Kernel& added) {
    if (!kernels().emplace(added.name, added).second) {
        fprintf(stderr, "stand-in: two kernels are named %s\n", added.name);
        abort();
    }
}
const Kernel* find_kernel(const char* name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void fail(const char* what) {
    fprintf(stderr, "stand-in: %s: in %s, block (%u, %u, %u), thread (%u, %u, %u)\n", what, kernel ? kernel->name : "no kernel", blockIdx.x,
            blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    fflush(stderr);
    abort();
}

bool is_shared(const void* at, size_t bytes) {
    auto inside = [&](const unsigned char* begin, const unsigned char* end) {
        return at >= begin && static_cast<const unsigned char*>(at) + bytes <= end;
    };
    return inside(shared_bytes, shared_bytes + room_bytes) || inside(__start_standin_shared, __stop_standin_shared);
}

void launch(const Kernel& launched, dim3 grid, dim3 block, size_t shared, void** with) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> guard(one_at_a_time);
    kernel = &launched;
    parameters = with;
    gridDim = grid;
    blockDim = block;
    threads = block.x * block.y * block.z;
    if (getenv("STANDIN_TRACE"))
        fprintf(stderr, "stand-in: %s, blocks (%u, %u, %u) of (%u, %u, %u) threads, %zu bytes\n", launched.name, grid.x, grid.y, grid.z, block.x,
                block.y, block.z, shared);
    const char* said = getenv("STANDIN_ORDER");
    order = !said || !strcmp(said, "forward") ? Order::forward : !strcmp(said, "reverse") ? Order::reverse : Order::shuffle;
    if (order == Order::shuffle)
        if (const char* seed = getenv("STANDIN_SEED")) {
            static uint64_t seeded = 0;
            uint64_t to = strtoull(seed, nullptr, 10) + 1;
            if (seeded != to) random_state = seeded = to;
        }

    // with the sanitizer the memory ends where it should; without it, known bytes follow
    if (ASAN) {
        room = static_cast<unsigned char*>(malloc(shared ? shared : 1));
        shared_bytes = room;
    } else {
        if (!room) room = static_cast<unsigned char*>(aligned_alloc(128, kMostShared + 128));
        shared_bytes = room + 16;
        memset(shared_bytes + shared, 0xc5, kCanary);
        memset(room, 0xc5, 16);
    }
    room_bytes = shared;
    size_t fixed = size_t(__stop_standin_shared - __start_standin_shared);

    unsigned blocks = grid.x * grid.y * grid.z;
    std::vector<unsigned> turns_of_blocks;
    if (order == Order::shuffle) {
        for (unsigned i = 0; i < blocks; i++) turns_of_blocks.push_back(i);
        for (unsigned i = blocks; i > 1; i--) std::swap(turns_of_blocks[i - 1], turns_of_blocks[random_below(i)]);
    }
    for (unsigned i = 0; i < blocks; i++) {
        unsigned turn = order == Order::reverse ? blocks - 1 - i : order == Order::shuffle ? turns_of_blocks[i] : i;
        // poison of all kernels' memory would cost more than many a block
        run_block(turn, fixed && (i == 0 || fixed <= 64 * 1024 || order != Order::forward));
        if (!ASAN) {
            for (size_t at = 0; at < kCanary; at++)
                if (shared_bytes[shared + at] != 0xc5) fail("written past the end of shared memory");
            for (size_t at = 0; at < 16; at++)
                if (room[at] != 0xc5) fail("written before shared memory");
        }
    }
    if (ASAN) free(room);
    shared_bytes = nullptr;
    room_bytes = 0;
    kernel = nullptr;
}

Met barrier(bool yes) {
    unsigned mine = barriers;
    at_barrier[at_barrier_count++] = now;
    at_barrier_yes += yes;
    if (at_barrier_count == threads - finished) {
        // even the last one takes its turn
        open_barrier();
        go_on(take_ready());
    } else {
        wait();
    }
    return met[mine & 1];
}

unsigned lanes_alive() { return warps[now->thread / 32].alive; }
unsigned lane_now() { return now->thread % 32; }

void meet(unsigned mask, Meet how, void* mine) {
    Fiber* me = now;
    unsigned lane = me->thread % 32, bit = 1u << lane;
    Warp& warp = warps[me->thread / 32];
    if (!(mask & bit)) fail("a lane is not in the mask of its own warp function");
    warp.brought[lane] = mine;
    warp.fibers[lane] = me;
    warp.masks[lane] = mask;
    warp.how[lane] = how;
    warp.waiting |= bit;
    if (mask & warp.alive & ~warp.waiting) {
        wait();
    } else if (order == Order::shuffle) {
        complete(warp, mask, nullptr);
        wait();
    } else {
        complete(warp, mask, me);
    }
}

void nothing(void* const*, unsigned) {}

void exchange(void* const* brought, unsigned present) {
    for (unsigned lanes = present; lanes; lanes &= lanes - 1) {
        Exchange& mine = *static_cast<Exchange*>(brought[__builtin_ctz(lanes)]);
        // what a lane that is not there holds is undefined: poison
        mine.answer = present >> (mine.from & 31) & 1 ? static_cast<const Exchange*>(brought[mine.from & 31])->value : ~uint64_t(0);
    }
}

void vote(void* const* brought, unsigned present) {
    unsigned yes = 0;
    for (unsigned lanes = present; lanes; lanes &= lanes - 1) {
        unsigned lane = unsigned(__builtin_ctz(lanes));
        yes |= unsigned(static_cast<const Vote*>(brought[lane])->mine) << lane;
    }
    for (unsigned lanes = present; lanes; lanes &= lanes - 1) {
        Vote& mine = *static_cast<Vote*>(brought[__builtin_ctz(lanes)]);
        mine.yes = yes;
        mine.present = present;
    }
}

void fetch_tiles(void* const* brought, unsigned present) {
    if (present != ~0u) fail("load_tiles with lanes missing");
    uint16_t rows[32][8];
    bool transposed = static_cast<const Tiles*>(brought[0])->transposed;
    for (int lane = 0; lane < 32; lane++) {
        const Tiles& of = *static_cast<const Tiles*>(brought[lane]);
        if (of.transposed != transposed) fail("load_tiles both ways at once");
        if (uintptr_t(of.row) % 16) fail("load_tiles off a boundary of 16 bytes");
        if (!is_shared(of.row, 16)) fail("load_tiles outside shared memory");
        memcpy(rows[lane], of.row, 16);
    }
    for (int lane = 0; lane < 32; lane++) {
        unsigned* to = static_cast<const Tiles*>(brought[lane])->to;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            to[i] = transposed ? unsigned(rows[8 * i + 2 * t][g]) | unsigned(rows[8 * i + 2 * t + 1][g]) << 16
                               : unsigned(rows[8 * i + g][2 * t]) | unsigned(rows[8 * i + g][2 * t + 1]) << 16;
    }
}

namespace {
void check_copy(const void* shared, const void* global, bool there) {
    if (uintptr_t(shared) % 16 || uintptr_t(global) % 16) fail("an asynchronous copy off a boundary of 16 bytes");
    if (!is_shared(shared, 16)) fail("an asynchronous copy to what is not shared memory");
    if (there && is_shared(global, 1)) fail("an asynchronous copy from shared memory");
}
}  // namespace

void copy(void* shared, const void* global, bool there) {
    check_copy(shared, global, there);
    if (there) memcpy(shared, global, 16);
    else memset(shared, 0, 16);
}
void copy_later(void* shared, const void* global, bool there) {
    check_copy(shared, global, there);
    memset(shared, 0xff, 16);
    now->copies.push_back(Copy{shared, global, there, now->groups});
}
void copies_end() { now->groups++; }
void copies_wait(unsigned left_over) {
    size_t kept = 0;
    for (Copy& each : now->copies) {
        // of groups 0 .. groups - 1, and of the one that has not ended
        if (each.group + left_over >= now->groups) now->copies[kept++] = each;
        else if (each.there) memcpy(each.to, each.from, 16);
        else memset(each.to, 0, 16);
    }
    now->copies.resize(kept);
}

}  // namespace standin
