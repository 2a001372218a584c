// What streams were told to do and have not done yet. A device may do such work at any time that the waits allow, and a
// program that forgets a wait is right by luck; so it is done as late as it may here, on some streams.
#pragma once

#include <functional>
#include <memory>

#include "standin.h"

namespace standin {

struct Queue;
typedef std::shared_ptr<Queue> Line;

// A place in a queue: all that it was told before.
struct Mark {
    Line queue;
    uint64_t until = 0;
};

// The stream without a name, and those that were made to wait for it and it for them.
STANDIN_HIDDEN const Line& default_line();
// Of a stream that does not.
STANDIN_HIDDEN Line new_line();
// Whether its work is put off until something waits for it (STANDIN_STREAMS).
STANDIN_HIDDEN bool puts_off(const Line& line);
// Work on a stream: now, or when something waits for it.
STANDIN_HIDDEN void tell(const Line& line, std::function<void()> work);
STANDIN_HIDDEN Mark mark(const Line& line);
STANDIN_HIDDEN bool reached(const Mark& mark);
// Does what was told before.
STANDIN_HIDDEN void reach(const Mark& mark);
STANDIN_HIDDEN void reach_all();

}  // namespace standin
