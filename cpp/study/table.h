// All rungs that were compiled: a table that CMake writes from the files' names.

#ifndef ALEXNET_STUDY_TABLE_H_
#define ALEXNET_STUDY_TABLE_H_

#include <cstddef>

namespace alexnet::study {

// A rung's function takes a shape and arrays as study.h says, which the table doesn't know.
using Function = void (*)();

struct Rung {
    const char* ladder;  // its folder
    int number;
    const char* isa;  // "any": it chooses by itself
    Function function;
};

extern const Rung rungs[];
extern const size_t rung_count;

}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_TABLE_H_
