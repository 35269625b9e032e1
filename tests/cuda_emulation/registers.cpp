// Of hopper.h: registers that warpgroups hand to each other (PTX ISA 9.0, setmaxnreg).

#include <algorithm>
#include <numeric>
#include <vector>

#include "hopper.h"

namespace emulation::hopper {
namespace {

constexpr size_t kWarpgroup = 128, kOfMultiprocessor = 64 * 1024;
constexpr uint32_t kMost = 255;

std::vector<std::vector<uint32_t>> registers;  // of each block's threads, as they have set them
uint32_t compiled = 0;                         // of a thread

}  // namespace

void begin_registers(size_t blocks, size_t threads) {
    compiled = std::min(static_cast<uint32_t>(kOfMultiprocessor / threads), kMost) / 8 * 8;
    registers.assign(blocks, std::vector<uint32_t>(threads, compiled));
}

void set_registers(int count, bool raise) {
    const auto wanted = static_cast<uint32_t>(count);
    if (raise ? wanted < compiled : wanted > compiled) {
        fail("a warpgroup raises its registers to fewer than it has, or lowers them to more");
    }
    registers[block_rank()][thread_number()] = wanted;
}

std::string wrong_registers() {
    for (const auto& block : registers) {
        for (size_t first = 0; first < block.size(); first += kWarpgroup) {
            const auto* begin = block.data() + first;
            const auto* end = block.data() + std::min(first + kWarpgroup, block.size());
            if (!std::all_of(begin, end, [&](uint32_t count) { return count == *begin; })) {
                return "not all threads of a warpgroup set its registers";
            }
        }
        if (std::accumulate(block.begin(), block.end(), size_t{0}) > compiled * block.size()) {
            return "a block's warpgroups have more registers than it was launched with";
        }
    }
    return "";
}

}  // namespace emulation::hopper
