// Queues of streams (streams.h).
#include "streams.h"

#include <stdlib.h>

#include <deque>
#include <mutex>
#include <vector>

namespace standin {

struct Queue {
    std::deque<std::function<void()>> waiting;
    uint64_t told = 0, done = 0;
};

namespace {

// held while put off work is done, which may wait for that of another queue
std::recursive_mutex& turn() {
    static auto* only = new std::recursive_mutex;
    return *only;
}
typedef std::lock_guard<std::recursive_mutex> Guard;

std::vector<std::weak_ptr<Queue>>& named() {
    static auto* all = new std::vector<std::weak_ptr<Queue>>;
    return *all;
}

// "late": work on streams with names; "early": these are ahead of the one without, whose work is put off
bool early() {
    static const bool said = [] {
        const char* word = getenv("STANDIN_STREAMS");
        if (word && strcmp(word, "late") && strcmp(word, "early")) {
            fprintf(stderr, "stand-in: STANDIN_STREAMS is late or early, not %s\n", word);
            abort();
        }
        return word && !strcmp(word, "early");
    }();
    return said;
}

}  // namespace

const Line& default_line() {
    static auto* only = new Line(std::make_shared<Queue>());
    return *only;
}
Line new_line() {
    Guard guard(turn());
    Line line = std::make_shared<Queue>();
    size_t left = 0;
    for (std::weak_ptr<Queue>& each : named())
        if (!each.expired()) named()[left++] = each;
    named().resize(left);
    named().push_back(line);
    return line;
}
bool puts_off(const Line& line) { return (line == default_line()) == early(); }

void tell(const Line& line, std::function<void()> work) {
    if (!puts_off(line)) return work();
    Guard guard(turn());
    line->waiting.push_back(std::move(work));
    line->told++;
}
Mark mark(const Line& line) {
    Guard guard(turn());
    return Mark{line, line->told};
}
bool reached(const Mark& mark) {
    Guard guard(turn());
    return !mark.queue || mark.queue->done >= mark.until;
}
void reach(const Mark& mark) {
    Guard guard(turn());
    while (!reached(mark)) {
        std::function<void()> work = std::move(mark.queue->waiting.front());
        mark.queue->waiting.pop_front();
        work();
        mark.queue->done++;
    }
}
void reach_all() {
    Guard guard(turn());
    // one that is gone has nothing left: its stream's end was waited for
    std::vector<std::weak_ptr<Queue>> all = named();
    all.push_back(default_line());
    for (const std::weak_ptr<Queue>& each : all)
        if (Line line = each.lock()) reach(mark(line));
}

}  // namespace standin
